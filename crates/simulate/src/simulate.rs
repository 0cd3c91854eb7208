//! The simulator: events in virtual time, one after the other, without threads or clocks. The same trace, policy and
//! settings give the same report, bit for bit.

use std::collections::BTreeSet;

use super::cache::Residency;
use super::cluster::{Cluster, DeviceLimits, DeviceState, Job};
use super::cost::{StepCost, StepShape};
use super::policy::{Policy, Served, StepPlan};
use super::record::Record;
use super::report::Report;
use super::request::{Request, ServedAdapter};
use super::trace::Trace;
use crate::error::{Error, Result};

/// Devices of a run at most.
const MOST_DEVICES: usize = 4096;

/// Settings of a simulated run.
///
/// ```
/// use tilefold_simulate::{BaseCost, Fcfs, NoLora, Request, ServedAdapter, Simulation, StepCost, Trace};
/// let request = |adapter, arrival_seconds| {
///     Request { id: 0, adapter, prompt_tokens: 100, decode_steps: 20, arrival_seconds, priority: 0 }
/// };
/// let trace = Trace::new(vec![request(0, 0.0), request(1, 0.1), request(0, 0.3)])?;
/// let adapters = ServedAdapter::cycle(trace.adapters(), &[16])?;
/// let base = BaseCost::punica_a100_7b();
/// let report = Simulation::new().devices(2).run(&trace, &adapters, StepCost { base: &base, lora: &NoLora }, &mut Fcfs)?;
/// assert_eq!(report.output_tokens, trace.output_tokens());
/// # Ok::<(), tilefold_simulate::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    devices: usize,
    limits: DeviceLimits,
    prefetch: bool,
    patience_seconds: f64,
    window_seconds: f64,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// One device with [`DeviceLimits::default`], copies ahead, a patience of 2 s, windows of fairness of 10 s.
    pub fn new() -> Self {
        let limits = DeviceLimits::default();
        Self { devices: 1, limits, prefetch: true, patience_seconds: 2.0, window_seconds: 10.0 }
    }

    /// So many equal devices.
    pub fn devices(mut self, count: usize) -> Self {
        self.devices = count;
        self
    }

    /// What each device can hold.
    pub fn limits(mut self, limits: DeviceLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether adapters of waiting requests are copied ahead.
    pub fn prefetch(mut self, prefetch: bool) -> Self {
        self.prefetch = prefetch;
        self
    }

    /// How long a request may be overtaken because its adapter finds no room; then an adapter is drained for it.
    pub fn patience_seconds(mut self, seconds: f64) -> Self {
        self.patience_seconds = seconds;
        self
    }

    /// Length of the windows of [`Fairness::contended`](super::Fairness::contended).
    pub fn window_seconds(mut self, seconds: f64) -> Self {
        self.window_seconds = seconds;
        self
    }

    fn check(&self, trace: &Trace, adapters: &[ServedAdapter]) -> Result<()> {
        let positive = |name: &'static str, is_good: bool, got: f64| {
            if is_good { Ok(()) } else { Err(Error::parameter(name, "a positive number", got)) }
        };
        if !(1..=MOST_DEVICES).contains(&self.devices) {
            return Err(Error::parameter("devices", format!("1 to {MOST_DEVICES}"), self.devices));
        }
        positive("batch", self.limits.batch > 0, self.limits.batch as f64)?;
        positive("window_seconds", self.window_seconds > 0.0, self.window_seconds)?;
        if !(self.patience_seconds >= 0.0) {
            let rule = "a number that is not negative";
            return Err(Error::parameter("patience_seconds", rule, self.patience_seconds));
        }
        self.limits.cache.check()?;
        if trace.adapters() > adapters.len() {
            let rule = format!("indices below {}, the number of adapters", adapters.len());
            return Err(Error::parameter("adapter", rule, trace.adapters() - 1));
        }
        if let Some(bad) = adapters.iter().position(|one| !(one.weight > 0.0 && one.weight.is_finite())) {
            let rule = format!("a positive number (adapter {bad})");
            return Err(Error::parameter("weight", rule, adapters[bad].weight));
        }
        let used: BTreeSet<u32> = trace.requests().iter().map(|request| request.adapter).collect();
        let too_large =
            used.iter().find(|&&used| adapters[used as usize].bytes > self.limits.cache.budget_bytes);
        if let Some(&index) = too_large {
            return Err(Error::TooLarge {
                what: format!("adapter {index}"),
                needed_bytes: adapters[index as usize].bytes,
                limit_bytes: self.limits.cache.budget_bytes,
            });
        }
        let longest = trace.requests().iter().max_by_key(|request| request.most_context());
        if let Some(request) = longest.filter(|request| request.most_context() > self.limits.kv_tokens) {
            let rule = format!("at least the {} tokens of request {}", request.most_context(), request.id);
            return Err(Error::parameter("kv_tokens", rule, self.limits.kv_tokens));
        }
        Ok(())
    }

    /// Serves the trace to its end.
    ///
    /// # Errors
    /// [`Error::Parameter`] for settings out of range, an adapter without an entry in the table, a request longer than
    /// the key-value cache, or a policy that plans what cannot be or leaves requests waiting for ever;
    /// [`Error::TooLarge`] for an adapter above the budget.
    pub fn run(
        &self,
        trace: &Trace,
        adapters: &[ServedAdapter],
        cost: StepCost<'_>,
        policy: &mut dyn Policy,
    ) -> Result<Report> {
        self.check(trace, adapters)?;
        let cluster = Cluster {
            now_seconds: 0.0,
            patience_seconds: self.patience_seconds,
            adapters: adapters.to_vec(),
            waiting: Vec::new(),
            devices: (0..self.devices).map(|_| DeviceState::new(self.limits)).collect(),
        };
        let record = Record::new(trace, adapters, self.devices, self.window_seconds);
        let steps = (0..self.devices).map(|_| None).collect();
        let mut run = Run { settings: self, trace, cost, policy, cluster, record, steps, arrived: 0 };
        while let Some(next) = run.next_event()? {
            run.record.advance(&run.cluster, next);
            run.cluster.now_seconds = next;
            run.arrive();
            run.end_steps()?;
            run.schedule()?;
        }
        Ok(run.record.report(run.policy.name(), &run.cluster))
    }
}

