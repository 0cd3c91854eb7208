//! What tests share: backends to run on, data to run with, and comparisons that can fail.

pub mod backends;
pub mod cases;
pub mod command;
mod comparator_faults;
pub mod compare;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
pub mod faults;
pub mod lloyd;
pub mod lora;
mod lora_faults;
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
pub mod matrix;
pub mod random;
pub mod wide;
