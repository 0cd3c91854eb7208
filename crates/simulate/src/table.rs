//! Punica's comparison: throughput whatever the share of adapters.

use super::cost::{BaseCost, LoraCost, StepCost};
use super::policy::Punica;
use super::report::Report;
use super::request::ServedAdapter;
use super::simulate::Simulation;
use super::trace::Trace;
use crate::error::Result;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// How requests spread over adapters, in a word.
    pub workload: String,
    /// `segmented` or `loop`.
    pub lora: &'static str,
    /// [`BaseCost::source`].
    pub base: String,
    /// Tokens per second over those of the first workload with the same costs.
    pub of_first: f64,
    /// The run.
    pub report: Report,
}

/// What the table is made with.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSettings {
    /// Rank of every adapter.
    pub rank: u32,
    /// Devices and their limits.
    pub simulation: Simulation,
}

impl Default for TableSettings {
    /// As in the paper: at most 32 requests at once on one device, rank 16.
    fn default() -> Self {
        Self { rank: 16, simulation: Simulation::new() }
    }
}

/// Throughput of workloads (a word and a trace each) under [`Punica`], with the segmented kernel and with the loop over
/// adapters, first with `base`, then with a base model that costs nothing. The paper's workloads are identical, skewed,
/// uniform and distinct, 1000 requests each, all at once and of the same lengths.
///
/// Chen et al. (*Punica*, MLSys 2024) found 1044 tokens per second in every workload with Llama-2-7B on one A100.
///
/// # Errors
/// As [`Simulation::run`].
pub fn punica_table(
    workloads: &[(&str, Trace)],
    segmented: &dyn LoraCost,
    per_adapter: &dyn LoraCost,
    base: &BaseCost,
    settings: &TableSettings,
) -> Result<Vec<TableRow>> {
    let zero = BaseCost::zero();
    let mut rows = Vec::new();
    for base in [base, &zero] {
        for (name, lora) in [("segmented", segmented), ("loop", per_adapter)] {
            let mut first = None;
            for (workload, trace) in workloads {
                let adapters = ServedAdapter::cycle(trace.adapters(), &[settings.rank])?;
                let cost = StepCost { base, lora };
                let report = settings.simulation.run(trace, &adapters, cost, &mut Punica::default())?;
                let first = *first.get_or_insert(report.tokens_per_second);
                rows.push(TableRow {
                    workload: (*workload).to_owned(),
                    lora: name,
                    base: base.source.clone(),
                    of_first: report.tokens_per_second / first,
                    report,
                });
            }
        }
    }
    Ok(rows)
}