/// A step under way.
struct Step {
    end_seconds: f64,
    /// Ids of the requests that get a token.
    members: Vec<usize>,
}

struct Run<'a> {
    settings: &'a Simulation,
    trace: &'a Trace,
    cost: StepCost<'a>,
    policy: &'a mut dyn Policy,
    cluster: Cluster,
    record: Record,
    steps: Vec<Option<Step>>,
    arrived: usize,
}

impl Run<'_> {
    /// When something happens next; none at the end.
    fn next_event(&self) -> Result<Option<f64>> {
        let now = self.cluster.now_seconds;
        let arrival = self.trace.requests().get(self.arrived).map(|request| request.arrival_seconds);
        let ends = self.steps.iter().flatten().map(|step| step.end_seconds);
        let copies = self.cluster.devices.iter().filter_map(|device| device.cache.next_end(now));
        // A request that becomes impatient changes what may be placed; beside a step the step's end is soon enough.
        let limit = self.cluster.patience_seconds;
        let is_idle = self.steps.iter().all(Option::is_none);
        let waiting = self.cluster.waiting.iter().filter(|_| is_idle);
        let impatience = waiting.map(|job| job.waiting_since + limit);
        let is_open =
            !self.cluster.waiting.is_empty() || self.cluster.devices.iter().any(|d| !d.jobs.is_empty());
        if arrival.is_none() && !is_open {
            return Ok(None);
        }
        let events = arrival.into_iter().chain(ends).chain(copies);
        let next = events
            .chain(impatience.filter(|&end| end > now))
            .filter(|end| end.is_finite())
            .min_by(f64::total_cmp);
        match next {
            Some(next) => Ok(Some(next.max(now))),
            None => Err(self.broken("a plan for the requests that are left", "none")),
        }
    }

    fn broken(&self, rule: &str, got: &str) -> Error {
        Error::parameter("policy", format!("{rule} (policy {})", self.policy.name()), got)
    }

    fn arrive(&mut self) {
        let now = self.cluster.now_seconds;
        let due = |request: &&Request| request.arrival_seconds <= now;
        while let Some(request) = self.trace.requests().get(self.arrived).filter(due) {
            self.arrived += 1;
            let job = Job {
                id: request.id,
                adapter: request.adapter,
                priority: request.priority,
                arrival_seconds: request.arrival_seconds,
                waiting_since: request.arrival_seconds,
                prompt_tokens: u64::from(request.prompt_tokens),
                generated_tokens: 0,
                cached_tokens: 0,
                placements: 0,
            };
            self.wait(job);
        }
    }

    fn wait(&mut self, job: Job) {
        self.cluster.wait(job.clone());
        self.policy.arrived(&job, &self.cluster);
    }

    /// Gives the tokens of the steps that end now.
    fn end_steps(&mut self) -> Result<()> {
        let now = self.cluster.now_seconds;
        for device in 0..self.steps.len() {
            let Some(step) = self.steps[device].take_if(|step| step.end_seconds <= now) else { continue };
            self.cluster.devices[device].is_busy = false;
            for id in step.members {
                let state = &mut self.cluster.devices[device];
                let Some(place) = state.jobs.iter().position(|job| job.id == id) else { continue };
                let job = &mut state.jobs[place];
                // A prefill leaves keys and values of all before the new token, a decode step those of one more.
                job.cached_tokens = job.context_tokens();
                job.generated_tokens += 1;
                let prompt_tokens = if job.generated_tokens == 1 { job.prompt_tokens } else { 0 };
                let served = Served { adapter: job.adapter, prompt_tokens, output_tokens: 1 };
                let is_done = job.generated_tokens >= self.trace.requests()[id].output_tokens();
                self.record.token(id, served, is_done, now);
                if is_done {
                    let job = state.jobs.remove(place);
                    state.cache.unpin(job.adapter);
                }
                self.policy.served(served);
            }
        }
        Ok(())
    }

    /// Places what can be placed and begins steps, until nothing changes.
    fn schedule(&mut self) -> Result<()> {
        // What a device sends back can let another begin; once each in both roles is enough.
        for _ in 0..=2 * self.steps.len() {
            self.place()?;
            let mut has_changed = false;
            for device in 0..self.steps.len() {
                let state = &self.cluster.devices[device];
                if !state.is_busy && !state.jobs.is_empty() {
                    let plan = self.policy.step(&self.cluster, device);
                    has_changed |= self.begin(device, &plan)?;
                }
            }
            if !has_changed {
                break;
            }
        }
        if self.settings.prefetch {
            self.cluster.prefetch();
        }
        Ok(())
    }

    fn place(&mut self) -> Result<()> {
        self.cluster.drain();
        while let Some(placement) = self.policy.place(&self.cluster) {
            let now = self.cluster.now_seconds;
            let Some(place) = self.cluster.waiting.iter().position(|job| job.id == placement.job) else {
                return Err(
                    self.broken("placements of waiting requests", &format!("request {}", placement.job))
                );
            };
            let (job, adapters) = (&self.cluster.waiting[place], &self.cluster.adapters);
            let served = &adapters[job.adapter as usize];
            let is_placed = match self.cluster.devices.get_mut(placement.device) {
                Some(device) => device.has_room(job) && device.cache.pin(job.adapter, served, now),
                None => false,
            };
            if !is_placed {
                let got = format!("request {} on device {}", placement.job, placement.device);
                return Err(self.broken("placements where there is room", &got));
            }
            let mut job = self.cluster.waiting.remove(place);
            self.policy.placed(&job, &self.cluster);
            job.placements += 1;
            self.cluster.devices[placement.device].jobs.push(job);
        }
        Ok(())
    }

    /// Carries out a plan: true where requests were sent back.
    fn begin(&mut self, device: usize, plan: &StepPlan) -> Result<bool> {
        let sent_back = [&plan.evict[..], &plan.migrate[..]].concat();
        let members = [&plan.prefill[..], &plan.decode[..]].concat();
        let all: BTreeSet<usize> = sent_back.iter().chain(&members).copied().collect();
        let state = &self.cluster.devices[device];
        let job_of = |id: usize| state.jobs.iter().find(|job| job.id == id);
        let is_known = all.iter().all(|&id| job_of(id).is_some());
        if !is_known || all.len() != sent_back.len() + members.len() {
            return Err(self.broken("steps that name requests of the device once", &format!("{plan:?}")));
        }
        let mut step = StepShape::default();
        let mut tokens: u64 =
            state.jobs.iter().filter(|job| !sent_back.contains(&job.id)).map(|job| job.cached_tokens).sum();
        for job in plan.prefill.iter().filter_map(|&id| job_of(id)) {
            if job.is_prefilled() || self.cluster.residency(device, job.adapter) != Residency::Resident {
                return Err(
                    self.broken("prefills of new requests whose adapter is there", &job.id.to_string())
                );
            }
            step.prefill(job.adapter, self.cluster.rank(job.adapter), job.context_tokens());
            tokens += job.context_tokens();
        }
        for job in plan.decode.iter().filter_map(|&id| job_of(id)) {
            if !job.is_prefilled() {
                return Err(self.broken("decode steps after the prefill", &job.id.to_string()));
            }
            step.decode(job.adapter, self.cluster.rank(job.adapter), job.context_tokens());
            tokens += 1;
        }
        if tokens > state.limits.kv_tokens {
            return Err(self.broken("steps that fit the key-value cache", &format!("{tokens} tokens")));
        }
        self.record.sent_back(plan.evict.len(), plan.migrate.len());
        for &id in &sent_back {
            let state = &mut self.cluster.devices[device];
            if let Some(place) = state.jobs.iter().position(|job| job.id == id) {
                let job = state.jobs.remove(place);
                state.cache.unpin(job.adapter);
                self.wait(job);
            }
        }
        if !members.is_empty() {
            let seconds = self.cost.seconds(&step);
            if !(seconds >= 0.0 && seconds.is_finite()) {
                let rule = "steps of finite seconds that are not negative";
                return Err(Error::parameter("cost", rule, seconds));
            }
            self.record.step(device, seconds, &step, members.len());
            self.cluster.devices[device].is_busy = true;
            self.steps[device] = Some(Step { end_seconds: self.cluster.now_seconds + seconds, members });
        }
        Ok(!sent_back.is_empty())
    }
}
