//! Input: borrowed rows of any numeric element type, and the readers that produce them.

mod element;
pub(crate) mod frame;
mod points;

pub use points::{ElementType, Points};
