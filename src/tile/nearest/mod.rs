//! The nearest column of each row, certified.

pub(crate) mod cpu;
pub(crate) mod exact;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
