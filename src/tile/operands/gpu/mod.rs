//! Operands in device memory.

pub(crate) mod columns;
pub(crate) mod half_columns;
pub(crate) mod half_rows;
pub(crate) mod kernels;
pub(crate) mod maker;
pub(crate) mod windows;
