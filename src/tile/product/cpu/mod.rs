//! Products on the CPU, in `f32` and in bytes.

pub(crate) mod bytes;
#[cfg(test)]
mod bytes_tests;
pub(crate) mod kernel;
pub(crate) mod kernel_bytes;
pub(crate) mod levels;
pub(crate) mod panels;
