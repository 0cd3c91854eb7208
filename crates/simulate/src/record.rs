//! What is counted while a run goes on.

use std::collections::BTreeSet;

use super::cache::CacheCounts;
use super::cluster::Cluster;
use super::cost::StepShape;
use super::policy::Served;
use super::report::{DeviceReport, Fairness, Percentiles, Report, jain_index};
use super::request::ServedAdapter;
use super::trace::Trace;

/// Price of a token given, where one of a prompt counts 1.
const OUTPUT_PRICE: f64 = 2.0;

#[derive(Debug, Clone, Copy, Default)]
struct Life {
    arrival: f64,
    first_token: f64,
    end: f64,
    tokens: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct DeviceCounts {
    steps: u64,
    busy_seconds: f64,
}

/// Counts of one run.
pub(super) struct Record {
    lives: Vec<Life>,
    devices: Vec<DeviceCounts>,
    weights: Vec<f64>,
    /// Tokens by price and weight, in all and when the window began.
    served: Vec<f64>,
    window_served: Vec<f64>,
    window_waiting: BTreeSet<u32>,
    window_end: f64,
    window_seconds: f64,
    window_indices: Vec<f64>,
    rows: u64,
    adapters: u64,
    evictions: u64,
    migrations: u64,
    last_seconds: f64,
}

impl Record {
    pub fn new(trace: &Trace, adapters: &[ServedAdapter], devices: usize, window_seconds: f64) -> Self {
        let lives = trace.requests().iter();
        Self {
            lives: lives
                .map(|request| Life { arrival: request.arrival_seconds, ..Life::default() })
                .collect(),
            devices: vec![DeviceCounts::default(); devices],
            weights: adapters.iter().map(|adapter| adapter.weight).collect(),
            served: vec![0.0; adapters.len()],
            window_served: vec![0.0; adapters.len()],
            window_waiting: BTreeSet::new(),
            window_end: window_seconds,
            window_seconds,
            window_indices: Vec::new(),
            rows: 0,
            adapters: 0,
            evictions: 0,
            migrations: 0,
            last_seconds: 0.0,
        }
    }

    /// Ends the windows that lie before `next`: until then nothing changes.
    pub fn advance(&mut self, cluster: &Cluster, next: f64) {
        if !(next >= self.window_end) {
            return;
        }
        let waiting: BTreeSet<u32> = cluster.waiting().iter().map(|job| job.adapter).collect();
        let contended: Vec<f64> = waiting
            .intersection(&self.window_waiting)
            .map(|&adapter| self.served[adapter as usize] - self.window_served[adapter as usize])
            .collect();
        if contended.len() >= 2 {
            self.window_indices.push(jain_index(&contended));
        }
        // Windows without an event are left out: nobody was served in them.
        let passed = ((next - self.window_end) / self.window_seconds).floor() + 1.0;
        self.window_end += passed * self.window_seconds;
        self.window_served.clone_from(&self.served);
        self.window_waiting = waiting;
    }

    /// A request got a token.
    pub fn token(&mut self, id: usize, served: Served, is_last: bool, now: f64) {
        let life = &mut self.lives[id];
        life.tokens += served.output_tokens;
        if life.tokens == served.output_tokens {
            life.first_token = now;
        }
        if is_last {
            life.end = now;
        }
        let price = served.prompt_tokens as f64 + OUTPUT_PRICE * served.output_tokens as f64;
        self.served[served.adapter as usize] += price / self.weights[served.adapter as usize];
        self.last_seconds = now;
    }

    /// Requests went back to the waiting ones.
    pub fn sent_back(&mut self, evicted: usize, migrated: usize) {
        self.evictions += evicted as u64;
        self.migrations += migrated as u64;
    }

    /// A step began.
    pub fn step(&mut self, device: usize, seconds: f64, step: &StepShape, members: usize) {
        self.devices[device].steps += 1;
        self.devices[device].busy_seconds += seconds;
        self.rows += members as u64;
        self.adapters += step.segments().len() as u64;
    }

    /// The report at the end.
    pub fn report(&self, policy: &str, cluster: &Cluster) -> Report {
        let seconds = self.last_seconds;
        let per_second = |count: f64| if count > 0.0 { count / seconds } else { 0.0 };
        let output_tokens: u64 = self.lives.iter().map(|life| life.tokens).sum();
        let times =
            |time: fn(&Life) -> Option<f64>| Percentiles::of(self.lives.iter().filter_map(time).collect());
        let steps: u64 = self.devices.iter().map(|device| device.steps).sum();
        let per_step = |count: u64| if steps > 0 { count as f64 / steps as f64 } else { 0.0 };
        let served: Vec<f64> = self.served.iter().copied().filter(|&served| served > 0.0).collect();
        let windows = self.window_indices.len();
        let contended =
            if windows > 0 { self.window_indices.iter().sum::<f64>() / windows as f64 } else { 1.0 };
        let devices: Vec<DeviceReport> = self
            .devices
            .iter()
            .zip(cluster.devices())
            .map(|(counts, state)| DeviceReport {
                steps: counts.steps,
                busy_share: if seconds > 0.0 { counts.busy_seconds / seconds } else { 0.0 },
                cache: state.cache.counts,
            })
            .collect();
        let cache = devices.iter().fold(CacheCounts::default(), |sum, device| sum + device.cache);
        Report {
            policy: policy.to_owned(),
            requests: self.lives.len(),
            output_tokens,
            seconds,
            tokens_per_second: per_second(output_tokens as f64),
            requests_per_second: per_second(self.lives.len() as f64),
            first_token_seconds: times(|life| Some(life.first_token - life.arrival)),
            per_token_seconds: times(|life| {
                (life.tokens > 1).then(|| (life.end - life.first_token) / (life.tokens - 1) as f64)
            }),
            end_to_end_seconds: times(|life| Some(life.end - life.arrival)),
            fairness: Fairness { total: jain_index(&served), contended, windows },
            cache,
            steps,
            mean_batch: per_step(self.rows),
            mean_adapters_per_step: per_step(self.adapters),
            evictions: self.evictions,
            migrations: self.migrations,
            devices,
        }
    }
}
