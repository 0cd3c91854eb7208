//! Punica's comparison: throughput whatever the share of adapters.

use super::cost::{BaseCost, LoraCost, StepCost};
use super::policy::Punica;
use super::report::Report;
use super::request::ServedAdapter;
use super::simulate::Simulation;
use super::workload::{Lengths, TraceBuilder, Workload};
use crate::error::Result;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// How requests spread over adapters.
    pub workload: Workload,
    /// `segmented` or `loop`.
    pub lora: &'static str,
    /// [`BaseCost::source`].
    pub base: String,
    /// Tokens per second over those of the identical workload with the same costs.
    pub of_identical: f64,
    /// The run.
    pub report: Report,
}

/// What the table is made with.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSettings {
    /// Requests, all at once.
    pub requests: usize,
    /// Rank of every adapter.
    pub rank: u32,
    /// Lengths of prompts and answers.
    pub lengths: Lengths,
    /// Devices and their limits.
    pub simulation: Simulation,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for TableSettings {
    /// As in the paper: 1000 requests first come, first served, at most 32 at once on one device, rank 16.
    fn default() -> Self {
        let (lengths, simulation) = (Lengths::Punica { most_tokens: 2048 }, Simulation::new());
        Self { requests: 1000, rank: 16, lengths, simulation, seed: 0 }
    }
}

/// Throughput of the workloads identical, skewed, uniform and distinct under [`Punica`], with the segmented kernel and
/// with the loop over adapters, first with `base`, then with a base model that costs nothing. All four workloads have
/// the same lengths.
///
/// Chen et al. (*Punica*, MLSys 2024) found 1044 tokens per second in every workload with Llama-2-7B on one A100.
///
/// # Errors
/// As [`TraceBuilder::build`] and [`Simulation::run`].
pub fn punica_table(
    segmented: &dyn LoraCost,
    per_adapter: &dyn LoraCost,
    base: &BaseCost,
    settings: &TableSettings,
) -> Result<Vec<TableRow>> {
    let zero = BaseCost::zero();
    let mut rows = Vec::new();
    for base in [base, &zero] {
        for (name, lora) in [("segmented", segmented), ("loop", per_adapter)] {
            let mut identical = 0.0;
            for workload in [Workload::Identical, Workload::Skewed, Workload::Uniform, Workload::Distinct] {
                let builder = TraceBuilder::new(workload, settings.requests);
                let trace = builder.lengths(settings.lengths).seed(settings.seed).build()?;
                let adapters = ServedAdapter::cycle(trace.adapters(), &[settings.rank])?;
                let cost = StepCost { base, lora };
                let report = settings.simulation.run(&trace, &adapters, cost, &mut Punica::default())?;
                if workload == Workload::Identical {
                    identical = report.tokens_per_second;
                }
                rows.push(TableRow {
                    workload,
                    lora: name,
                    base: base.source.clone(),
                    of_identical: report.tokens_per_second / identical,
                    report,
                });
            }
        }
    }
    Ok(rows)
}
