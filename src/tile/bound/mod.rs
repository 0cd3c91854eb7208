//! How wrong a product can be: proven bounds, one file for each product.

pub(crate) mod constants;
#[cfg(feature = "gpu")]
pub(crate) mod f16;
pub(crate) mod f32;
