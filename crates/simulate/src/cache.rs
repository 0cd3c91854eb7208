//! A model of the adapters on one device: a byte budget, least recently used out first, copies beside the work.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;

use super::request::ServedAdapter;
use crate::error::{Error, Result};

/// Size and speed of a device's store of adapters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CacheLimits {
    /// Bytes for adapters.
    pub budget_bytes: u64,
    /// Bytes per second of a copy from the host.
    pub bytes_per_second: f64,
    /// Seconds before the first byte of a copy.
    pub latency_seconds: f64,
}

impl Default for CacheLimits {
    /// 8 GiB, filled over PCIe 4 x16 at 27 GB/s after 50 microseconds: an adapter of rank 16 for Llama-2-7B takes 3 ms,
    /// where Punica's authors report about 2 ms.
    fn default() -> Self {
        Self { budget_bytes: 8 << 30, bytes_per_second: 27e9, latency_seconds: 50e-6 }
    }
}

impl CacheLimits {
    /// Seconds of one copy.
    pub fn load_seconds(&self, bytes: u64) -> f64 {
        self.latency_seconds + bytes as f64 / self.bytes_per_second
    }

    pub(super) fn check(&self) -> Result<()> {
        if !(self.bytes_per_second > 0.0) {
            return Err(Error::parameter("bytes_per_second", "a positive number", self.bytes_per_second));
        }
        if !(self.latency_seconds >= 0.0 && self.latency_seconds.is_finite()) {
            let rule = "a finite number that is not negative";
            return Err(Error::parameter("latency_seconds", rule, self.latency_seconds));
        }
        Ok(())
    }
}

/// Where an adapter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residency {
    /// On the device.
    Resident,
    /// Being copied.
    Loading,
    /// Not on the device, but there is or can be made room for it.
    Loadable,
    /// Not on the device, and all else there is in use.
    NoRoom,
}

/// What happened in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CacheCounts {
    /// Placements that found the adapter on the device.
    pub hits: u64,
    /// Placements that did not: the request waited for the copy, or for the rest of it.
    pub misses: u64,
    /// Copies, with those made ahead.
    pub loads: u64,
    /// Copies made ahead for waiting requests.
    pub prefetches: u64,
    /// Adapters that had to go.
    pub evictions: u64,
    /// Bytes copied.
    pub bytes: u64,
    /// Seconds of all copies.
    pub load_seconds: f64,
}

impl Add for CacheCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            loads: self.loads + other.loads,
            prefetches: self.prefetches + other.prefetches,
            evictions: self.evictions + other.evictions,
            bytes: self.bytes + other.bytes,
            load_seconds: self.load_seconds + other.load_seconds,
        }
    }
}

#[derive(Debug)]
struct Entry {
    bytes: u64,
    ready_seconds: f64,
    /// Requests in flight.
    pins: u32,
    last_use: u64,
}

/// The adapters on one device. An adapter that is pinned, or still being copied, stays.
#[derive(Debug)]
pub(super) struct Cache {
    limits: CacheLimits,
    entries: BTreeMap<u32, Entry>,
    used_bytes: u64,
    copies_end_seconds: f64,
    clock: u64,
    pub counts: CacheCounts,
}

impl Cache {
    pub fn new(limits: CacheLimits) -> Self {
        let (entries, counts) = (BTreeMap::new(), CacheCounts::default());
        Self { limits, entries, used_bytes: 0, copies_end_seconds: 0.0, clock: 0, counts }
    }

    /// Where the adapter is at `now`. The base model needs no copy.
    pub fn residency(&self, index: u32, adapter: &ServedAdapter, now: f64) -> Residency {
        if adapter.bytes == 0 {
            return Residency::Resident;
        }
        match self.entries.get(&index) {
            Some(entry) if entry.ready_seconds <= now => Residency::Resident,
            Some(_) => Residency::Loading,
            None if self.used_bytes - self.idle_bytes(now) + adapter.bytes <= self.limits.budget_bytes => {
                Residency::Loadable
            }
            None => Residency::NoRoom,
        }
    }

    /// Bytes of adapters that may go.
    fn idle_bytes(&self, now: f64) -> u64 {
        let idle = self.entries.values().filter(|entry| entry.pins == 0 && entry.ready_seconds <= now);
        idle.map(|entry| entry.bytes).sum()
    }

    /// Keeps the adapter for a request until [`unpin`](Self::unpin), and copies it if need be. False where there is
    /// no room: nothing changed then.
    pub fn pin(&mut self, index: u32, adapter: &ServedAdapter, now: f64) -> bool {
        let residency = self.residency(index, adapter, now);
        match residency {
            Residency::NoRoom => return false,
            Residency::Resident => self.counts.hits += 1,
            Residency::Loading | Residency::Loadable => self.counts.misses += 1,
        }
        if residency == Residency::Loadable {
            self.load(index, adapter, now, &BTreeSet::new());
        }
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(&index) {
            entry.pins += 1;
            entry.last_use = self.clock;
        }
        true
    }

    /// Ends a request's hold on its adapter.
    pub fn unpin(&mut self, index: u32) {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(&index) {
            entry.pins = entry.pins.saturating_sub(1);
            entry.last_use = self.clock;
        }
    }

