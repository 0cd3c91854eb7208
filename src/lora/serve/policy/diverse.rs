//! A cap on the distinct adapters of a device (the clusters of Sheng et al., *S-LoRA*, MLSys 2024).

use super::super::cluster::Cluster;
use super::{Fit, Placement, Policy, place_in_order};

/// At most so many distinct adapters at once on a device. At the cap only requests of the adapters that are there may
/// join, and overtake the others until one of those has waited longer than the patience: then all behind it wait until an
/// adapter is done, so that none starves.
#[derive(Debug, Clone, Copy)]
pub struct FewAdapters {
    most: usize,
}

impl FewAdapters {
    /// At most `most` adapters on a device; 0 is taken as 1.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1) }
    }
}

impl Policy for FewAdapters {
    fn name(&self) -> &'static str {
        "few-adapters"
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        let present: Vec<_> = cluster.devices().iter().map(|device| device.adapters()).collect();
        place_in_order(cluster, cluster.waiting().iter(), |job, device| {
            let load = cluster.devices()[device].jobs().len() as f64;
            let batch = cluster.devices()[device].limits().batch as f64;
            if present[device].contains(&job.adapter) {
                // Where its adapter is anyway.
                return Fit::Score(batch - load);
            }
            if present[device].len() < self.most { Fit::Score(-load) } else { Fit::Overtake }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cluster::made_up::{cluster, job, running};
    use super::*;

    #[test]
    fn at_the_cap_only_present_adapters_join_until_one_is_impatient() {
        let mut one = cluster(1, 8, 1000, 3);
        one.devices[0].jobs = vec![running(0, 0, 10), running(1, 1, 10)];
        one.waiting = vec![job(2, 2, 10), job(3, 1, 10)];
        one.now_seconds = 2.5;
        let mut policy = FewAdapters::new(2);
        assert_eq!(policy.place(&one), Some(Placement { job: 3, device: 0 }));
        assert_eq!(FewAdapters::new(3).place(&one), Some(Placement { job: 2, device: 0 }));
        one.now_seconds = 3.5;
        assert_eq!(policy.place(&one), None, "request 2 has waited longer than a second");
        one.devices[0].jobs.remove(0);
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
