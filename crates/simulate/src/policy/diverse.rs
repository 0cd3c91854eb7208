//! A cap on the distinct adapters of a device (the clusters of Sheng et al., *S-LoRA*, MLSys 2024).

use std::collections::BTreeSet;

use super::plan::{Fit, Placement, Policy, has_slot, place_in_order};
use crate::cluster::{Cluster, Job};

/// At most so many distinct adapters at once on a device. At the cap only requests of the adapters that are there may
/// join, and overtake the others. Once the first of those has waited longer than the patience, one adapter of each
/// device is closed until it is done: the one with the request that has been there longest. So adapters take turns and
/// none starves.
#[derive(Debug, Clone)]
pub struct FewAdapters {
    most: usize,
    /// Of each device.
    closed: Vec<Option<u32>>,
}

impl FewAdapters {
    /// At most `most` adapters on a device; 0 is taken as 1.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), closed: Vec::new() }
    }

    fn close_and_open(&mut self, cluster: &Cluster, present: &[BTreeSet<u32>]) {
        self.closed.resize(present.len(), None);
        let is_outside = |job: &&Job| !present.iter().any(|adapters| adapters.contains(&job.adapter));
        let first = cluster.waiting().iter().find(is_outside);
        let is_impatient = first.is_some_and(|job| cluster.is_impatient(job));
        for ((closed, adapters), device) in self.closed.iter_mut().zip(present).zip(cluster.devices()) {
            let is_full = is_impatient && adapters.len() >= self.most;
            let still = closed.filter(|adapter| adapters.contains(adapter));
            *closed = still.or(device.jobs().first().map(|job| job.adapter)).filter(|_| is_full);
        }
    }
}

impl Policy for FewAdapters {
    fn name(&self) -> &'static str {
        "few-adapters"
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        if !has_slot(cluster) {
            return None;
        }
        let present: Vec<_> = cluster.devices().iter().map(|device| device.adapters()).collect();
        self.close_and_open(cluster, &present);
        place_in_order(cluster, cluster.waiting().iter(), |job, device| {
            let load = cluster.devices()[device].jobs().len() as f64;
            let batch = cluster.devices()[device].limits().batch as f64;
            if present[device].contains(&job.adapter) {
                let is_closed = self.closed[device] == Some(job.adapter);
                // Where its adapter is anyway, before any other device.
                return if is_closed { Fit::Overtake } else { Fit::Score(batch - load) };
            }
            if present[device].len() < self.most { Fit::Score(-load) } else { Fit::Overtake }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job, running};

    #[test]
    fn at_the_cap_only_present_adapters_join_and_they_take_turns() {
        let mut one = cluster(1, 8, 1000, 3);
        one.devices[0].jobs = vec![running(0, 0, 10), running(1, 1, 10)];
        one.waiting = vec![job(2, 2, 10), job(3, 1, 10)];
        one.now_seconds = 2.5;
        let mut policy = FewAdapters::new(2);
        assert_eq!(policy.place(&one), Some(Placement { job: 3, device: 0 }));
        assert_eq!(FewAdapters::new(3).place(&one), Some(Placement { job: 2, device: 0 }));
        // Request 2 has waited longer than a second: adapter 0, which is there longest, takes no more.
        one.now_seconds = 3.5;
        assert_eq!(policy.place(&one), Some(Placement { job: 3, device: 0 }));
        one.waiting.insert(1, job(4, 0, 10));
        one.waiting.pop();
        assert_eq!(policy.place(&one), None);
        // It stays closed while it has requests, also younger ones.
        one.devices[0].jobs = vec![running(1, 1, 10), running(5, 0, 10)];
        assert_eq!(policy.place(&one), None);
        one.devices[0].jobs.pop();
        assert_eq!(policy.place(&one), Some(Placement { job: 2, device: 0 }));
    }

    #[test]
    fn a_device_that_has_the_adapter_is_preferred() {
        let mut two = cluster(2, 8, 1000, 3);
        two.devices[0].jobs = vec![running(0, 2, 10), running(1, 1, 10)];
        two.waiting = vec![job(2, 2, 10)];
        assert_eq!(FewAdapters::new(4).place(&two), Some(Placement { job: 2, device: 0 }));
    }
}