    /// Copies an adapter ahead if no copy is under way and there is room without those that are `wanted`.
    pub fn prefetch(
        &mut self,
        index: u32,
        adapter: &ServedAdapter,
        now: f64,
        wanted: &BTreeSet<u32>,
    ) -> bool {
        let is_free = self.copies_end_seconds <= now;
        let is_loaded = is_free
            && self.residency(index, adapter, now) == Residency::Loadable
            && self.load(index, adapter, now, wanted);
        self.counts.prefetches += u64::from(is_loaded);
        is_loaded
    }

    /// Begins a copy, after those under way, and returns whether there was room.
    fn load(&mut self, index: u32, adapter: &ServedAdapter, now: f64, kept: &BTreeSet<u32>) -> bool {
        let may_go = |cache: &Self| -> Vec<(u64, u32, u64)> {
            let idle = |(index, entry): (&u32, &Entry)| {
                let may_go = entry.pins == 0 && entry.ready_seconds <= now && !kept.contains(index);
                may_go.then_some((entry.last_use, *index, entry.bytes))
            };
            cache.entries.iter().filter_map(idle).collect()
        };
        let mut candidates = may_go(self);
        let idle_bytes: u64 = candidates.iter().map(|candidate| candidate.2).sum();
        if self.used_bytes - idle_bytes + adapter.bytes > self.limits.budget_bytes {
            return false;
        }
        candidates.sort_unstable();
        for (_, oldest, bytes) in candidates {
            if self.used_bytes + adapter.bytes <= self.limits.budget_bytes {
                break;
            }
            self.entries.remove(&oldest);
            self.used_bytes -= bytes;
            self.counts.evictions += 1;
        }
        let seconds = self.limits.load_seconds(adapter.bytes);
        self.copies_end_seconds = self.copies_end_seconds.max(now) + seconds;
        self.clock += 1;
        let (ready_seconds, last_use) = (self.copies_end_seconds, self.clock);
        self.entries.insert(index, Entry { bytes: adapter.bytes, ready_seconds, pins: 0, last_use });
        self.used_bytes += adapter.bytes;
        self.counts.loads += 1;
        self.counts.bytes += adapter.bytes;
        self.counts.load_seconds += seconds;
        true
    }

    /// The next end of a copy after `now`.
    pub fn next_end(&self, now: f64) -> Option<f64> {
        let ends = self.entries.values().map(|entry| entry.ready_seconds).filter(|&end| end > now);
        ends.min_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adapters of 10 bytes, a budget of 20, one second a copy.
    fn cache() -> (Cache, ServedAdapter) {
        let limits = CacheLimits { budget_bytes: 20, bytes_per_second: 10.0, latency_seconds: 0.0 };
        (Cache::new(limits), ServedAdapter { rank: 1, bytes: 10, weight: 1.0 })
    }

    #[test]
    fn the_least_recently_used_goes_and_pinned_ones_stay() {
        let (mut cache, adapter) = cache();
        assert!(cache.pin(0, &adapter, 0.0) && cache.pin(1, &adapter, 0.0));
        assert_eq!(cache.residency(1, &adapter, 1.5), Residency::Loading);
        assert_eq!(cache.next_end(0.0), Some(1.0));
        assert_eq!(cache.residency(2, &adapter, 5.0), Residency::NoRoom);
        assert!(!cache.pin(2, &adapter, 5.0));
        cache.unpin(1);
        cache.unpin(0);
        assert!(cache.pin(1, &adapter, 5.0));
        cache.unpin(1);
        assert!(cache.pin(2, &adapter, 5.0));
        assert_eq!(cache.residency(0, &adapter, 6.0), Residency::Loadable, "0 was used before 1");
        assert_eq!(cache.residency(1, &adapter, 6.0), Residency::Resident);
        let counts = cache.counts;
        assert_eq!((counts.hits, counts.misses, counts.loads, counts.evictions), (1, 3, 3, 1));
        assert_eq!((counts.bytes, counts.load_seconds), (30, 3.0));
    }

    #[test]
    fn prefetch_takes_no_room_from_what_waits_and_one_copy_at_a_time() {
        let (mut cache, adapter) = cache();
        let wanted = BTreeSet::from([0, 1, 2]);
        assert!(cache.prefetch(0, &adapter, 0.0, &wanted));
        assert!(!cache.prefetch(1, &adapter, 0.5, &wanted), "a copy is under way");
        assert!(cache.prefetch(1, &adapter, 1.0, &wanted));
        assert!(!cache.prefetch(2, &adapter, 3.0, &wanted), "both are wanted");
        assert!(cache.prefetch(2, &adapter, 3.0, &BTreeSet::from([1, 2])));
        assert_eq!(cache.residency(0, &adapter, 9.0), Residency::Loadable);
        assert_eq!((cache.counts.prefetches, cache.counts.evictions), (3, 1));
    }

    #[test]
    fn the_base_model_is_always_there() {
        let (mut cache, _) = cache();
        let base = ServedAdapter { rank: 0, bytes: 0, weight: 1.0 };
        assert!(cache.pin(7, &base, 0.0));
        assert_eq!((cache.residency(7, &base, 0.0), cache.counts.loads), (Residency::Resident, 0));
    }
}
