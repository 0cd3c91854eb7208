//! The folder of one adapter: what PEFT saved, or index tables into shared shards.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::lora::{Adapter, PeftAdapter, read_adapter, read_shards};

/// What marks a folder of shards.
const SHARDS_FILE: &str = "shards.json";
/// What marks a folder that PEFT wrote.
const PEFT_FILE: &str = "adapter_config.json";

/// What a folder holds.
pub(super) enum Found {
    Peft(Box<PeftAdapter>),
    Shards(Adapter),
}

/// Reads the adapter in `folder`; `argument` names it in errors.
pub(super) fn read(argument: &'static str, folder: &Path) -> Result<Found, Failure> {
    let is_shards = folder.join(SHARDS_FILE).exists() && !folder.join(PEFT_FILE).exists();
    let found = if is_shards {
        read_shards(folder).map(Found::Shards)
    } else {
        read_adapter(folder).map(|read| Found::Peft(Box::new(read)))
    };
    found.map_err(Failure::about(argument))
}

/// The last part of a folder's path, that of `.` too.
pub(super) fn name(folder: &Path) -> String {
    let last = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let resolved = || last(&folder.canonicalize().ok()?);
    last(folder).or_else(resolved).unwrap_or_else(|| folder.display().to_string())
}

/// The file of an adapter's tensors.
pub(super) fn tensor_file(folder: &Path, found: &Found) -> PathBuf {
    folder.join(match found {
        Found::Peft(_) => "adapter_model.safetensors",
        Found::Shards(_) => "shards.safetensors",
    })
}
