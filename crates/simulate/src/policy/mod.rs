//! Who runs where and when: one trait, and the policies that are known to work.

mod diverse;
mod fair;
mod fcfs;
mod plan;
mod punica;
mod rank_aware;

pub use diverse::FewAdapters;
pub use fair::FairTokens;
pub use fcfs::Fcfs;
pub use plan::{Placement, Policy, Served, StepPlan};
pub use punica::Punica;
pub use rank_aware::RankAware;
