//! Which pages are free, and where an adapter's pages would go. Pure bookkeeping: it holds no weights, and it is cloned
//! to try out a change before anything is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lora::factors::Shards;

/// Free numbers of `0..size` as runs that do not touch.
#[derive(Debug, Clone, Default)]
pub(super) struct Extents {
    runs: BTreeMap<u32, u32>,
    free: u32,
}

impl Extents {
    /// All of `0..size` free.
    pub fn new(size: u32) -> Self {
        let runs = if size > 0 { BTreeMap::from([(0, size)]) } else { BTreeMap::new() };
        Self { runs, free: size }
    }

    /// How many are free.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Takes `count` numbers, lowest first, wherever they are.
    pub fn take(&mut self, count: u32) -> Option<Vec<u32>> {
        if count > self.free {
            return None;
        }
        let mut taken = Vec::with_capacity(count as usize);
        while taken.len() < count as usize {
            let (first, length) = self.runs.pop_first()?;
            let part = length.min(count - taken.len() as u32);
            taken.extend(first..first + part);
            if part < length {
                self.runs.insert(first + part, length - part);
            }
        }
        self.free -= count;
        Some(taken)
    }

    /// Takes `count` numbers in a row: the first run that is long enough.
    pub fn take_run(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        let (&first, &length) = self.runs.iter().find(|(_, length)| **length >= count)?;
        self.runs.remove(&first);
        if length > count {
            self.runs.insert(first + count, length - count);
        }
        self.free -= count;
        Some(first)
    }

    /// Gives back `count` numbers from `first` on.
    pub fn give_run(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let (mut begin, mut end) = (first, first + count);
        if let Some((&before, &length)) = self.runs.range(..first).next_back()
            && before + length == first
        {
            self.runs.remove(&before);
            begin = before;
        }
        if let Some(length) = self.runs.remove(&end) {
            end += length;
        }
        self.runs.insert(begin, end - begin);
        self.free += count;
    }

    /// The length of the longest run.
    pub fn longest(&self) -> u64 {
        self.runs.values().copied().max().unwrap_or(0).into()
    }

    /// Gives back numbers in any order.
    pub fn give(&mut self, numbers: &[u32]) {
        for run in numbers.chunk_by(|a, b| *b == a + 1) {
            self.give_run(run[0], run.len() as u32);
        }
    }
}

/// What one group of an adapter needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Pages of its own.
    pub pages: u32,
    /// Entries of the page table.
    pub entries: u32,
    /// Shards that it shares with others: who they are and their pages.
    pub shared: Vec<(SharedKey, u32)>,
}

/// Shards are known by their address, which their holder keeps alive.
pub(super) type SharedKey = usize;

/// The key of `shards`.
pub(super) fn key(shards: &Arc<Shards>) -> SharedKey {
    Arc::as_ptr(shards) as usize
}

/// Where one group of an adapter lies.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// The slab of all its pages.
    pub slab: u32,
    /// Its own pages.
    pub pages: Vec<u32>,
    /// Its first entry in the page table, and how many.
    pub first_entry: u32,
    /// As said above.
    pub entries: u32,
    /// Shards that it uses.
    pub shared: Vec<SharedKey>,
}

/// Shards that lie on the device.
#[derive(Debug, Clone)]
pub(super) struct SharedPlace {
    /// Their slab.
    pub slab: u32,
    /// Their pages, in order.
    pub pages: Vec<u32>,
    /// Groups of adapters that use them.
    pub users: u32,
    /// Whether their values have arrived.
    pub is_sent: bool,
}

/// What there is too little of, in pages or in entries of the page table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// The part that does not fit, `None` for the whole.
    pub part: Option<&'static str>,
    /// Whether pages are missing, or entries.
    pub is_of_pages: bool,
    /// How many it takes.
    pub needed: u64,
    /// How many there are.
    pub limit: u64,
}

/// All pages and entries.
#[derive(Debug, Clone)]
pub(super) struct Space {
    slabs: Vec<Extents>,
    table: Extents,
    /// The shards that lie in it.
    pub shared: BTreeMap<SharedKey, SharedPlace>,
}

