//! What a pool knows: who is registered, who is resident, and since when.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

#[cfg(feature = "gpu")]
use super::Bank;
use super::layout::Layout;
use super::lease::Member;
use super::space::{Place, Space};
use super::{Source, load::Loader, unknown};
use crate::error::{Error, Result};
use crate::lora::factors::Shards;

/// A registered name.
pub(super) struct Entry {
    /// Which registration this is.
    pub generation: u64,
    /// Where the adapter comes from.
    pub source: Source,
    /// Why the last load in the background failed; told once.
    pub failure: Option<Error>,
    /// Whether somebody loads it now.
    pub is_loading: bool,
    /// Whether it stays resident.
    pub is_pinned: bool,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// An adapter in place.
#[derive(Debug)]
pub(super) struct Resident {
    /// What leases hold: it may be evicted while only this reference is left.
    pub member: Arc<Member>,
    /// Where its groups lie.
    pub places: Vec<Place>,
    /// Its shards: their address is their key, so they must not go before their pages do.
    pub shards: Vec<Arc<Shards>>,
    /// When it was last leased.
    pub last_used: u64,
    /// Whether its weights have arrived.
    pub is_ready: bool,
}

/// What happened in a pool so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Names that are known.
    pub registered: usize,
    /// Adapters in device memory.
    pub resident: usize,
    /// Bytes of all pages.
    pub budget_bytes: u64,
    /// Bytes of pages in use.
    pub resident_bytes: u64,
    /// Leased adapters that were resident.
    pub hits: u64,
    /// Leased adapters that were not.
    pub misses: u64,
    /// Adapters put in place, prefetched ones included.
    pub loads: u64,
    /// Adapters removed to make room.
    pub evictions: u64,
    /// Bytes sent to the device.
    pub loaded_bytes: u64,
    /// Seconds spent reading, preparing and sending adapters.
    pub load_seconds: f64,
}

/// All that changes in a pool.
#[derive(Debug)]
pub(super) struct State {
    pub entries: HashMap<String, Entry>,
    pub residents: Vec<Option<Resident>>,
    pub space: Space,
    #[cfg(feature = "gpu")]
    pub bank: Option<Arc<Bank>>,
    /// Whether the host has the weights because the GPU failed for good.
    #[cfg(feature = "gpu")]
    pub fell_back: bool,
    pub generations: u64,
    pub clock: u64,
    pub counted: PoolStats,
    /// What is to be loaded in the background, and who does it.
    pub queue: VecDeque<String>,
    pub loader: Loader,
}

impl State {
    pub fn new(layout: &Layout) -> Self {
        Self {
            entries: HashMap::new(),
            residents: Vec::new(),
            space: Space::new(&layout.slab_pages, layout.entries),
            #[cfg(feature = "gpu")]
            bank: None,
            #[cfg(feature = "gpu")]
            fell_back: false,
            generations: 0,
            clock: 0,
            counted: PoolStats::default(),
            queue: VecDeque::new(),
            loader: Loader::Idle,
        }
    }

    /// Where generation `generation` is resident.
    pub fn resident(&self, generation: u64) -> Option<usize> {
        let is_it = |resident: &Resident| resident.is_ready && resident.member.generation == generation;
        self.residents.iter().position(|resident| resident.as_ref().is_some_and(is_it))
    }

    /// What a lease holds of `name` if it is resident; it is marked as used now.
    pub fn hold(&mut self, name: &str) -> Option<Arc<Member>> {
        let number = self.resident(self.entries.get(name)?.generation)?;
        self.clock += 1;
        let clock = self.clock;
        let resident = self.residents[number].as_mut()?;
        resident.last_used = clock;
        Some(Arc::clone(&resident.member))
    }

    /// The entry of `name` if it still is registration `generation`.
    pub fn present(&mut self, name: &str, generation: u64) -> Option<&mut Entry> {
        self.entries.get_mut(name).filter(|entry| entry.generation == generation)
    }

    /// Whether somebody loads one of `names`; all have to be known.
    pub fn is_any_loading(&self, names: &[&str]) -> Result<bool> {
        let mut is_any = false;
        for name in names {
            is_any |= self.entries.get(*name).ok_or_else(|| unknown(name))?.is_loading;
        }
        Ok(is_any)
    }

