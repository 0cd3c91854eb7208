//! What tiles multiply: rows and columns, in the form that a product reads.

pub(crate) mod bytes;
pub(crate) mod columns;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
