//! First come, first served, each request to the device with the fewest.

use super::plan::{Fit, Placement, Policy, place_in_order};
use crate::cluster::Cluster;

/// The plainest policy: requests go in the order of [`Job::before`](crate::Job::before) to the device that has
/// the fewest.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fcfs;

impl Policy for Fcfs {
    fn name(&self) -> &'static str {
        "fcfs"
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        let load = |device: usize| cluster.devices()[device].jobs().len() as f64;
        place_in_order(cluster, cluster.waiting().iter(), |_, device| Fit::Score(-load(device)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job, running};

    #[test]
    fn the_emptiest_device_and_the_larger_priority_first() {
        let mut two = cluster(2, 4, 1000, 1);
        two.devices[1].jobs = vec![running(0, 0, 10)];
        for (id, priority) in [(1, 0), (2, 5), (3, 5)] {
            let job = crate::Job { priority, ..job(id, 0, 10) };
            two.wait(job);
        }
        assert_eq!(Fcfs.place(&two), Some(Placement { job: 2, device: 0 }));
        let order: Vec<usize> = two.waiting().iter().map(|job| job.id).collect();
        assert_eq!(order, [2, 3, 1]);
    }
}