    /// Whether weights are being sent.
    pub fn is_any_arriving(&self) -> bool {
        self.residents.iter().flatten().any(|resident| !resident.is_ready)
    }

    /// The number of `member`, unless it was forgotten.
    pub fn number_of(&self, member: &Arc<Member>) -> Option<usize> {
        let number = member.number as usize;
        let resident = self.residents.get(number)?.as_ref()?;
        Arc::ptr_eq(&resident.member, member).then_some(number)
    }

    /// The weights of resident `number` are there.
    pub fn arrive(&mut self, number: usize) {
        if let Some(resident) = self.residents[number].as_mut() {
            resident.is_ready = true;
            resident.shards.iter().for_each(|shards| self.space.mark_sent(shards));
        }
    }

    /// Forgets what a lost device held.
    #[cfg(feature = "gpu")]
    pub fn forget_lost(&mut self, layout: &Layout) {
        if self.bank.as_ref().is_some_and(|bank| bank.is_lost()) {
            self.forget(layout);
        }
    }

    /// Leaves the GPU: from now on the host has the weights.
    #[cfg(feature = "gpu")]
    pub fn fall_back(&mut self, layout: &Layout) {
        if !self.fell_back {
            self.fell_back = true;
            self.forget(layout);
        }
    }

    #[cfg(feature = "gpu")]
    fn forget(&mut self, layout: &Layout) {
        self.bank = None;
        self.residents.clear();
        self.space = Space::new(&layout.slab_pages, layout.entries);
    }

    /// Whether resident `number` may be removed: no lease has it, it has arrived, and it is not pinned.
    fn is_free(&self, number: usize) -> bool {
        let Some(resident) = &self.residents[number] else { return false };
        let is_pinned = self
            .entries
            .get(&resident.member.name)
            .is_some_and(|entry| entry.is_pinned && entry.generation == resident.member.generation);
        resident.is_ready && !is_pinned && Arc::strong_count(&resident.member) == 1
    }

    /// Those that may be removed, longest unused first; what no name leads to comes before all others.
    pub fn victims(&self) -> Vec<usize> {
        let mut free: Vec<usize> = (0..self.residents.len()).filter(|number| self.is_free(*number)).collect();
        free.sort_by_cached_key(|number| {
            self.residents[*number]
                .as_ref()
                .map_or((true, 0), |resident| (!self.is_orphan(resident), resident.last_used))
        });
        free
    }

    fn is_orphan(&self, resident: &Resident) -> bool {
        let entry = self.entries.get(&resident.member.name);
        entry.is_none_or(|entry| entry.generation != resident.member.generation)
    }

    /// Removes resident `number`.
    pub fn remove(&mut self, number: usize) {
        if let Some(resident) = self.residents[number].take() {
            self.space.free(&resident.places);
        }
    }

    /// Removes what no name leads to and no lease has.
    pub fn free_orphans(&mut self) {
        for number in 0..self.residents.len() {
            let is_orphan = self.residents[number].as_ref().is_some_and(|resident| self.is_orphan(resident));
            if is_orphan && self.is_free(number) {
                self.remove(number);
            }
        }
    }

    /// Removes a generation unless a lease has it or is about to; says whether it is out.
    pub fn unload(&mut self, generation: u64) -> bool {
        let is_it = |resident: &Resident| resident.member.generation == generation;
        let Some(number) = self.residents.iter().position(|resident| resident.as_ref().is_some_and(is_it))
        else {
            return true;
        };
        let is_held = self.residents[number]
            .as_ref()
            .is_some_and(|resident| !resident.is_ready || Arc::strong_count(&resident.member) > 1);
        if !is_held {
            self.remove(number);
        }
        !is_held
    }

    pub fn stats(&self, layout: &Layout) -> PoolStats {
        let total: u64 = layout.slab_pages.iter().map(|pages| u64::from(*pages)).sum();
        PoolStats {
            registered: self.entries.len(),
            resident: self.residents.iter().flatten().filter(|resident| resident.is_ready).count(),
            budget_bytes: total * layout.page_bytes(),
            resident_bytes: (total - self.space.free_pages()) * layout.page_bytes(),
            ..self.counted
        }
    }
}
