//! What a batch holds while it is in flight.

use std::sync::Arc;

#[cfg(feature = "gpu")]
use super::Bank;
use super::image::Image;
use super::params::Group;
use super::state::State;
use super::{Shared, backend, unknown};
use crate::device::Backend;
use crate::error::{Error, Result};

/// An adapter in place, as those who use it see it.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its number in the descriptors.
    pub number: u32,
    /// The name it was registered as.
    pub name: String,
    /// The registration.
    pub generation: u64,
    /// Ranks by group and module.
    pub ranks: Vec<Vec<u32>>,
    /// The largest magnitude of its scales.
    pub largest_scale: f32,
    /// The slab of each group.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "slabs are device memory"))]
    pub slabs: Vec<u32>,
    /// The weights, where the host uses them.
    pub image: Option<Arc<Image>>,
}

/// Adapters that stay resident, each in the generation that it had, until the lease is dropped. Clones share it.
///
/// Where a device was lost, what uses its leases answers with [`Error::DeviceLost`](crate::Error::DeviceLost).
#[derive(Debug, Clone)]
pub struct Lease {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    members: Vec<Arc<Member>>,
    #[cfg(feature = "gpu")]
    bank: Option<Arc<Bank>>,
    shared: Arc<Shared>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.members.clear();
        self.shared.lock().free_orphans();
    }
}

impl Lease {
    /// Leases `names`, loading what is missing.
    pub(super) fn new(shared: &Arc<Shared>, names: &[&str]) -> Result<Self> {
        shared.persist(|| Self::attempt(shared, names))
    }

    fn attempt(shared: &Arc<Shared>, names: &[&str]) -> Result<Self> {
        let mut state = shared.lock();
        // Nothing is claimed before this ends, so no two leases wait for each other.
        while state.is_any_loading(names)? {
            state = shared.wait(state);
        }
        let mut missing: Vec<&str> = Vec::new();
        let mut claims = Vec::new();
        // Dropped before the claims, which free what nobody has any more.
        let mut members: Vec<Option<Arc<Member>>> = Vec::with_capacity(names.len());
        for name in names {
            members.push(state.hold(name));
            if members.last().is_some_and(Option::is_none) && !missing.contains(name) {
                missing.push(name);
                claims.extend(shared.claim(&mut state, name));
            }
        }
        drop(state);
        if !missing.is_empty() {
            let loaded = shared.load(&claims)?;
            for (member, name) in members.iter_mut().zip(names) {
                if member.is_none() {
                    *member = loaded.iter().find(|member| member.name == *name).cloned();
                }
            }
        }
        let mut state = shared.lock();
        // The device may have been lost, and opened again by others, while this one loaded.
        if !members
            .iter()
            .all(|member| member.as_ref().is_some_and(|member| state.number_of(member).is_some()))
        {
            drop(state);
            return Err(shared.lost());
        }
        state.counted.misses += missing.len() as u64;
        state.counted.hits += (names.len() - missing.len()) as u64;
        Ok(Self::of(shared, &state, members))
    }

    /// Leases `names` if all are resident, else has them loaded.
    pub(super) fn try_new(shared: &Arc<Shared>, names: &[&str]) -> Result<Option<Self>> {
        let mut state = shared.lock();
        let mut missing = Vec::new();
        for name in names {
            let entry = state.entries.get_mut(*name).ok_or_else(|| unknown(name))?;
            if let Some(error) = entry.failure.take() {
                return Err(error);
            }
            let generation = entry.generation;
            if state.resident(generation).is_none() && !missing.contains(name) {
                missing.push(*name);
            }
        }
        // Used now, whatever comes: loading what is missing evicts others first.
        let members: Vec<Option<Arc<Member>>> = names.iter().map(|name| state.hold(name)).collect();
        if missing.is_empty() {
            state.counted.hits += names.len() as u64;
            return Ok(Some(Self::of(shared, &state, members)));
        }
        drop(state);
        drop(members);
        shared.prefetch(&missing);
        Ok(None)
    }

    fn of(shared: &Arc<Shared>, state: &State, members: Vec<Option<Arc<Member>>>) -> Self {
        #[cfg(not(feature = "gpu"))]
        let _ = state;
        let held = Held {
            members: members.into_iter().flatten().collect(),
            #[cfg(feature = "gpu")]
            bank: state.bank.clone(),
            shared: Arc::clone(shared),
        };
        Self { held: Arc::new(held) }
    }

    /// Whether this is a clone of `other`.
    #[cfg(feature = "gpu")]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held)
    }

    /// Number of adapters: slots of the routes are below it.
    pub fn slots(&self) -> usize {
        self.held.members.len()
    }

    /// The generation that slot `slot` holds, `None` beyond the last.
    pub fn generation(&self, slot: usize) -> Option<u64> {
        self.held.members.get(slot).map(|member| member.generation)
    }

    /// The groups of modules of the pool.
    pub fn groups(&self) -> &[Group] {
        &self.held.shared.params.groups
    }

    /// Group `group`, or the error that it is beyond the last.
    pub(crate) fn group(&self, group: usize) -> Result<&Group> {
        let rule = || Error::parameter("group", format!("0 to {}", self.groups().len() - 1), group);
        self.groups().get(group).ok_or_else(rule)
    }

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.held.members
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn bank(&self) -> Option<&Bank> {
        self.held.bank.as_deref()
    }

    /// The device's memory, which a lease of a pool on a GPU has.
    #[cfg(feature = "gpu")]
    pub(crate) fn bank_or_lost(&self) -> Result<&Bank> {
        self.bank().ok_or_else(|| self.held.shared.lost())
    }

    /// Bytes of one slab.
    #[cfg(feature = "gpu")]
    pub(crate) fn slab_bytes(&self, slab: u32) -> u64 {
        let layout = &self.held.shared.layout;
        u64::from(layout.slab_pages[slab as usize]) * layout.page_bytes()
    }

    pub(crate) fn backend(&self) -> Backend<'_> {
        let device = &self.held.shared.device;
        match backend(device) {
            // The GPU failed before, and the host has the weights.
            #[cfg(feature = "gpu")]
            Backend::Gpu(_) if self.bank().is_none() => device.processor(),
            backend => backend,
        }
    }
}
