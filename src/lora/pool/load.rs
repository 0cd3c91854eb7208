//! Bringing an adapter from where it comes from to where batches use it: read, made ready, placed, sent.

use std::sync::Arc;
use std::time::Instant;

use super::image::Image;
use super::lease::Member;
use super::space::Place;
use super::state::{Resident, State};
use super::{Shared, unknown};
use crate::error::{Error, Result};
use crate::lora::factors::Adapter;

/// A number for an adapter, and where its groups go.
struct Placed {
    number: usize,
    places: Vec<Place>,
}

/// Whether a thread works on the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    Idle,
    Working,
}

impl Shared {
    /// Checks `adapter` and makes it ready.
    pub(super) fn image(&self, name: &str, adapter: &Adapter) -> Result<Image> {
        let image = Image::new(adapter, &self.params, &self.layout)?;
        let total: u64 = self.layout.slab_pages.iter().map(|pages| u64::from(*pages)).sum();
        if image.pages() > total {
            return Err(self.too_large(name, &image, total));
        }
        Ok(image)
    }

    fn too_large(&self, name: &str, image: &Image, limit_pages: u64) -> Error {
        let page_bytes = self.layout.page_bytes();
        Error::TooLarge {
            what: format!("adapter {:?} in the pool", name.chars().take(80).collect::<String>()),
            needed_bytes: image.pages() * page_bytes,
            limit_bytes: limit_pages * page_bytes,
        }
    }

    /// Makes `name` resident, unless somebody else has done so or does so: then `Ok(false)` says to look again.
    pub(super) fn load(&self, name: &str) -> Result<bool> {
        let (source, generation) = {
            let mut state = self.lock();
            let entry = state.entries.get_mut(name).ok_or_else(|| unknown(name))?;
            if entry.is_loading {
                return Ok(false);
            }
            let generation = entry.generation;
            if state.resident(generation).is_some() {
                return Ok(true);
            }
            let entry = state.entries.get_mut(name).ok_or_else(|| unknown(name))?;
            entry.is_loading = true;
            (Arc::clone(&entry.source), generation)
        };
        let begin = Instant::now();
        let outcome = source()
            .and_then(|adapter| self.image(name, &adapter))
            .and_then(|image| self.put(name, generation, image));
        let mut state = self.lock();
        state.counted.load_seconds += begin.elapsed().as_secs_f64();
        if let Some(entry) = state.entries.get_mut(name).filter(|entry| entry.generation == generation) {
            entry.is_loading = false;
        }
        state.free_orphans();
        drop(state);
        self.loaded.notify_all();
        outcome.map(|()| true)
    }

    /// Places `image` and sends it.
    fn put(&self, name: &str, generation: u64, image: Image) -> Result<()> {
        let mut state = self.lock();
        let shards = image.shards();
        #[cfg(feature = "gpu")]
        let fresh: Vec<_> = shards
            .iter()
            .filter(|s| !state.space.shared.contains_key(&(Arc::as_ptr(s) as usize)))
            .cloned()
            .collect();
        let Placed { number, places } = self.place(&mut state, name, &image)?;
        let ranks = image.ranks();
        #[cfg(feature = "gpu")]
        let bank = state.bank.clone();
        #[cfg(feature = "gpu")]
        let is_host = bank.is_none();
        #[cfg(not(feature = "gpu"))]
        let is_host = true;
        #[cfg(feature = "gpu")]
        let space = state.space.clone();
        let image = Arc::new(image);
        let member = Member {
            number: number as u32,
            name: name.to_owned(),
            generation,
            ranks,
            slabs: places.iter().map(|place| place.slab).collect(),
            image: is_host.then(|| Arc::clone(&image)),
        };
        state.clock += 1;
        let last_used = state.clock;
        #[cfg(feature = "gpu")]
        let sent_places = places.clone();
        state.residents[number] =
            Some(Resident { member: Arc::new(member), places, shards, last_used, is_ready: false });
        // Batches go on while the weights are sent: nobody else looks at these pages yet.
        drop(state);
        #[cfg(feature = "gpu")]
        let sent = match &bank {
            Some(bank) => bank.upload(number as u32, &image, &sent_places, &space, &fresh),
            None => Ok(image.pages() * self.layout.page_bytes()),
        };
        #[cfg(not(feature = "gpu"))]
        let sent: Result<u64> = Ok(image.pages() * self.layout.page_bytes());
        let mut state = self.lock();
        match sent {
            Ok(bytes) => {
                state.counted.loads += 1;
                state.counted.loaded_bytes += bytes;
                if let Some(resident) = state.residents[number].as_mut() {
                    resident.is_ready = true;
                }
                Ok(())
            }
            Err(error) => {
                state.remove(number);
                Err(error)
            }
        }
    }

    /// Finds a number and pages for `image`, evicting what it must: tried out first, done only if it leads to a place.
    fn place(&self, state: &mut State, name: &str, image: &Image) -> Result<Placed> {
        let mut space = state.space.clone();
        let victims = state.victims();
        let mut evicted = 0;
        let has_room = state.residents.len() < self.layout.most_resident as usize;
        let next = has_room.then_some(state.residents.len());
        let free_number = state.residents.iter().position(Option::is_none).or(next);
        let placed = loop {
            let number = free_number.or_else(|| victims[..evicted].first().copied());
            if let Some(number) = number
                && let Some(places) = space.place(&image.needs)
            {
                break Placed { number, places };
            }
            let Some(victim) = victims.get(evicted) else {
                return Err(self.too_large(name, image, space.free_pages()));
            };
            evicted += 1;
            if let Some(resident) = &state.residents[*victim] {
                space.free(&resident.places);
            }
        };
        for victim in &victims[..evicted] {
            state.remove(*victim);
            state.counted.evictions += 1;
        }
        state.space = space;
        if placed.number == state.residents.len() {
            state.residents.push(None);
        }
        Ok(placed)
    }

    /// Queues `names` for the thread that loads, and starts it where there is none.
    pub(super) fn prefetch(self: &Arc<Self>, names: &[&str]) {
        let mut state = self.lock();
        for name in names {
            let is_needed = state
                .entries
                .get(*name)
                .is_some_and(|entry| !entry.is_loading && state.resident(entry.generation).is_none());
            if is_needed && !state.queue.iter().any(|queued| queued == name) {
                state.queue.push_back((*name).to_owned());
            }
        }
        if state.queue.is_empty() || state.loader == Loader::Working {
            return;
        }
        state.loader = Loader::Working;
        drop(state);
        let shared = Arc::clone(self);
        let started = std::thread::Builder::new().name("tilefold-loader".into()).spawn(move || shared.work());
        if let Err(error) = started {
            // Leases load by themselves what is not there.
            tracing::warn!(%error, "no thread to load adapters in the background");
            self.lock().loader = Loader::Idle;
        }
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let Some(name) = state.queue.pop_front() else {
                state.loader = Loader::Idle;
                return;
            };
            drop(state);
            if let Err(error) = self.load(&name) {
                tracing::warn!(%error, name, "an adapter could not be loaded in the background");
                if let Some(entry) = self.lock().entries.get_mut(&name) {
                    entry.failure = Some(error.to_string());
                }
            }
        }
    }
}
