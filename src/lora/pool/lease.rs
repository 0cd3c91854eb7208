//! What a batch holds while it is in flight.

use std::sync::{Arc, PoisonError};

#[cfg(feature = "gpu")]
use super::Bank;
use super::image::Image;
use super::params::Group;
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
    /// The slab of each group.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "slabs are device memory"))]
    pub slabs: Vec<u32>,
    /// The weights, where the host uses them.
    pub image: Option<Arc<Image>>,
}

/// Adapters that stay resident, each in the generation that it had, until the lease is dropped. Clones share it.
///
/// Where work is recorded into an encoder of the caller's, the lease has to live until that was submitted.
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
        // Somebody may wait for room.
        self.shared.loaded.notify_all();
    }
}

impl Lease {
    /// Leases `names`, loading what is missing.
    pub(super) fn new(shared: &Arc<Shared>, names: &[&str]) -> Result<Self> {
        let mut members: Vec<Option<Arc<Member>>> = vec![None; names.len()];
        let mut was_missing = vec![false; names.len()];
        for (slot, name) in names.iter().enumerate() {
            members[slot] = take(shared, name)?;
            was_missing[slot] = members[slot].is_none();
        }
        for (slot, name) in names.iter().enumerate() {
            while members[slot].is_none() {
                if !shared.load(name)? {
                    wait(shared, name)?;
                }
                members[slot] = take(shared, name)?;
            }
        }
        let mut state = shared.lock();
        let missing = was_missing.iter().filter(|is_missing| **is_missing).count() as u64;
        state.counted.misses += missing;
        state.counted.hits += names.len() as u64 - missing;
        #[cfg(feature = "gpu")]
        let bank = state.bank.clone();
        drop(state);
        let held = Held {
            members: members.into_iter().flatten().collect(),
            #[cfg(feature = "gpu")]
            bank,
            shared: Arc::clone(shared),
        };
        Ok(Self { held: Arc::new(held) })
    }

    /// Leases `names` if all are resident, else has them loaded.
    pub(super) fn try_new(shared: &Arc<Shared>, names: &[&str]) -> Result<Option<Self>> {
        let mut missing = Vec::new();
        {
            let mut state = shared.lock();
            for name in names {
                let entry = state.entries.get_mut(*name).ok_or_else(|| unknown(name))?;
                if let Some(reason) = entry.failure.take() {
                    return Err(Error::parameter(
                        "name",
                        format!("an adapter that loads ({name:?})"),
                        reason,
                    ));
                }
                let generation = entry.generation;
                if state.resident(generation).is_none() {
                    missing.push(*name);
                }
            }
        }
        if missing.is_empty() {
            return Self::new(shared, names).map(Some);
        }
        shared.prefetch(&missing);
        Ok(None)
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

    pub(crate) fn members(&self) -> &[Arc<Member>] {
        &self.held.members
    }

    #[cfg(feature = "gpu")]
    pub(crate) fn bank(&self) -> Option<&Bank> {
        self.held.bank.as_deref()
    }

    /// Bytes of one slab.
    #[cfg(feature = "gpu")]
    pub(crate) fn slab_bytes(&self, slab: u32) -> u64 {
        let layout = &self.held.shared.layout;
        u64::from(layout.slab_pages[slab as usize]) * layout.page_bytes()
    }

    pub(crate) fn backend(&self) -> Backend<'_> {
        backend(&self.held.shared.device)
    }
}

/// What a lease holds of `name`, if it is resident.
fn take(shared: &Shared, name: &str) -> Result<Option<Arc<Member>>> {
    let mut state = shared.lock();
    let generation = state.entries.get(name).ok_or_else(|| unknown(name))?.generation;
    Ok(state.resident(generation).and_then(|number| state.touch(number)))
}

/// Waits until nobody loads `name`.
fn wait(shared: &Shared, name: &str) -> Result<()> {
    let mut state = shared.lock();
    while state.entries.get(name).ok_or_else(|| unknown(name))?.is_loading {
        state = shared.loaded.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    Ok(())
}
