//! What a pool is made for.

use crate::error::{Error, Result};
use crate::lora::factors::Adapter;
use crate::lora::module::Module;
use crate::lora::values::Precision;

/// Most modules of a group.
pub const MOST_PROJECTIONS: usize = 8;

/// Most outputs of a group: a launch has at most 65,535 workgroups of at least 256 columns side by side.
const MOST_OUTPUTS: usize = 1 << 23;

/// Modules that read the same rows and are updated in one launch pair: q, k and v, say, or gate and up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// A name for messages.
    pub name: String,
    /// The modules; all have the same `inputs`.
    pub modules: Vec<Module>,
}

impl Group {
    /// A group of `modules`.
    pub fn new(name: impl Into<String>, modules: Vec<Module>) -> Self {
        Self { name: name.into(), modules }
    }

    /// Features of the rows that it reads.
    pub fn inputs(&self) -> usize {
        self.modules.first().map_or(0, |module| module.inputs)
    }
}

/// What a [`Pool`](super::Pool) is made for, with the memory it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolParams {
    pub(super) groups: Vec<Group>,
    pub(super) budget_bytes: u64,
    pub(super) weights: Precision,
    pub(super) page_elements: Option<usize>,
    pub(super) most_resident: usize,
}

impl PoolParams {
    /// A pool for adapters of these groups, in the order of the layers: 1 GiB, 32-bit weights.
    pub fn new(groups: Vec<Group>) -> Self {
        let weights = Precision::F32;
        Self { groups, budget_bytes: 1 << 30, weights, page_elements: None, most_resident: 1024 }
    }

    /// A pool for the modules of `adapter`, each a group of its own.
    pub fn for_adapter(adapter: &Adapter) -> Self {
        let group = |(name, factors): (&String, &crate::lora::Factors)| {
            let (inputs, outputs) = (factors.inputs(), factors.outputs());
            Group::new(name, vec![Module { name: name.clone(), inputs, outputs }])
        };
        Self::new(adapter.modules.iter().map(group).collect())
    }

    /// Bytes of weights that may be resident at once.
    pub fn budget_bytes(mut self, bytes: u64) -> Self {
        self.budget_bytes = bytes;
        self
    }

    /// The type in which weights are kept. `F32` takes all weights and widens those of 16 bits; `F16` and `Bf16` both
    /// mean 16 bits: they take f16 and bf16 weights, each as they are, and refuse f32 weights
    /// ([`Adapter::cast`] rounds them, and refuses what would become infinite).
    pub fn weights(mut self, precision: Precision) -> Self {
        self.weights = precision;
        self
    }

    /// Elements of a page: a power of two from 16 to 1024 [default: the longest that wastes little]. Pieces of rank
    /// vectors that adapters share have to be whole pages.
    pub fn page_elements(mut self, elements: usize) -> Self {
        self.page_elements = Some(elements);
        self
    }

    /// Most adapters that are resident at once [default: 1024].
    pub fn most_resident(mut self, adapters: usize) -> Self {
        self.most_resident = adapters;
        self
    }

    /// The groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Refuses what no pool can be made for.
    pub(super) fn check(&self) -> Result<()> {
        if self.groups.is_empty() || self.groups.len() > 1 << 16 {
            return Err(Error::parameter("groups", "1 to 65536 groups", self.groups.len()));
        }
        if let Some(elements) = self.page_elements
            && !(elements.is_power_of_two() && (16..=1024).contains(&elements))
        {
            return Err(Error::parameter("page_elements", "a power of two from 16 to 1024", elements));
        }
        if self.most_resident == 0 {
            return Err(Error::parameter("most_resident", "1 or more", 0));
        }
        let mut names = std::collections::HashSet::new();
        for group in &self.groups {
            if group.modules.is_empty() || group.modules.len() > MOST_PROJECTIONS {
                let rule = format!("1 to {MOST_PROJECTIONS} modules in group {:?}", group.name);
                return Err(Error::parameter("groups", rule, group.modules.len()));
            }
            let outputs =
                group.modules.iter().fold(0_usize, |sum, module| sum.saturating_add(module.outputs));
            if outputs > MOST_OUTPUTS {
                let rule = format!("at most {MOST_OUTPUTS} outputs of group {:?} together", group.name);
                return Err(Error::parameter("groups", rule, outputs));
            }
            for module in &group.modules {
                if module.inputs != group.inputs() {
                    let rule = format!("{} inputs for {:?}, as its group has", group.inputs(), module.name);
                    return Err(Error::parameter("groups", rule, module.inputs));
                }
                for (name, size) in [("inputs", module.inputs), ("outputs", module.outputs)] {
                    if size == 0 || size > 1 << 24 {
                        let rule = format!("1 to {} {name} for {:?}", 1 << 24, module.name);
                        return Err(Error::parameter("groups", rule, size));
                    }
                }
                if !names.insert(&module.name) {
                    return Err(Error::parameter("groups", "each module once", &module.name));
                }
            }
        }
        Ok(())
    }
}
