//! How wrong a product can be: proven bounds, one file for each product.

#[cfg(feature = "gpu")]
pub(crate) mod f16;
pub(crate) mod f32;
