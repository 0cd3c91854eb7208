//! Many LoRA adapters in one batch: each row of a batch goes through its own low-rank updates, in one pass.
//!
//! ```text
//! y[row, j] += sum over routes (slot, s) of the row: s * scale[slot] * sum_i (sum_d x[row, d] A[i, d]) B[j, i]
//! ```
//!
//! with A `[rank, inputs]` and B `[outputs, rank]` of the row's adapter, as PEFT stores them. A [`Pool`] holds the
//! adapters in device memory; a [`Lease`] keeps those of a batch there; a [`Step`] is a batch with its [`Routes`],
//! prepared once and applied to all layers. For a few matrices without a pool there is [`apply`].

pub(crate) mod apply;
mod cpu;
mod factors;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod module;
mod peft;
mod perform;
mod pool;
mod reference;
mod route_order;
mod routes;
mod rows;
mod segments;
mod values;

pub use apply::{Applied, apply};
pub use factors::{Adapter, Factors, MAX_RANK, Shards, Sizes};
#[cfg(feature = "gpu")]
pub use gpu::record::{Activations, BufferRows, Recording};
pub use module::Module;
pub use peft::{ModuleKind, PeftAdapter, PeftModule, read_adapter, read_adapter_for, read_shards};
pub use perform::{Shrunk, Step};
pub use pool::{Group, Lease, MOST_PROJECTIONS, Pool, PoolParams, PoolStats};
pub use routes::{Route, Routes};
pub use values::{Precision, Scalar, Values};
