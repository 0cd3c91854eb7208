//! An adapter checked against the pool's modules and made ready to be put in place.

use std::sync::Arc;

use super::layout::Layout;
use super::params::PoolParams;
use super::space::{Need, key};
use crate::error::{Error, Result};
use crate::lora::factors::{Adapter, Factors, Shards};
use crate::lora::rows::{Held, Rows};
use crate::lora::values::Precision;
use crate::memory::{self, area};

/// One update, by rank vectors.
#[derive(Debug)]
pub(crate) struct Operand {
    /// The rows of A.
    pub a: Rows,
    /// The columns of B.
    pub b: Rows,
    /// What the product is multiplied by.
    pub scale: f32,
    /// What it was made of: the reference reads that.
    pub factors: Factors,
}

/// An adapter ready to be put in place: for each group, for each of its modules, the update.
#[derive(Debug)]
pub(crate) struct Image {
    /// `None` where the adapter has no update for a module, or one of rank 0.
    pub groups: Vec<Vec<Option<Operand>>>,
    /// What each group needs of the pool.
    pub(super) needs: Vec<Need>,
}

impl Image {
    /// Checks `adapter` and brings its vectors in order.
    pub(super) fn new(adapter: &Adapter, params: &PoolParams, layout: &Layout) -> Result<Self> {
        let known = params.groups.iter().flat_map(|group| &group.modules).map(|module| module.name.as_str());
        let known: std::collections::HashSet<&str> = known.collect();
        if let Some(name) = adapter.modules.keys().find(|name| !known.contains(name.as_str())) {
            return Err(Error::parameter(
                "adapter",
                "modules that the pool was made for",
                format!("{name:?}"),
            ));
        }
        let mut image = Self { groups: Vec::new(), needs: Vec::new() };
        for group in &params.groups {
            let mut operands = Vec::with_capacity(group.modules.len());
            let mut need = Need::default();
            for module in &group.modules {
                let factors = adapter.modules.get(&module.name).filter(|factors| factors.rank() > 0);
                let Some(factors) = factors else {
                    operands.push(None);
                    continue;
                };
                let got = (factors.inputs(), factors.outputs());
                if got != (module.inputs, module.outputs) {
                    let expected =
                        format!("{} inputs, {} outputs for {:?}", module.inputs, module.outputs, module.name);
                    return Err(Error::shape(
                        "adapter",
                        expected,
                        format!("{} inputs, {} outputs", got.0, got.1),
                    ));
                }
                // B is turned, where it is not made of shards.
                memory::ask(
                    "an adapter by rank",
                    &[area::<f32>(factors.rank(), factors.outputs().saturating_add(8))],
                )?;
                let [a, b] = Rows::of(factors);
                for rows in [&a, &b] {
                    check_rows(rows, &module.name, layout)?;
                    add_need(&mut need, rows, layout);
                }
                operands.push(Some(Operand { a, b, scale: factors.scale(), factors: factors.clone() }));
            }
            image.groups.push(operands);
            image.needs.push(need);
        }
        Ok(image)
    }

    /// Pages of its own, and those of its shards.
    pub(super) fn pages(&self) -> u64 {
        let of = |need: &Need| u64::from(need.pages);
        let mut shared = std::collections::BTreeMap::new();
        self.needs.iter().for_each(|need| shared.extend(need.shared.iter().copied()));
        self.needs.iter().map(of).sum::<u64>() + shared.values().map(|pages| u64::from(*pages)).sum::<u64>()
    }

    /// Ranks of the modules of each group.
    pub(super) fn ranks(&self) -> Vec<Vec<u32>> {
        let rank = |operand: &Option<Operand>| operand.as_ref().map_or(0, |operand| operand.a.rank as u32);
        self.groups.iter().map(|group| group.iter().map(rank).collect()).collect()
    }

    /// The largest magnitude of its scales, 0 where it updates nothing.
    pub(super) fn largest_scale(&self) -> f32 {
        self.groups.iter().flatten().flatten().map(|operand| operand.scale.abs()).fold(0.0, f32::max)
    }

    /// The shards that it uses, each once.
    pub(super) fn shards(&self) -> Vec<Arc<Shards>> {
        let mut all: Vec<Arc<Shards>> = Vec::new();
        for rows in self.groups.iter().flatten().flatten().flat_map(|operand| [&operand.a, &operand.b]) {
            if let Held::Shared(shards) = &rows.values
                && !all.iter().any(|known| Arc::ptr_eq(known, shards))
            {
                all.push(Arc::clone(shards));
            }
        }
        all
    }
}

fn check_rows(rows: &Rows, module: &str, layout: &Layout) -> Result<()> {
    if !layout.is_wide && rows.precision() == Precision::F32 {
        let rule = format!("f16 or bf16 for {module:?}, as the pool's 16-bit weights ask for");
        return Err(Error::parameter("adapter", rule, "f32"));
    }
    if matches!(rows.values, Held::Shared(_)) && !rows.piece.is_multiple_of(layout.page_elements()) {
        let rule = format!(
            "shards of whole pages for {module:?} ({} elements; see PoolParams::page_elements)",
            layout.page_elements()
        );
        return Err(Error::parameter("adapter", rule, format!("shards of {} elements", rows.piece)));
    }
    Ok(())
}

fn add_need(need: &mut Need, rows: &Rows, layout: &Layout) {
    // What saturates exceeds every pool.
    let vectors = (rows.rank as u32).saturating_mul(layout.pages(rows.width));
    need.entries = need.entries.saturating_add(vectors);
    match &rows.values {
        Held::Own(_) => need.pages = need.pages.saturating_add(vectors),
        Held::Shared(shards) => {
            let key = key(shards);
            if !need.shared.iter().any(|(known, _)| *known == key) {
                let pages = (shards.count() as u32).saturating_mul(layout.pages(shards.length()));
                need.shared.push((key, pages));
            }
        }
    }
}
