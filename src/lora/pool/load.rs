//! Bringing adapters from where they come from to where batches use them: read, made ready, placed, sent. What one
//! lease misses is loaded together: all of it or nothing.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

#[cfg(feature = "gpu")]
use super::Bank;
use super::image::Image;
use super::lease::Member;
use super::space::{Place, Space};
use super::state::{Resident, State};
use super::{Shared, Source};
use crate::error::{Error, Result};
use crate::lora::factors::{Adapter, Shards};

/// Whether a thread works on the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loader {
    Idle,
    Working,
}

/// The duty to load a registration; others who want it wait. However loading ends, dropping this lets them go on. It
/// takes the lock.
pub(super) struct Claim<'s> {
    shared: &'s Shared,
    name: String,
    generation: u64,
    source: Source,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(entry) = state.present(&self.name, self.generation) {
            entry.is_loading = false;
        }
        state.free_orphans();
        drop(state);
        self.shared.loaded.notify_all();
    }
}

/// Adapters on their way to the device.
struct Sending {
    image: Arc<Image>,
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "the host has nothing to send"))]
    places: Vec<Place>,
    member: Arc<Member>,
    /// The shards that nobody has sent yet.
    #[cfg_attr(not(feature = "gpu"), expect(dead_code, reason = "the host has nothing to send"))]
    fresh: Vec<Arc<Shards>>,
}

impl Shared {
    /// Checks `adapter`, alone in an empty pool, and makes it ready.
    pub(super) fn image(&self, name: &str, adapter: &Adapter) -> Result<Image> {
        let image = Image::new(adapter, &self.params, &self.layout)?;
        let mut empty = Space::new(&self.layout.slab_pages, self.layout.entries);
        if empty.place(&image.needs).is_none() {
            return Err(self.too_large(&[name], &[&image], &empty));
        }
        Ok(image)
    }

    /// Why `images` find no place in `space`.
    fn too_large(&self, names: &[&str], images: &[&Image], space: &Space) -> Error {
        let page_bytes = self.layout.page_bytes();
        let name: String = names[0].chars().take(80).collect();
        let (mut what, shortage) = match names.len() {
            1 => (format!("adapter {name:?} in the pool"), space.shortage(images[0].needs.iter())),
            count => (
                format!("adapter {name:?} and {} more in the pool", count - 1),
                space.shortage(images.iter().flat_map(|image| &image.needs)),
            ),
        };
        if let Some(part) = shortage.part {
            what = format!("{part} of {what}");
        }
        let unit = if shortage.is_of_pages { page_bytes } else { 4 };
        Error::TooLarge { what, needed_bytes: shortage.needed * unit, limit_bytes: shortage.limit * unit }
    }

