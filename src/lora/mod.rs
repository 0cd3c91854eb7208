//! Many LoRA adapters in one batch.

mod cpu;
mod factors;
#[cfg(feature = "gpu")]
pub(crate) mod kernels;
mod plan;
mod reference;
mod routes;
mod rows;
mod segments;
mod values;

pub use factors::{Adapter, Factors, MAX_RANK, Shards, Sizes};
pub use routes::{Route, Routes};
pub use values::{Precision, Scalar, Values};
