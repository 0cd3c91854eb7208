//! Many LoRA adapters in one batch.

mod factors;
mod reference;
mod routes;
mod rows;
mod segments;
pub mod serve;
mod values;

pub use factors::{Adapter, Factors, MAX_RANK, Shards, Sizes};
pub use routes::{Route, Routes};
pub use values::{Precision, Scalar, Values};