impl Space {
    /// `slab_pages[i]` pages in slab `i`, and `entries` entries of the page table.
    pub fn new(slab_pages: &[u32], entries: u32) -> Self {
        let slabs = slab_pages.iter().map(|pages| Extents::new(*pages)).collect();
        Self { slabs, table: Extents::new(entries), shared: BTreeMap::new() }
    }

    /// Free pages of all slabs.
    pub fn free_pages(&self) -> u64 {
        self.slabs.iter().map(|slab| u64::from(slab.free())).sum()
    }

    /// Whether the values of `shards` are there.
    pub fn is_sent(&self, shards: &Arc<Shards>) -> bool {
        self.shared.get(&key(shards)).is_some_and(|place| place.is_sent)
    }

    /// The values of `shards` are there.
    pub fn mark_sent(&mut self, shards: &Arc<Shards>) {
        if let Some(place) = self.shared.get_mut(&key(shards)) {
            place.is_sent = true;
        }
    }

    /// What is missing for `needs`: pages, room in one slab for one group's pages, or a run of entries.
    pub fn shortage<'n>(&self, needs: impl Iterator<Item = &'n Need> + Clone) -> Shortage {
        let fresh = |need: &Need| -> BTreeMap<SharedKey, u32> {
            need.shared.iter().filter(|(key, _)| !self.shared.contains_key(key)).copied().collect()
        };
        let sum = |shared: BTreeMap<SharedKey, u32>| shared.into_values().map(u64::from).sum::<u64>();
        let own: u64 = needs.clone().map(|need| u64::from(need.pages)).sum();
        let pages = own + sum(needs.clone().flat_map(fresh).collect());
        let limit = self.free_pages();
        if pages > limit {
            return Shortage { part: None, is_of_pages: true, needed: pages, limit };
        }
        let needed = needs.clone().map(|need| u64::from(need.pages) + sum(fresh(need))).max().unwrap_or(0);
        let limit = self.slabs.iter().map(|slab| u64::from(slab.free())).max().unwrap_or(0);
        if needed > limit || self.slabs.len() > 1 && needed > 0 {
            let part = Some("the largest group, which lies in one buffer,");
            return Shortage { part, is_of_pages: true, needed, limit };
        }
        let needed = needs.map(|need| u64::from(need.entries)).max().unwrap_or(0);
        Shortage { part: Some("the page table"), is_of_pages: false, needed, limit: self.table.longest() }
    }

    /// Places all groups of an adapter, or nothing: every group in one slab, that of its layer where it has room.
    pub fn place(&mut self, needs: &[Need]) -> Option<Vec<Place>> {
        let before = self.clone();
        let mut places = Vec::with_capacity(needs.len());
        for (group, need) in needs.iter().enumerate() {
            // Neighbouring layers share a slab: group g of G prefers slab g * slabs / G.
            let preferred = group * self.slabs.len() / needs.len();
            match self.place_group(need, preferred) {
                Some(place) => places.push(place),
                None => {
                    *self = before;
                    return None;
                }
            }
        }
        Some(places)
    }

    fn place_group(&mut self, need: &Need, preferred: usize) -> Option<Place> {
        let known = need.shared.iter().filter_map(|(key, _)| self.shared.get(key)).map(|place| place.slab);
        let bound: Vec<u32> = known.collect();
        let mut slabs = (0..self.slabs.len()).map(|step| (preferred + step) % self.slabs.len());
        let slab = slabs.find(|&slab| {
            let missing: u32 =
                need.shared.iter().filter(|(key, _)| !self.shared.contains_key(key)).map(|(_, n)| n).sum();
            let is_allowed = bound.iter().all(|only| *only == slab as u32);
            is_allowed && missing.checked_add(need.pages).is_some_and(|n| n <= self.slabs[slab].free())
        })?;
        let first_entry = self.table.take_run(need.entries)?;
        for (key, count) in &need.shared {
            if !self.shared.contains_key(key) {
                let pages = self.slabs[slab].take(*count)?;
                self.shared.insert(*key, SharedPlace { slab: slab as u32, pages, users: 0, is_sent: false });
            }
            self.shared.get_mut(key)?.users += 1;
        }
        let pages = self.slabs[slab].take(need.pages)?;
        let shared = need.shared.iter().map(|(key, _)| *key).collect();
        Some(Place { slab: slab as u32, pages, first_entry, entries: need.entries, shared })
    }

    /// Frees what an adapter held; shards without a user are freed too.
    pub fn free(&mut self, places: &[Place]) {
        for place in places {
            self.slabs[place.slab as usize].give(&place.pages);
            self.table.give_run(place.first_entry, place.entries);
            for key in &place.shared {
                let Some(shared) = self.shared.get_mut(key) else { continue };
                shared.users -= 1;
                if shared.users == 0
                    && let Some(shared) = self.shared.remove(key)
                {
                    self.slabs[shared.slab as usize].give(&shared.pages);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_split_and_joined_again() {
        let mut extents = Extents::new(10);
        assert_eq!(extents.take(3), Some(vec![0, 1, 2]));
        assert_eq!(extents.take_run(4), Some(3));
        extents.give(&[1]);
        assert_eq!(extents.take_run(3), Some(7));
        assert_eq!((extents.free(), extents.take(2), extents.take(1)), (1, None, Some(vec![1])));
        extents.give(&[2, 0, 1]);
        extents.give_run(7, 3);
        extents.give_run(3, 4);
        assert_eq!((extents.free(), extents.runs.len(), extents.take_run(10)), (10, 1, Some(0)));
        assert_eq!((extents.take_run(0), Extents::new(0).take(0)), (Some(0), Some(vec![])));
    }

    fn need(pages: u32) -> Need {
        Need { pages, entries: pages, shared: Vec::new() }
    }

    #[test]
    fn a_group_stays_in_one_slab_and_prefers_that_of_its_layer() {
        let mut space = Space::new(&[10, 10], 40);
        let places = space.place(&[need(4), need(4), need(4), need(4)]).unwrap();
        assert_eq!(places.iter().map(|place| place.slab).collect::<Vec<_>>(), [0, 0, 1, 1]);
        // Two pages are left in each: no group of three fits, and the attempt leaves no trace.
        assert!(space.place(&[need(1), need(3)]).is_none());
        assert_eq!(space.free_pages(), 4);
        space.free(&places);
        assert_eq!(space.free_pages(), 20);
    }

    #[test]
    fn shards_are_placed_once_and_freed_with_their_last_user() {
        let mut space = Space::new(&[8, 8], 40);
        let shared = |pages| Need { pages, entries: 6, shared: vec![(7, 5)] };
        let first = space.place(&[shared(1)]).unwrap();
        let second = space.place(&[shared(2)]).unwrap();
        assert_eq!((space.free_pages(), second[0].slab, space.shared[&7].users), (8, first[0].slab, 2));
        assert!(
            space.place(&[shared(1)]).is_none(),
            "the slab of the shards is full, the other may not be used"
        );
        space.free(&first);
        assert_eq!(space.shared[&7].pages.len(), 5);
        space.free(&second);
        assert_eq!((space.free_pages(), space.shared.len()), (16, 0));
    }

    #[test]
    fn a_shortage_names_what_is_missing() {
        let mut space = Space::new(&[8, 8], 30);
        let shortage = |space: &Space, needs: &[Need]| {
            let shortage = space.shortage(needs.iter());
            (shortage.part.is_some(), shortage.is_of_pages, shortage.needed, shortage.limit)
        };
        let shared = Need { shared: vec![(7, 5)], ..need(6) };
        // Shards count once, and not at all where they are.
        assert_eq!(shortage(&space, &[shared.clone(), shared.clone()]), (false, true, 17, 16));
        assert_eq!(shortage(&space, std::slice::from_ref(&shared)), (true, true, 11, 8));
        assert!(space.place(&[Need { shared: vec![(7, 5)], ..need(1) }]).is_some());
        assert_eq!(shortage(&space, &[shared.clone(), shared]), (false, true, 12, 10));
        let one = Space::new(&[8], 3);
        assert_eq!(shortage(&one, &[need(4)]), (true, false, 4, 3));
    }
}
