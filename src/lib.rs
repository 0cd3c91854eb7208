//! tilefold clusters vectors on any GPU and on the CPU.

mod cancel;
pub mod data;
mod error;
mod simd;
mod tile;

pub use cancel::Cancel;
pub use data::{ElementType, Points};
pub use error::{Error, Result};
