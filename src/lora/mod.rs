//! Many LoRA adapters in one batch.

mod factors;
mod module;
mod peft;
mod reference;
mod routes;
mod rows;
mod segments;
mod values;

pub use factors::{Adapter, Factors, MAX_RANK, Shards, Sizes};
pub use module::Module;
pub use peft::{ModuleKind, PeftAdapter, PeftModule, read_adapter, read_adapter_for, read_shards};
pub use routes::{Route, Routes};
pub use values::{Precision, Scalar, Values};
