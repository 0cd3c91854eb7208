//! How operands are multiplied: on the CPU, in WGSL, on matrix units.

pub(crate) mod cpu;
#[cfg(feature = "gpu")]
#[cfg(feature = "gpu")]
pub(crate) mod units;