    /// Claims the registration that `name` has, unless somebody else did.
    pub(super) fn claim(&self, state: &mut State, name: &str) -> Option<Claim<'_>> {
        let entry = state.entries.get_mut(name).filter(|entry| !entry.is_loading)?;
        entry.is_loading = true;
        let (generation, source) = (entry.generation, Arc::clone(&entry.source));
        Some(Claim { shared: self, name: name.to_owned(), generation, source })
    }

    /// Makes what was claimed resident, in this order.
    pub(super) fn load(&self, claims: &[Claim<'_>]) -> Result<Vec<Arc<Member>>> {
        let begin = Instant::now();
        let image = |claim: &Claim<'_>| self.image(&claim.name, &(claim.source)()?);
        let images = claims.iter().map(image).collect::<Result<Vec<_>>>();
        let outcome = images.and_then(|images| self.put(claims, images));
        self.lock().counted.load_seconds += begin.elapsed().as_secs_f64();
        outcome
    }

    /// Places `images` and sends them.
    fn put(&self, claims: &[Claim<'_>], images: Vec<Image>) -> Result<Vec<Arc<Member>>> {
        let mut state = self.lock();
        let placed = loop {
            #[cfg(feature = "gpu")]
            self.revive(&mut state)?;
            match self.place(&mut state, claims, &images) {
                // What others are just sending cannot go, but soon may.
                Err(Error::TooLarge { .. }) if state.is_any_arriving() => state = self.wait(state),
                outcome => break outcome?,
            }
        };
        let all: Vec<Sending> = claims
            .iter()
            .zip(images)
            .zip(placed)
            .map(|((claim, image), (number, places))| self.enter(&mut state, claim, image, number, places))
            .collect();
        #[cfg(feature = "gpu")]
        let (bank, space) = (state.bank.clone(), state.space.clone());
        // Batches go on while the weights are sent: nobody else looks at these pages yet.
        drop(state);
        let send = |sending: &Sending| {
            #[cfg(feature = "gpu")]
            if let Some(bank) = &bank {
                let Sending { image, places, member, fresh } = sending;
                return bank.upload(member.number, image, places, &space, fresh);
            }
            Ok(sending.image.pages() * self.layout.page_bytes())
        };
        let sent = all.iter().map(send).sum::<Result<u64>>();
        let mut state = self.lock();
        let outcome = sent.and_then(|bytes| {
            let numbers = all.iter().map(|sending| state.number_of(&sending.member));
            // Whoever met a loss of the device in between has forgotten all residents.
            let numbers = numbers.collect::<Option<Vec<_>>>().ok_or_else(|| self.lost())?;
            numbers.into_iter().for_each(|number| state.arrive(number));
            state.counted.loads += all.len() as u64;
            state.counted.loaded_bytes += bytes;
            for claim in claims {
                if let Some(entry) = state.present(&claim.name, claim.generation) {
                    entry.failure = None;
                }
            }
            Ok(all.iter().map(|sending| Arc::clone(&sending.member)).collect())
        });
        if outcome.is_err() {
            for sending in &all {
                if let Some(number) = state.number_of(&sending.member) {
                    state.remove(number);
                }
            }
        }
        outcome
    }

    /// Makes an adapter known as being on its way.
    fn enter(
        &self,
        state: &mut State,
        claim: &Claim<'_>,
        image: Image,
        number: usize,
        places: Vec<Place>,
    ) -> Sending {
        let shards = image.shards();
        let fresh = shards.iter().filter(|shards| !state.space.is_sent(shards)).cloned().collect();
        let image = Arc::new(image);
        #[cfg(feature = "gpu")]
        let is_host = state.bank.is_none();
        #[cfg(not(feature = "gpu"))]
        let is_host = true;
        let member = Arc::new(Member {
            number: number as u32,
            name: claim.name.clone(),
            generation: claim.generation,
            ranks: image.ranks(),
            largest_scale: image.largest_scale(),
            slabs: places.iter().map(|place| place.slab).collect(),
            image: is_host.then(|| Arc::clone(&image)),
        });
        state.clock += 1;
        state.residents[number] = Some(Resident {
            member: Arc::clone(&member),
            places: places.clone(),
            shards,
            last_used: state.clock,
            is_ready: false,
        });
        Sending { image, places, member, fresh }
    }

    /// Finds numbers and pages for `images`, evicting what it must: tried out first, done only if it leads to places
    /// for all.
    fn place(
        &self,
        state: &mut State,
        claims: &[Claim<'_>],
        images: &[Image],
    ) -> Result<Vec<(usize, Vec<Place>)>> {
        let mut space = state.space.clone();
        let mut victims = state.victims().into_iter();
        let mut evicted: Vec<usize> = Vec::new();
        let most = self.layout.most_resident as usize;
        let is_free = |number: &usize| state.residents.get(*number).is_none_or(Option::is_none);
        let mut numbers: Vec<usize> = (0..most).filter(is_free).take(images.len()).collect();
        let mut placed = Vec::with_capacity(images.len());
        for image in images {
            let places = loop {
                let has_number = numbers.len() + evicted.len() > placed.len();
                if has_number && let Some(places) = space.place(&image.needs) {
                    break places;
                }
                let Some(victim) = victims.next() else {
                    if !has_number {
                        let rule = format!("at most {most} adapters at once (most_resident)");
                        return Err(Error::parameter(
                            "names",
                            rule,
                            "more, together with those leased and pinned",
                        ));
                    }
                    placed.iter().for_each(|places: &Vec<Place>| space.free(places));
                    let names: Vec<&str> = claims.iter().map(|claim| claim.name.as_str()).collect();
                    return Err(self.too_large(&names, &images.iter().collect::<Vec<_>>(), &space));
                };
                evicted.push(victim);
                if let Some(resident) = &state.residents[victim] {
                    space.free(&resident.places);
                }
            };
            placed.push(places);
        }
        for victim in &evicted {
            state.remove(*victim);
        }
        state.counted.evictions += evicted.len() as u64;
        state.space = space;
        numbers.extend(evicted);
        numbers.truncate(images.len());
        let end = numbers.iter().map(|number| number + 1).max().unwrap_or(0);
        if end > state.residents.len() {
            state.residents.resize_with(end, || None);
        }
        Ok(numbers.into_iter().zip(placed).collect())
    }

    /// What became of a device that was lost meanwhile.
    pub(super) fn lost(&self) -> Error {
        Error::DeviceLost {
            device: super::backend(&self.device).name(),
            operation: "loading adapters",
            reason: "the pool's memory went with the device".into(),
        }
    }

    /// Makes memory where there is none: at the start, and after the device was lost and opened again.
    #[cfg(feature = "gpu")]
    pub(super) fn revive(&self, state: &mut State) -> Result<()> {
        if state.bank.is_none()
            && !state.fell_back
            && let crate::device::Backend::Gpu(gpu) = super::backend(&self.device)
        {
            state.bank = Some(Arc::new(Bank::new(gpu, &self.layout, self.params.groups.len())?));
        }
        Ok(())
    }

    /// Queues `names` for the thread that loads, and starts it where there is none.
    pub(super) fn prefetch(self: &Arc<Self>, names: &[&str]) {
        let mut state = self.lock();
        let mut queued: HashSet<String> = state.queue.iter().cloned().collect();
        for name in names {
            let is_needed = state
                .entries
                .get(*name)
                .is_some_and(|entry| !entry.is_loading && state.resident(entry.generation).is_none());
            if is_needed && queued.insert((*name).to_owned()) {
                state.queue.push_back((*name).to_owned());
            }
        }
        if state.queue.is_empty() || state.loader == Loader::Working {
            return;
        }
        state.loader = Loader::Working;
        drop(state);
        let shared = Arc::downgrade(self);
        let started = std::thread::Builder::new().name("tilefold-loader".into()).spawn(move || work(&shared));
        if let Err(error) = started {
            // Leases load by themselves what is not there.
            tracing::warn!(%error, "no thread to load adapters in the background");
            self.lock().loader = Loader::Idle;
        }
    }
}

/// Loads what is queued, until nothing is, or until nobody is left who could use it.
fn work(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        let mut state = shared.lock();
        let Some(name) = state.queue.pop_front() else {
            state.loader = Loader::Idle;
            return;
        };
        let generation = state.entries.get(&name).map(|entry| entry.generation);
        let is_there = generation.is_none_or(|generation| state.resident(generation).is_some());
        let claim = if is_there { None } else { shared.claim(&mut state, &name) };
        drop(state);
        let Some(claim) = claim else { continue };
        // A source that panics must not take the loader with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            shared.persist(|| shared.load(std::slice::from_ref(&claim)).map(drop))
        }));
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Error::parameter("source", "a source that gives an adapter", format!("a panic for {name:?}")))
        });
        if let Err(error) = outcome {
            tracing::warn!(%error, name, "an adapter could not be loaded in the background");
            if let Some(entry) = shared.lock().present(&name, claim.generation) {
                entry.failure = Some(error);
            }
        }
    }
}
