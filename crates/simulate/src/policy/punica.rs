//! Punica's scheduler (Chen et al., *Punica: multi-tenant LoRA serving*, MLSys 2024, its section on scheduling).

use super::plan::{Fit, Placement, Policy, StepPlan, place_in_order, plan_step};
use crate::cluster::{Cluster, Job};

/// A new request goes to the device with the most requests that is below its largest batch and has room for its keys
/// and values, of equal ones to the highest index; so few devices are full and the others can be given back. Requests
/// are first come, first served, one prefill a step. Where the key-value cache is full the newest is evicted and goes
/// to another device with a prefill of its prompt and what it generated.
///
/// To consolidate, the requests of the least loaded device move when nothing waits, it has at most
/// [`light`](Self::light) of its largest batch, and fuller devices have room for all of them. The paper gives no number
/// for that: a quarter is our choice.
#[derive(Debug, Clone, Copy)]
pub struct Punica {
    light: f64,
}

impl Default for Punica {
    fn default() -> Self {
        Self { light: 0.25 }
    }
}

impl Punica {
    /// With devices called light up to this share of their largest batch; 0 never migrates.
    pub fn light(share: f64) -> Self {
        Self { light: share }
    }

    /// Whether all requests of `device` find room on fuller ones.
    fn can_be_emptied(&self, cluster: &Cluster, device: usize) -> bool {
        let devices = cluster.devices();
        let count = devices[device].jobs().len();
        let is_light = count > 0 && count as f64 <= self.light * devices[device].limits().batch as f64;
        if !is_light || !cluster.waiting().is_empty() {
            return false;
        }
        // Of equally loaded ones the lower index is emptied, as the higher is filled.
        let fuller = |other: usize| (devices[other].jobs().len(), other) > (count, device);
        let mut slots: Vec<(usize, u64, usize)> = (0..devices.len())
            .filter(|&other| other != device && fuller(other))
            .map(|other| {
                let (state, limits) = (&devices[other], devices[other].limits());
                let tokens = limits.kv_tokens.saturating_sub(state.promised_tokens());
                (limits.batch.saturating_sub(state.jobs().len()), tokens, other)
            })
            .collect();
        devices[device].jobs().iter().all(|job| {
            let needed = job.context_tokens() + 1;
            let is_free = |slot: &&mut (usize, u64, usize)| {
                slot.0 > 0 && slot.1 >= needed && cluster.can_hold(slot.2, job.adapter)
            };
            match slots.iter_mut().find(is_free) {
                Some(slot) => {
                    // One more token than it needs now, as on the device itself.
                    *slot = (slot.0 - 1, slot.1.saturating_sub(needed + 1), slot.2);
                    true
                }
                None => false,
            }
        })
    }
}

impl Policy for Punica {
    fn name(&self) -> &'static str {
        "punica"
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        let load = |device: usize| cluster.devices()[device].jobs().len() as f64;
        place_in_order(cluster, cluster.waiting().iter(), |_, device| Fit::Score(load(device)))
    }

    fn step(&mut self, cluster: &Cluster, device: usize) -> StepPlan {
        if self.can_be_emptied(cluster, device) {
            let migrate = cluster.devices()[device].jobs().iter().map(|job| job.id).collect();
            return StepPlan { migrate, ..StepPlan::default() };
        }
        plan_step(cluster, device, Job::before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job, running};

    #[test]
    fn the_fullest_device_below_its_cap_with_room() {
        let mut three = cluster(3, 2, 100, 1);
        three.waiting = vec![job(9, 0, 10)];
        let device = |cluster: &Cluster| Punica::default().place(cluster).map(|placement| placement.device);
        assert_eq!(device(&three), Some(2), "of equal ones the highest index");
        three.devices[0].jobs = vec![running(0, 0, 10)];
        assert_eq!(device(&three), Some(0));
        three.devices[0].jobs.push(running(1, 0, 10));
        three.devices[1].jobs = vec![running(2, 0, 95)];
        assert_eq!(device(&three), Some(2), "0 is at its cap and 1 has no tokens left");
        three.devices[2].jobs = vec![running(3, 0, 95)];
        assert_eq!(device(&three), None);
    }

    #[test]
    fn a_light_device_is_emptied_onto_fuller_ones_that_have_room() {
        let mut two = cluster(2, 8, 100, 1);
        two.devices[0].jobs = vec![running(4, 0, 10)];
        two.devices[1].jobs = (0..4).map(|id| running(id, 0, 10)).collect();
        let migrated = |cluster: &Cluster, device| Punica::default().step(cluster, device).migrate;
        assert_eq!(migrated(&two, 0), [4]);
        assert_eq!(migrated(&two, 1), [0; 0], "the fullest stays");
        assert_eq!(Punica::light(0.0).step(&two, 0).migrate, [0; 0]);
        two.waiting = vec![job(9, 0, 10)];
        assert_eq!(migrated(&two, 0), [0; 0], "there is work for all");
        two.waiting.clear();
        two.devices[1].jobs[0].cached_tokens = 60;
        assert_eq!(migrated(&two, 0), [0; 0], "no tokens left there");
        two.devices[1].jobs = vec![running(0, 0, 10)];
        assert_eq!((migrated(&two, 0), migrated(&two, 1)), (vec![4], vec![]), "one of two equal ones moves");
    }
}
