//! Adapters as files: the folders that PEFT writes, and pools of shards.
//!
//! - `adapter.rs`: what a caller gets; `lora.rs` and `vera.rs` build it from tensors.
//! - `config.rs` reads `adapter_config.json`; `refuse.rs` lists what changes the maths and is refused;
//!   `patterns.rs` and `selection.rs` say which module has which rank and which modules are adapted.
//! - `tensors.rs` reads safetensors, `folder.rs` opens files and words the errors.
//! - `shards.rs` reads adapters that are index tables into shared shards.
//!
//! Names, fields and formulas follow PEFT's source at commit 5d602fd: `tuners/lora/{config,layer,model}.py`,
//! `tuners/vera/layer.py`, `tuners/tuners_utils.py`, `utils/{other,save_and_load}.py`.

mod adapter;
mod config;
mod endings;
mod folder;
mod lora;
mod patterns;
mod refuse;
mod selection;
mod shards;
mod tensors;
mod vera;

pub use adapter::{ModuleKind, PeftAdapter, PeftModule, read_adapter, read_adapter_for};
pub use shards::read_shards;
