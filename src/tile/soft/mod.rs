//! `f64` on devices that have none: arithmetic on pairs of `u32`, the same bits as a CPU's.
//!
//! The arithmetic is `shaders/common/soft.wgsl`, which any kernel may include. It is made of shifts and carries, and a
//! compiler that gets one of them wrong would change labels. So a kernel rests on it only where the device has computed a table of
//! edges right ([`self_test::is_exact`]).

pub(crate) mod kernels;
pub(crate) mod operation;
pub(crate) mod self_test;

#[cfg(test)]
mod tests;
