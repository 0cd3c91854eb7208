//! Fairness by served tokens (Sheng et al., *Fairness in serving large language models*, OSDI 2024: the virtual token
//! counter, which S-LoRA uses per adapter).

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{Fit, Placement, Policy, Served, StepPlan, has_slot, place_in_order, plan_step};
use crate::cluster::{Cluster, Job};

/// Serves the adapter that got least so far.
///
/// Each adapter has a counter of `(input_price * prompt tokens + output_price * given tokens) / weight`. The next
/// request is the first one of the adapter with the smallest counter. A prompt counts when its request is placed, so
/// that one adapter does not fill a batch before its counter moves. An adapter that had nothing waiting is lifted, when
/// it comes back, to the smallest counter of those that wait (or of the adapter that waited last): it earns nothing by
/// being away.
#[derive(Debug, Clone)]
pub struct FairTokens {
    input_price: f64,
    output_price: f64,
    counters: BTreeMap<u32, f64>,
    weights: Vec<f64>,
    waiting: BTreeMap<u32, usize>,
    last_to_leave: Option<u32>,
}

impl Default for FairTokens {
    fn default() -> Self {
        Self::new(1.0, 2.0)
    }
}

impl FairTokens {
    /// With these prices of a token; S-LoRA's are 1 and 2.
    pub fn new(input_price: f64, output_price: f64) -> Self {
        let (counters, waiting) = (BTreeMap::new(), BTreeMap::new());
        Self { input_price, output_price, counters, weights: Vec::new(), waiting, last_to_leave: None }
    }

    /// What an adapter was served so far, by price and weight.
    pub fn counter(&self, adapter: u32) -> f64 {
        self.counters.get(&adapter).copied().unwrap_or(0.0)
    }

    fn add(&mut self, adapter: u32, price: f64) {
        let weight = self.weights.get(adapter as usize).copied().unwrap_or(1.0);
        *self.counters.entry(adapter).or_insert(0.0) += price / weight;
    }

    fn lift(&mut self, adapter: u32) {
        let others = self.waiting.keys().map(|&other| self.counter(other));
        let floor = match others.min_by(f64::total_cmp) {
            Some(least) => least,
            None => self.last_to_leave.map_or(0.0, |last| self.counter(last)),
        };
        let counter = self.counters.entry(adapter).or_insert(0.0);
        *counter = counter.max(floor);
    }
}

impl Policy for FairTokens {
    fn name(&self) -> &'static str {
        "fair"
    }

    fn arrived(&mut self, job: &Job, cluster: &Cluster) {
        if self.weights.is_empty() {
            self.weights = cluster.adapters().iter().map(|adapter| adapter.weight).collect();
        }
        if !self.waiting.contains_key(&job.adapter) {
            self.lift(job.adapter);
        }
        *self.waiting.entry(job.adapter).or_insert(0) += 1;
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        if !has_slot(cluster) {
            return None;
        }
        // Of each adapter its first request; these by counter.
        let mut seen = BTreeSet::new();
        let mut heads: Vec<&Job> =
            cluster.waiting().iter().filter(|job| seen.insert((job.priority, job.adapter))).collect();
        heads.sort_by(|a, b| {
            let counters = self.counter(a.adapter).total_cmp(&self.counter(b.adapter));
            b.priority.cmp(&a.priority).then(counters).then(a.before(b))
        });
        let load = |device: usize| cluster.devices()[device].jobs().len() as f64;
        place_in_order(cluster, heads.into_iter(), |_, device| Fit::Score(-load(device)))
    }

    fn placed(&mut self, job: &Job, _: &Cluster) {
        if job.placements == 0 {
            self.add(job.adapter, self.input_price * job.prompt_tokens as f64);
        }
        if let Some(count) = self.waiting.get_mut(&job.adapter) {
            *count -= 1;
            if *count == 0 {
                self.waiting.remove(&job.adapter);
                self.last_to_leave = Some(job.adapter);
            }
        }
    }

    fn step(&mut self, cluster: &Cluster, device: usize) -> StepPlan {
        plan_step(cluster, device, |a, b| {
            let counters = self.counter(a.adapter).total_cmp(&self.counter(b.adapter));
            b.priority.cmp(&a.priority).then(counters).then(a.before(b))
        })
    }

    fn served(&mut self, served: Served) {
        self.add(served.adapter, self.output_price * served.output_tokens as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job};

    fn arrive(policy: &mut FairTokens, cluster: &mut Cluster, job: Job) {
        cluster.wait(job.clone());
        policy.arrived(&job, cluster);
    }

    /// Places one request and returns its id.
    fn place(policy: &mut FairTokens, cluster: &mut Cluster) -> Option<usize> {
        let placement = policy.place(cluster)?;
        let at = cluster.waiting.iter().position(|job| job.id == placement.job).unwrap();
        let job = cluster.waiting.remove(at);
        policy.placed(&job, cluster);
        cluster.devices[placement.device].jobs.push(job);
        Some(placement.job)
    }

    #[test]
    fn the_least_served_adapter_is_next_by_price_and_weight() {
        let (mut policy, mut one) = (FairTokens::default(), cluster(1, 8, 1000, 2));
        one.adapters[1].weight = 2.0;
        for id in 0..4 {
            arrive(&mut policy, &mut one, job(id, (id / 3) as u32, 10));
        }
        assert_eq!(place(&mut policy, &mut one), Some(0));
        assert_eq!(policy.counter(0), 10.0);
        assert_eq!(place(&mut policy, &mut one), Some(3), "adapter 1 had nothing yet");
        assert_eq!(policy.counter(1), 5.0);
        policy.served(Served { adapter: 1, prompt_tokens: 0, output_tokens: 4 });
        assert_eq!(policy.counter(1), 9.0);
        policy.served(Served { adapter: 0, prompt_tokens: 0, output_tokens: 4 });
        assert_eq!(policy.counter(0), 18.0);
    }

    #[test]
    fn an_adapter_that_was_away_is_lifted_and_never_lowered() {
        let (mut policy, mut one) = (FairTokens::default(), cluster(1, 8, 1000, 3));
        arrive(&mut policy, &mut one, job(0, 0, 100));
        arrive(&mut policy, &mut one, job(1, 0, 100));
        assert_eq!(place(&mut policy, &mut one), Some(0));
        // Adapter 1 comes while adapter 0, at 100, waits.
        arrive(&mut policy, &mut one, job(2, 1, 10));
        assert_eq!(policy.counter(1), 100.0);
        assert_eq!(place(&mut policy, &mut one), Some(1), "equal counters: the earlier");
        assert_eq!(place(&mut policy, &mut one), Some(2));
        // Nothing waits: the last to leave was adapter 1, at 110.
        arrive(&mut policy, &mut one, job(3, 2, 10));
        assert_eq!(policy.counter(2), 110.0);
        // Adapter 0 is at 200 already.
        arrive(&mut policy, &mut one, job(4, 0, 10));
        assert_eq!(policy.counter(0), 200.0);
    }

    #[test]
    fn a_request_sent_back_pays_its_prompt_once() {
        let (mut policy, mut one) = (FairTokens::default(), cluster(1, 8, 1000, 1));
        arrive(&mut policy, &mut one, Job { placements: 1, ..job(0, 0, 100) });
        assert_eq!(place(&mut policy, &mut one), Some(0));
        assert_eq!(policy.counter(0), 0.0);
    }
}
