//! Input: borrowed rows of any numeric element type, and the readers that produce them.

mod points;

pub use points::{ElementType, Points};
