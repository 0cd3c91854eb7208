//! The nearest column of each row, certified.

pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
