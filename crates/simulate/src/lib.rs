//! Many requests, many adapters, few devices: the scheduler, and a simulator that drives it with a trace.
//!
//! A [`Policy`] decides which waiting request goes to which device ([`Policy::place`]) and what a device does next
//! ([`Policy::step`]): prefills, decode steps, evictions, migrations. It sees requests, adapters and devices
//! ([`Cluster`]) and never a clock or a thread. [`Simulation::run`]
//! drives it in virtual time: a step takes what a stated base model ([`BaseCost`]) and measured adapters ([`LoraCost`])
//! cost, adapters are copied to a device beside the steps, and the [`Report`] holds throughput, latencies, fairness and
//! the store's hits.
//!
//! It reads no file and draws no random number itself: a [`Trace`] is made of given requests, or by a [`TraceBuilder`]
//! from the caller's [`RandomBits`]. The command `tilefold lora simulate` is what most people want.
//!
//! Units are seconds, bytes and tokens. Sources: Chen et al., *Punica: multi-tenant LoRA serving*, MLSys 2024; Sheng et
//! al., *S-LoRA: serving thousands of concurrent LoRA adapters*, MLSys 2024; Sheng et al., *Fairness in serving large
//! language models*, OSDI 2024.

mod builder;
mod cache;
mod cluster;
mod cost;
mod draws;
mod error;
mod measured;
mod policy;
mod record;
mod report;
mod request;
mod room;
mod simulate;
mod table;
#[cfg(test)]
mod tests;
mod trace;

pub use builder::{Arrivals, Lengths, TraceBuilder};
pub use cache::{CacheCounts, CacheLimits, Residency};
pub use cluster::{Cluster, DeviceLimits, DeviceState, Job};
pub use cost::{BaseCost, LoraCost, NoLora, SegmentShape, StepCost, StepShape};
pub use draws::RandomBits;
pub use error::{Error, Result};
pub use measured::{FittedCost, LoopCost, MeasuredPoint, fit, punica_a100_points};
pub use policy::{FairTokens, Fcfs, FewAdapters, Placement, Policy, Punica, RankAware, Served, StepPlan};
pub use report::{DeviceReport, Fairness, Percentiles, Report, jain_index};
pub use request::{BYTES_PER_RANK_7B, Request, ServedAdapter};
pub use simulate::Simulation;
pub use table::{TableRow, TableSettings, punica_table};
pub use trace::Trace;
