//! What a policy sees: requests that wait, and devices with the requests they have.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::cache::{Cache, CacheLimits, Residency};
use super::request::ServedAdapter;

/// What one device can hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceLimits {
    /// Requests at once.
    pub batch: usize,
    /// Tokens in the key-value cache.
    pub kv_tokens: u64,
    /// The store of adapters.
    pub cache: CacheLimits,
}

impl Default for DeviceLimits {
    /// 32 requests, Punica's largest batch; 65,536 tokens, 34 GB of keys and values for Llama-2-7B in 16 bits.
    fn default() -> Self {
        Self { batch: 32, kv_tokens: 65_536, cache: CacheLimits::default() }
    }
}

/// A request as a policy sees it: how long it will go on is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// [`Request::id`](super::Request::id).
    pub id: usize,
    /// Index in the table of adapters.
    pub adapter: u32,
    /// Larger goes first.
    pub priority: i32,
    /// When it came.
    pub arrival_seconds: f64,
    /// Since when it waits: its arrival, or when it was last sent back.
    pub waiting_since: f64,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens it gave so far.
    pub generated_tokens: u64,
    /// Tokens it has in the device's key-value cache: 0 before its prefill.
    pub cached_tokens: u64,
    /// How often it was put on a device.
    pub placements: u32,
}

impl Job {
    /// Tokens that a prefill has to go through: the prompt and what was generated before the job was sent back.
    pub fn context_tokens(&self) -> u64 {
        self.prompt_tokens + self.generated_tokens
    }

    /// Whether its keys and values are on its device, so that it decodes.
    pub fn is_prefilled(&self) -> bool {
        self.cached_tokens > 0
    }

    /// First come, first served: larger priority, then earlier arrival, then smaller id.
    pub fn before(&self, other: &Self) -> Ordering {
        let arrival = self.arrival_seconds.total_cmp(&other.arrival_seconds);
        other.priority.cmp(&self.priority).then(arrival).then(self.id.cmp(&other.id))
    }
}

/// One device and the requests it has.
#[derive(Debug)]
pub struct DeviceState {
    pub(super) limits: DeviceLimits,
    pub(super) jobs: Vec<Job>,
    pub(super) cache: Cache,
    pub(super) is_busy: bool,
    /// Adapters that get no further requests, so that one that waits too long finds room.
    pub(super) draining: BTreeSet<u32>,
}

impl DeviceState {
    pub(super) fn new(limits: DeviceLimits) -> Self {
        let cache = Cache::new(limits.cache);
        Self { limits, jobs: Vec::new(), cache, is_busy: false, draining: BTreeSet::new() }
    }

    /// What it can hold.
    pub fn limits(&self) -> &DeviceLimits {
        &self.limits
    }

    /// Its requests, in the order in which they were put there.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Whether a step is under way; what is put on it then joins the next.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Key-value tokens of the requests that decode.
    pub fn cached_tokens(&self) -> u64 {
        self.jobs.iter().map(|job| job.cached_tokens).sum()
    }

    /// Key-value tokens after a prefill of all its requests, and one more token for each.
    pub fn promised_tokens(&self) -> u64 {
        self.jobs.iter().map(|job| job.cached_tokens.max(job.context_tokens()) + 1).sum()
    }

    /// Whether one more request fits: below the largest batch, and its tokens beside those promised.
    pub fn has_room(&self, job: &Job) -> bool {
        let tokens = self.promised_tokens() + job.context_tokens() + 1;
        self.jobs.len() < self.limits.batch && tokens <= self.limits.kv_tokens
    }

    /// Adapters of its requests.
    pub fn adapters(&self) -> BTreeSet<u32> {
        self.jobs.iter().map(|job| job.adapter).collect()
    }
}

/// All that a policy knows.
#[derive(Debug)]
pub struct Cluster {
    pub(super) now_seconds: f64,
    pub(super) patience_seconds: f64,
    pub(super) adapters: Vec<ServedAdapter>,
    /// In the order of [`Job::before`].
    pub(super) waiting: Vec<Job>,
    pub(super) devices: Vec<DeviceState>,
}

impl Cluster {
    /// Virtual time.
    pub fn now_seconds(&self) -> f64 {
        self.now_seconds
    }

    /// After so long others may not overtake a waiting request any more.
    pub fn patience_seconds(&self) -> f64 {
        self.patience_seconds
    }

    /// The table of adapters.
    pub fn adapters(&self) -> &[ServedAdapter] {
        &self.adapters
    }

    /// Requests on no device: larger priority, then earlier arrival first.
    pub fn waiting(&self) -> &[Job] {
        &self.waiting
    }

    /// The devices.
    pub fn devices(&self) -> &[DeviceState] {
        &self.devices
    }

    /// Rank of an adapter.
    pub fn rank(&self, adapter: u32) -> u32 {
        self.adapters[adapter as usize].rank
    }

    /// Whether the adapter is on a device or can go there now.
    pub fn can_hold(&self, device: usize, adapter: u32) -> bool {
        let state = &self.devices[device];
        !state.draining.contains(&adapter) && self.residency(device, adapter) != Residency::NoRoom
    }

    /// Where the adapter is, seen from a device.
    pub fn residency(&self, device: usize, adapter: u32) -> Residency {
        let served = &self.adapters[adapter as usize];
        self.devices[device].cache.residency(adapter, served, self.now_seconds)
    }

    /// Whether a request has waited so long that none may overtake it.
    pub fn is_impatient(&self, job: &Job) -> bool {
        self.now_seconds >= job.waiting_since + self.patience_seconds
    }

    /// Puts a job among those that wait, in their order.
    pub(super) fn wait(&mut self, mut job: Job) {
        job.cached_tokens = 0;
        job.waiting_since = self.now_seconds;
        let place = self.waiting.partition_point(|other| other.before(&job) == Ordering::Less);
        self.waiting.insert(place, job);
    }
}

#[cfg(test)]
pub(super) mod made_up {
    //! Small clusters for the tests of policies.

    use super::*;

    /// Idle devices with `batch` and `kv_tokens`, `adapters` of rank 8, and no request.
    pub fn cluster(devices: usize, batch: usize, kv_tokens: u64, adapters: usize) -> Cluster {
        let limits = DeviceLimits { batch, kv_tokens, ..DeviceLimits::default() };
        Cluster {
            now_seconds: 0.0,
            patience_seconds: 1.0,
            adapters: vec![ServedAdapter { rank: 8, bytes: 0, weight: 1.0 }; adapters],
            waiting: Vec::new(),
            devices: (0..devices).map(|_| DeviceState::new(limits)).collect(),
        }
    }

    /// A request of `prompt_tokens` that came `id` seconds after the begin.
    pub fn job(id: usize, adapter: u32, prompt_tokens: u64) -> Job {
        Job {
            id,
            adapter,
            priority: 0,
            arrival_seconds: id as f64,
            waiting_since: id as f64,
            prompt_tokens,
            generated_tokens: 0,
            cached_tokens: 0,
            placements: 0,
        }
    }

    /// The same after its prefill.
    pub fn running(id: usize, adapter: u32, prompt_tokens: u64) -> Job {
        let cached_tokens = prompt_tokens;
        Job { cached_tokens, generated_tokens: 1, placements: 1, ..job(id, adapter, prompt_tokens) }
    }
}
