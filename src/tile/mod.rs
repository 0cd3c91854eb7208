//! The tile engine: blocks of products between rows of X and rows of Y, and the folds that keep what is wanted.
//!
//! Read in this order: `operands` (what is multiplied), `bound` (how wrong a product can be), `product` (how it is
//! multiplied), then the folds: `nearest`, `collect`, `within`. `choice` picks the tiles of GPUs, `windows` cuts rows for them.

pub(crate) mod bound;
#[cfg(feature = "gpu")]
pub(crate) mod choice;
pub(crate) mod collect;
pub(crate) mod nearest;
pub(crate) mod operands;
pub(crate) mod product;
#[cfg(feature = "gpu")]
pub(crate) mod soft;
#[cfg(all(feature = "gpu", any(test, feature = "cli", feature = "test-hooks")))]
pub(crate) mod store;
pub(crate) mod trials;
#[cfg(feature = "gpu")]
pub(crate) mod windows;
#[cfg(feature = "gpu")]
pub(crate) mod within;
