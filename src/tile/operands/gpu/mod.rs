//! Operands in device memory.

pub(crate) mod columns;
pub(crate) mod half_columns;
pub(crate) mod half_rows;
pub(crate) mod windows;
