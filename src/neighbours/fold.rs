//! What is kept of the tiles: the few best, all within a radius, or how many those are.

use super::judge::{Judge, Scratch};
use super::order::Order;
use super::params::Radius;
use super::problem::Problem;
use super::reference::Neighbour;
use super::screen::Reach;
use crate::tile::collect::cpu::Block;

/// A fold of the values of each query.
pub(super) trait Fold: Sync {
    /// What one query comes to.
    type Answer: Send + Default;
    /// Whether it is enough to count columns that are surely within the reach.
    #[cfg(feature = "gpu")]
    const COUNTS: bool = false;
    /// How many are wanted; `None`: all within the reach.
    fn count(&self) -> Option<usize>;
    /// The largest value of a distance that a query may want; `None`: any.
    fn farthest_of(&self, query: u32) -> Option<f64>;
    /// The value of the last of an answer that has as many as are wanted.
    fn last(&self, _answer: &Self::Answer) -> Option<f64> {
        None
    }
    /// The values of T within which columns can be wanted, if `of` gives those of a radius; `None`: any.
    fn reach(&self, query: u32, of: impl Fn(f64) -> Reach) -> Option<Reach>;
    /// Takes from a row's list, after a window, what need not stay there.
    fn between(&self, judge: &Judge, row: Row, scratch: &mut Scratch, answer: &mut Self::Answer);
    /// Adds so many columns that are surely within the reach, if it [counts](Self::COUNTS) them.
    #[cfg(feature = "gpu")]
    fn add_sure(&self, _count: u32, _answer: &mut Self::Answer) {}
    /// Adds what was measured to the answer.
    fn add(&self, judge: &Judge, query: u32, found: &mut Vec<Neighbour>, answer: &mut Self::Answer);
}

/// A query between two windows.
pub(super) struct Row<'a, 'p> {
    pub problem: &'a Problem<'p>,
    pub query: u32,
    pub block: &'a mut Block,
    /// Its row of the block.
    pub index: usize,
    pub reach: Option<Reach>,
    /// Entries above which a list is decided on.
    pub longest: usize,
}

/// The `count` best.
pub(super) struct Best {
    pub count: usize,
}

impl Fold for Best {
    /// Best first.
    type Answer = Vec<Neighbour>;

    fn count(&self) -> Option<usize> {
        Some(self.count)
    }

    fn farthest_of(&self, _: u32) -> Option<f64> {
        None
    }

    fn last(&self, answer: &Self::Answer) -> Option<f64> {
        answer.get(self.count - 1).map(|neighbour| neighbour.value)
    }

    fn reach(&self, _: u32, _: impl Fn(f64) -> Reach) -> Option<Reach> {
        None
    }

    fn between(&self, judge: &Judge, row: Row, scratch: &mut Scratch, _: &mut Self::Answer) {
        let Row { problem, query, block, index, longest, .. } = row;
        if block.lists[index].entries.len() <= longest {
            return;
        }
        block.tighten(index, self.count);
        let entries = &mut block.lists[index].entries;
        if entries.len() > longest {
            scratch.load(problem, query);
            judge.measure(entries.iter().map(|entry| entry.column), scratch);
            judge.keep_best(self.count, &mut scratch.found);
            // They stay as entries, for what they say about the limit.
            let mut kept: Vec<u32> = scratch.found.iter().map(|neighbour| neighbour.index).collect();
            kept.sort_unstable();
            entries.retain(|entry| kept.binary_search(&entry.column).is_ok());
            block.tighten(index, self.count);
        }
    }

    fn add(&self, judge: &Judge, _: u32, found: &mut Vec<Neighbour>, answer: &mut Self::Answer) {
        answer.append(found);
        judge.keep_best(self.count, answer);
    }
}

/// What is at most a radius away, and farther than another where one is given.
#[derive(Clone, Copy)]
pub(super) struct Shell<'a> {
    pub radius: &'a Radius,
    pub beyond: Option<&'a Radius>,
}

impl Shell<'_> {
    fn holds(&self, order: Order, query: usize, value: f64) -> bool {
        let is_too_near = |beyond: &Radius| order.reaches(value, beyond.of(query));
        order.reaches(value, self.radius.of(query)) && !self.beyond.is_some_and(is_too_near)
    }

    /// Nothing is surely in it before it is measured, where it has an inside.
    fn reach(&self, query: u32, of: impl Fn(f64) -> Reach) -> Reach {
        let reach = of(self.radius.of(query as usize));
        if self.beyond.is_some() { Reach { inner: f64::NEG_INFINITY, ..reach } } else { reach }
    }
}

/// All within a shell.
pub(super) struct Within<'a> {
    pub shell: Shell<'a>,
}

impl Fold for Within<'_> {
    /// In the order of windows.
    type Answer = Vec<Neighbour>;

    fn count(&self) -> Option<usize> {
        None
    }

    fn farthest_of(&self, query: u32) -> Option<f64> {
        Some(self.shell.radius.of(query as usize))
    }

    fn reach(&self, query: u32, of: impl Fn(f64) -> Reach) -> Option<Reach> {
        Some(self.shell.reach(query, of))
    }

    fn between(&self, judge: &Judge, row: Row, scratch: &mut Scratch, answer: &mut Self::Answer) {
        let entries = std::mem::take(&mut row.block.lists[row.index].entries);
        scratch.load(row.problem, row.query);
        judge.measure(entries.iter().map(|entry| entry.column), scratch);
        self.add(judge, row.query, &mut scratch.found, answer);
    }

    fn add(&self, judge: &Judge, query: u32, found: &mut Vec<Neighbour>, answer: &mut Self::Answer) {
        let is_wanted = |found: &Neighbour| self.shell.holds(judge.order, query as usize, found.value);
        answer.extend(found.drain(..).filter(is_wanted));
    }
}

/// How many are within a shell.
pub(super) struct Count<'a> {
    pub shell: Shell<'a>,
}

impl Fold for Count<'_> {
    type Answer = u64;
    #[cfg(feature = "gpu")]
    const COUNTS: bool = true;

    fn count(&self) -> Option<usize> {
        None
    }

    fn farthest_of(&self, query: u32) -> Option<f64> {
        Some(self.shell.radius.of(query as usize))
    }

    fn reach(&self, query: u32, of: impl Fn(f64) -> Reach) -> Option<Reach> {
        Some(self.shell.reach(query, of))
    }

    /// What is within the radius by more than the bound need not be measured.
    fn between(&self, judge: &Judge, row: Row, scratch: &mut Scratch, answer: &mut Self::Answer) {
        let list = &mut row.block.lists[row.index];
        let gap = list.gap;
        let inside = row.reach.map_or(f64::NEG_INFINITY, |reach| reach.inner);
        let before = list.entries.len();
        list.entries.retain(|entry| f64::from(entry.upper) + 0.5 * gap > inside);
        *answer += (before - list.entries.len()) as u64;
        let entries = std::mem::take(&mut list.entries);
        scratch.load(row.problem, row.query);
        judge.measure(entries.iter().map(|entry| entry.column), scratch);
        self.add(judge, row.query, &mut scratch.found, answer);
    }

    #[cfg(feature = "gpu")]
    fn add_sure(&self, count: u32, answer: &mut Self::Answer) {
        *answer += u64::from(count);
    }

    fn add(&self, judge: &Judge, query: u32, found: &mut Vec<Neighbour>, answer: &mut Self::Answer) {
        let is_wanted = |found: &Neighbour| self.shell.holds(judge.order, query as usize, found.value);
        *answer += found.drain(..).filter(is_wanted).count() as u64;
    }
}
