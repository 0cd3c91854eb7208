//! The adapters of one batch: their updates of one module, in the order in which they were given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::folder::{self, Found};
use crate::cli::failure::Failure;
use crate::error::Result;
use crate::lora::{Factors, Module, ModuleKind, PeftAdapter, PeftModule, read_adapter_for};
use crate::memory::{self, area};

/// The adapters as they were given, with their updates of the module.
pub(super) struct Slots {
    pub names: Vec<String>,
    pub factors: Vec<Option<Factors>>,
}

impl Slots {
    pub fn read(folders: &[PathBuf], module: &str, columns: usize) -> std::result::Result<Self, Failure> {
        let mut slots = Self { names: Vec::new(), factors: Vec::new() };
        for path in folders {
            let mut modules = match folder::read("--adapter", path)? {
                Found::Shards(adapter) => adapter.modules,
                Found::Peft(read) => updates(path, *read, module, columns)?,
            };
            slots.names.push(folder::name(path));
            slots.factors.push(modules.remove(module).map(of_whole_pages).transpose()?);
        }
        Ok(slots)
    }

    /// The outputs of the module, once all adapters agree with each other and with x.
    pub fn outputs(&self, module: &str, columns: usize) -> std::result::Result<usize, Failure> {
        let mut found = None;
        for (slot, factors) in self.factors.iter().enumerate() {
            let Some(factors) = factors else { continue };
            let of = format!("{module} of {}", self.names[slot]);
            if factors.inputs() != columns {
                let expected = format!("{} columns, the inputs of {of}", factors.inputs());
                return Err(Failure::usage("-x", &expected, columns));
            }
            let outputs = *found.get_or_insert(factors.outputs());
            if factors.outputs() != outputs {
                let expected = format!("{outputs} outputs of {of}, as the adapters before");
                return Err(Failure::usage("--adapter", &expected, factors.outputs()));
            }
        }
        let expected = "a module that one of the adapters updates (lora inspect --all lists them)";
        found.ok_or_else(|| Failure::usage("--module", expected, format!("{module:?}")))
    }

    /// Says once which adapters leave their rows as they are.
    pub fn warn_of_absent(&self, module: &str) {
        let absent: Vec<&str> = self.absent().map(|slot| self.names[slot].as_str()).collect();
        if !absent.is_empty() {
            let adapters = absent.join(", ");
            tracing::warn!(adapters, module, "adapters without this module leave their rows as they are");
        }
    }

    fn absent(&self) -> impl Iterator<Item = usize> {
        (0..self.names.len()).filter(|&slot| self.factors[slot].is_none())
    }
}

/// Shards that are no whole pages of device memory are assembled.
fn of_whole_pages(factors: Factors) -> Result<Factors> {
    const SHORTEST_PAGE: usize = 16;
    if factors.shard_lengths().all(|length| length.is_multiple_of(SHORTEST_PAGE)) {
        return Ok(factors);
    }
    let width = factors.inputs().saturating_add(factors.outputs());
    memory::ask("shards put together", &[area::<f32>(factors.rank(), width)])?;
    Ok(factors.assembled())
}

/// The updates of an adapter. VeRA's files do not say how many inputs a module has: x does.
fn updates(
    path: &Path,
    read: PeftAdapter,
    module: &str,
    columns: usize,
) -> std::result::Result<BTreeMap<String, Factors>, Failure> {
    let is_wider = |found: &&PeftModule| {
        found.kind == ModuleKind::Vera && found.name == module && found.inputs > columns
    };
    if read.modules.iter().find(is_wider).is_none() {
        return Ok(read.adapter.modules);
    }
    let sized = |found: &PeftModule| Module {
        name: found.name.clone(),
        inputs: if found.name == module { columns } else { found.inputs },
        outputs: found.outputs,
    };
    let modules: Vec<Module> = read.modules.iter().map(sized).collect();
    let again = read_adapter_for(path, &modules).map_err(Failure::about("--adapter"))?;
    Ok(again.adapter.modules)
}
