//! The tile engine: blocks of products between rows of X and rows of Y, and the folds that keep what is wanted.

pub(crate) mod bound;
#[cfg(feature = "gpu")]
pub(crate) mod choose;
pub(crate) mod codebook;
pub(crate) mod cpu;
pub(crate) mod exact;
#[cfg(feature = "gpu")]
pub(crate) mod family;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu_book;
#[cfg(feature = "gpu")]
pub(crate) mod gpu_shortlist;
#[cfg(feature = "gpu")]
pub(crate) mod kernels;
#[cfg(feature = "gpu")]
pub(crate) mod model;
#[cfg(feature = "gpu")]
pub(crate) mod render;
#[cfg(feature = "gpu")]
pub(crate) mod shape;
#[cfg(feature = "gpu")]
pub(crate) mod tune;
