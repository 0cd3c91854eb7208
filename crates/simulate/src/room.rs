//! Room for the adapters of waiting requests: copies ahead, and adapters that are let run out.

use std::collections::BTreeSet;

use super::cache::Residency;
use super::cluster::{Cluster, DeviceState, Job};

/// So many of the first waiting requests have their adapters copied ahead, or room made for them.
const LOOK_AHEAD: usize = 32;

impl Cluster {
    /// Picks, for the first request that waited too long for its adapter, adapters on each device that get no further
    /// requests, until they leave room for it: the one whose request has been there longest goes first, so that
    /// adapters take turns. They stay closed until that request is placed.
    pub(super) fn drain(&mut self) {
        let count = self.devices.len();
        let is_stuck = |job: &&Job| {
            let has_room = |device| self.residency(device, job.adapter) != Residency::NoRoom;
            self.is_impatient(job) && !(0..count).any(has_room)
        };
        let mut first = self.waiting.iter().take(LOOK_AHEAD);
        let Some(stuck) = first.find(is_stuck).map(|job| job.adapter) else {
            self.devices.iter_mut().for_each(|device| device.draining.clear());
            return;
        };
        let bytes = |adapter: u32| self.adapters[adapter as usize].bytes;
        for device in &mut self.devices {
            let present = device.adapters();
            device.draining.retain(|adapter| present.contains(adapter));
            let freed: u64 = device.draining.iter().map(|&adapter| bytes(adapter)).sum();
            let mut open = device.jobs.iter().map(|job| job.adapter);
            let longest = open.find(|&adapter| !device.draining.contains(&adapter) && bytes(adapter) > 0);
            if freed < bytes(stuck) {
                device.draining.extend(longest);
            }
        }
    }

    /// Copies adapters of the first waiting requests to devices that are not copying.
    pub(super) fn prefetch(&mut self) {
        let now = self.now_seconds;
        let mut wanted = BTreeSet::new();
        for job in self.waiting.iter().take(LOOK_AHEAD) {
            if !wanted.insert(job.adapter) {
                continue;
            }
            let (index, adapter) = (job.adapter, &self.adapters[job.adapter as usize]);
            let is_there = |device: &DeviceState| {
                let residency = device.cache.residency(index, adapter, now);
                matches!(residency, Residency::Resident | Residency::Loading)
            };
            if !self.devices.iter().any(is_there) {
                self.devices.iter_mut().any(|device| device.cache.prefetch(index, adapter, now, &wanted));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::made_up::{cluster, job, running};

    #[test]
    fn the_adapter_that_is_there_longest_is_closed_for_an_impatient_request() {
        let mut one = cluster(1, 8, 1000, 3);
        one.devices[0].cache = crate::cache::Cache::new(crate::CacheLimits {
            budget_bytes: 20,
            bytes_per_second: f64::INFINITY,
            latency_seconds: 0.0,
        });
        one.adapters.iter_mut().for_each(|adapter| adapter.bytes = 10);
        for (id, adapter) in [(0, 1), (1, 0), (2, 0)] {
            assert!(one.devices[0].cache.pin(adapter, &one.adapters[0], 0.0));
            one.devices[0].jobs.push(running(id, adapter, 10));
        }
        one.waiting = vec![job(3, 2, 10)];
        one.now_seconds = 3.5;
        one.drain();
        assert!(one.can_hold(0, 1), "the request waits half a second so far");
        one.now_seconds = 4.0;
        one.drain();
        assert!(!one.can_hold(0, 1) && one.can_hold(0, 0));
        one.drain();
        assert_eq!(one.devices[0].draining, BTreeSet::from([1]), "10 bytes are enough");
        one.devices[0].jobs.remove(0);
        one.devices[0].cache.unpin(1);
        one.drain();
        assert!(one.can_hold(0, 2) && one.devices[0].draining.is_empty());
    }
}
