//! Admission by what the ranks of a batch cost (the idea of Li et al., *CaraServe: CPU-assisted and rank-aware LoRA
//! serving*, 2024).

use super::plan::{Fit, Placement, Policy, place_in_order};
use crate::cluster::{Cluster, Job};
use crate::cost::{StepCost, StepShape};

/// A request is admitted while the decode step that it makes stays under a target, by the measured cost of the batch's
/// ranks; it goes to the device where that step is shortest. A request that no step under the target can have runs
/// alone, so none starves.
pub struct RankAware<'a> {
    cost: StepCost<'a>,
    target_seconds: f64,
}

impl<'a> RankAware<'a> {
    /// Keeps decode steps under `target_seconds` by this cost.
    pub fn new(cost: StepCost<'a>, target_seconds: f64) -> Self {
        Self { cost, target_seconds }
    }

    /// Seconds of a decode step of all requests of `device` and one more.
    fn seconds_with(&self, cluster: &Cluster, device: usize, job: &Job) -> f64 {
        let mut step = StepShape::default();
        for member in cluster.devices()[device].jobs().iter().chain([job]) {
            step.decode(member.adapter, cluster.rank(member.adapter), member.context_tokens());
        }
        self.cost.seconds(&step)
    }
}

impl Policy for RankAware<'_> {
    fn name(&self) -> &'static str {
        "rank-aware"
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        place_in_order(cluster, cluster.waiting().iter(), |job, device| {
            let seconds = self.seconds_with(cluster, device, job);
            let is_alone = cluster.devices()[device].jobs().is_empty();
            if seconds <= self.target_seconds || is_alone { Fit::Score(-seconds) } else { Fit::Hold }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job, running};
    use crate::cost::BaseCost;
    use crate::measured::FittedCost;

    #[test]
    fn the_sum_of_ranks_is_kept_under_the_target() {
        // One second per rank of a row.
        let lora = FittedCost { rank_row_seconds: 1.0, ..FittedCost::default() };
        let base = BaseCost::zero();
        let mut policy = RankAware::new(StepCost { base: &base, lora: &lora }, 20.0);
        let mut two = cluster(2, 8, 1000, 2);
        two.adapters[1].rank = 64;
        two.devices[0].jobs = vec![running(0, 0, 10)];
        two.waiting = vec![job(2, 0, 10)];
        assert_eq!(policy.place(&two), Some(Placement { job: 2, device: 1 }), "8 there, 16 on the other");
        two.devices[1].jobs = vec![running(1, 0, 10), running(5, 0, 10)];
        assert_eq!(policy.place(&two), Some(Placement { job: 2, device: 0 }));
        two.devices[0].jobs.push(running(6, 0, 10));
        assert_eq!(policy.place(&two), None, "24 on either");
        two.waiting = vec![job(2, 1, 10), job(3, 0, 10)];
        two.devices[0].jobs.pop();
        assert_eq!(policy.place(&two), None, "rank 64 holds up those behind it");
        two.devices[0].jobs.clear();
        assert_eq!(policy.place(&two), Some(Placement { job: 2, device: 0 }), "and runs alone");
    }
}
