//! What a policy says, and what the policies have in common.

use std::cmp::Ordering;

use crate::cache::Residency;
use crate::cluster::{Cluster, Job};

/// A waiting request goes to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// [`Job::id`] of one that waits.
    pub job: usize,
    /// Index of the device.
    pub device: usize,
}

/// What a device does next; all are ids of its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepPlan {
    /// Go back to the waiting ones because the key-value cache is full.
    pub evict: Vec<usize>,
    /// Go back to the waiting ones to run on a fuller device.
    pub migrate: Vec<usize>,
    /// Their prompt, and what they generated before they were sent back, is prefilled: each gives a token.
    pub prefill: Vec<usize>,
    /// Give their next token.
    pub decode: Vec<usize>,
}

/// Tokens that a request was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Index of its adapter.
    pub adapter: u32,
    /// Tokens of its prompt, once per request.
    pub prompt_tokens: u64,
    /// Tokens it gave.
    pub output_tokens: u64,
}

/// Turns waiting and running requests into steps.
///
/// Whenever something happened, [`place`](Self::place) is asked until it has no more placement; then
/// [`step`](Self::step) is asked of each device that is not busy. An adapter is copied to its device from the placement
/// on, beside the steps; only requests whose adapter is there may be in a prefill. Requests of one device go on
/// together (continuous batching), so a placement on a busy device joins after its step.
pub trait Policy {
    /// The word for it.
    fn name(&self) -> &'static str;

    /// A request came, or was sent back; it is among the waiting ones already.
    fn arrived(&mut self, job: &Job, cluster: &Cluster) {
        let _ = (job, cluster);
    }

    /// Moves one waiting request to a device with room for it, or none.
    fn place(&mut self, cluster: &Cluster) -> Option<Placement>;

    /// A request that [`place`](Self::place) chose is on its device; `job` is as it was before.
    fn placed(&mut self, job: &Job, cluster: &Cluster) {
        let _ = (job, cluster);
    }

    /// Plans the next step of a device: first come, first served, one prefill, and where the key-value cache is full
    /// the newest is evicted.
    fn step(&mut self, cluster: &Cluster, device: usize) -> StepPlan {
        plan_step(cluster, device, Job::before)
    }

    /// A step ended that gave these tokens.
    fn served(&mut self, served: Served) {
        let _ = served;
    }
}

/// What a device is worth to a request.
pub(super) enum Fit {
    /// It may go there; the largest goes first, of equal ones the device with the highest index.
    Score(f64),
    /// It may not, but those behind it may go first.
    Overtake,
    /// It may not, and those behind it wait too.
    Hold,
}

/// Whether some device is below its largest batch: if none is, there is no order to be found out.
pub(super) fn has_slot(cluster: &Cluster) -> bool {
    cluster.devices().iter().any(|device| device.jobs().len() < device.limits().batch)
}

/// The first request, in this order, that may go somewhere, and the best device for it.
///
/// Room comes in order: a request that no device has room for holds up those behind it, so a long prompt does not
/// starve. One whose adapter finds no room, while all there are in use, is overtaken.
pub(super) fn place_in_order<'a>(
    cluster: &Cluster,
    jobs: impl Iterator<Item = &'a Job>,
    mut fit: impl FnMut(&Job, usize) -> Fit,
) -> Option<Placement> {
    if !has_slot(cluster) {
        return None;
    }
    for job in jobs {
        let mut best: Option<(f64, usize)> = None;
        let mut may_overtake = false;
        let roomy = cluster.devices().iter().enumerate().filter(|(_, device)| device.has_room(job));
        for (index, _) in roomy {
            if !cluster.can_hold(index, job.adapter) {
                may_overtake = true;
                continue;
            }
            match fit(job, index) {
                Fit::Score(score) if best.is_none_or(|(most, _)| score >= most) => {
                    best = Some((score, index))
                }
                Fit::Score(_) | Fit::Hold => {}
                Fit::Overtake => may_overtake = true,
            }
        }
        match best {
            Some((_, device)) => return Some(Placement { job: job.id, device }),
            None if may_overtake => {}
            None => return None,
        }
    }
    None
}

/// One step of a device. While the key-value cache cannot take a token of each that decodes, the last of
/// [`Job::before`] goes, but never the only one. Then the first request of `order` whose adapter is there is prefilled,
/// if its tokens fit.
pub(super) fn plan_step(
    cluster: &Cluster,
    device: usize,
    mut order: impl FnMut(&Job, &Job) -> Ordering,
) -> StepPlan {
    let state = &cluster.devices()[device];
    let (mut kept, mut fresh): (Vec<&Job>, Vec<&Job>) =
        state.jobs().iter().partition(|job| job.is_prefilled());
    kept.sort_by(|a, b| a.before(b));
    let mut evict = Vec::new();
    let after = |kept: &[&Job]| -> u64 { kept.iter().map(|job| job.cached_tokens + 1).sum() };
    while kept.len() > 1 && after(&kept) > state.limits().kv_tokens {
        evict.extend(kept.pop().map(|job| job.id));
    }
    fresh.retain(|job| cluster.residency(device, job.adapter) == Residency::Resident);
    let first = fresh.into_iter().min_by(|a, b| order(a, b));
    let room = state.limits().kv_tokens.saturating_sub(after(&kept));
    let prefill = first.filter(|job| evict.is_empty() && job.context_tokens() <= room);
    StepPlan {
        evict,
        migrate: Vec::new(),
        prefill: prefill.map(|job| job.id).into_iter().collect(),
        decode: kept.into_iter().map(|job| job.id).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job, running};

    #[test]
    fn the_newest_of_the_lowest_priority_is_evicted_and_never_the_only_one() {
        let mut small = cluster(1, 8, 30, 1);
        small.devices[0].jobs = vec![running(0, 0, 10), running(2, 0, 10), running(1, 0, 10)];
        let plan = plan_step(&small, 0, Job::before);
        assert_eq!((plan.evict, plan.decode), (vec![2], vec![0, 1]));
        small.devices[0].jobs[1].priority = 1;
        let plan = plan_step(&small, 0, Job::before);
        assert_eq!((plan.evict, plan.decode), (vec![1], vec![2, 0]));
        small.devices[0].jobs = vec![running(0, 0, 40)];
        assert_eq!(plan_step(&small, 0, Job::before).decode, [0]);
    }

    #[test]
    fn one_prefill_a_step_and_only_where_its_tokens_fit() {
        let mut small = cluster(1, 8, 30, 1);
        small.devices[0].jobs = vec![job(3, 0, 8), running(0, 0, 10), job(1, 0, 8), job(2, 0, 8)];
        let plan = plan_step(&small, 0, Job::before);
        assert_eq!((plan.prefill, plan.decode), (vec![1], vec![0]));
        small.devices[0].jobs[2].prompt_tokens = 20;
        assert_eq!(plan_step(&small, 0, Job::before).prefill, [0; 0], "11 and 20 tokens exceed 30");
    }

    #[test]
    fn a_request_without_room_holds_up_those_behind_it() {
        let mut small = cluster(1, 8, 30, 1);
        small.devices[0].jobs = vec![running(0, 0, 10)];
        small.waiting = vec![job(1, 0, 25), job(2, 0, 2)];
        let any = |_: &Job, _| Fit::Score(0.0);
        assert_eq!(place_in_order(&small, small.waiting().iter(), any), None);
        small.waiting.remove(0);
        let placement = place_in_order(&small, small.waiting().iter(), any);
        assert_eq!(placement, Some(Placement { job: 2, device: 0 }));
    }
}
