//! Medoids, and what every object knows of the nearest few of them.

use rayon::prelude::*;

use super::columns::Columns;
use super::entry::Entry;
use super::integer::Integer;
use super::objective::Objective;
use crate::error::Result;
use crate::memory::{self, area, zeroed};

/// Objects of one part when medoids are replaced.
const PART: usize = 8192;

/// What an object knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near<T, Terms, const R: usize> {
    /// Distances to the nearest medoids, nearest first, ties in order of their places.
    distances: [T; R],
    /// Their places among the medoids; `u32::MAX` for those that do not exist.
    places: [u32; R],
    terms: Terms,
    weight: u32,
}

/// The state of a search.
pub(super) struct State<T: Entry, O: Objective<T, R>, const R: usize> {
    objective: O,
    medoids: Vec<usize>,
    is_medoid: Vec<bool>,
    near: Vec<Near<T, O::Terms, R>>,
    /// The last of the nearest distances of each object: a candidate that is not below it changes nothing.
    limits: Vec<T>,
    /// Distances of each object to all medoids, object by object.
    distances: Vec<T>,
    /// Change of the sum where a medoid is removed, by place.
    removal: Vec<O::Integer>,
    sum: O::Integer,
}

/// Room for one candidate's changes.
pub(super) struct Scratch<I> {
    changes: Vec<I>,
    hits: Vec<u32>,
}

/// A swap of the medoid at a place for a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Swap<I> {
    /// What it changes the sum by; the least is the best.
    pub change: I,
    pub candidate: usize,
    pub place: usize,
}

impl<T: Entry, O: Objective<T, R>, const R: usize> State<T, O, R> {
    /// All objects with their nearest medoids. Without weights each object weighs 1.
    pub fn new(
        objective: O,
        columns: &Columns<T>,
        weights: Option<&[u32]>,
        medoids: Vec<usize>,
    ) -> Result<Self> {
        let (objects, count) = (columns.objects(), medoids.len());
        let chosen = columns.of(&medoids)?;
        let known = area::<(Near<T, O::Terms, R>, T, bool)>(objects.max(columns.candidates()), 1);
        memory::ask("what objects know of their medoids", &[known, area::<i64>(count, 64)])?;
        let mut is_medoid = vec![false; columns.candidates()];
        medoids.iter().for_each(|&medoid| is_medoid[medoid] = true);
        let mut distances = zeroed("distances to medoids", objects, count)?;
        let cancel = columns.cancel();
        distances.par_chunks_exact_mut(count).enumerate().try_for_each(|(object, row)| {
            cancel.check()?;
            row.iter_mut().zip(chosen.iter().skip(object).step_by(objects)).for_each(|(to, &d)| *to = d);
            Ok(())
        })?;
        let near: Vec<Near<T, O::Terms, R>> = distances
            .par_chunks_exact(count)
            .enumerate()
            .map(|(object, row)| {
                cancel.check()?;
                let weight = weights.map_or(1, |weights| weights[object]);
                let mut near = Near {
                    distances: [T::INFINITY; R],
                    places: [u32::MAX; R],
                    terms: O::Terms::default(),
                    weight,
                };
                near.find(row);
                near.terms = objective.terms(&near.distances);
                Ok(near)
            })
            .collect::<Result<_>>()?;
        let limits = near.iter().map(|near| near.distances[R - 1]).collect();
        let mut state = Self {
            objective,
            medoids,
            is_medoid,
            near,
            limits,
            distances,
            removal: vec![O::Integer::ZERO; count],
            sum: O::Integer::ZERO,
        };
        for near in &state.near {
            near.add_to(true, &mut state.sum, &mut state.removal, O::value, O::removal, O::AFFECTED);
        }
        Ok(state)
    }

    pub fn medoids(&self) -> &[usize] {
        &self.medoids
    }

    /// The medoids, of a search that has ended.
    pub fn into_medoids(self) -> Vec<usize> {
        self.medoids
    }

    /// Distances to the nearest medoids, and their places, of each object.
    #[cfg(feature = "gpu")]
    pub fn nearest(&self) -> impl Iterator<Item = ([T; R], [u32; R])> + '_ {
        self.near.iter().map(|near| (near.distances, near.places))
    }

    pub fn is_medoid(&self, candidate: usize) -> bool {
        self.is_medoid[candidate]
    }

    /// The sum that is minimised.
    pub fn sum(&self) -> O::Integer {
        self.sum
    }

    pub fn scratch(&self) -> Scratch<O::Integer> {
        Scratch { changes: vec![O::Integer::ZERO; self.medoids.len()], hits: Vec::new() }
    }

    /// The best swap for a candidate, ties to the lowest place.
    pub fn best_swap(
        &self,
        candidate: usize,
        column: &[T],
        scratch: &mut Scratch<O::Integer>,
    ) -> Swap<O::Integer> {
        let all = self.collect(column, scratch);
        let mut best = (O::Integer::MAX, 0);
        for (place, &change) in scratch.changes.iter().enumerate() {
            if change < best.0 {
                best = (change, place);
            }
        }
        Swap { change: best.0 + all, candidate, place: best.1 }
    }

    /// What a given swap changes the sum by.
    pub fn change(&self, place: usize, column: &[T], scratch: &mut Scratch<O::Integer>) -> O::Integer {
        self.collect(column, scratch) + scratch.changes[place]
    }

    /// Adds up the corrections by place, and returns the change that all have in common.
    fn collect(&self, column: &[T], scratch: &mut Scratch<O::Integer>) -> O::Integer {
        scratch.changes.copy_from_slice(&self.removal);
        scratch.hits.clear();
        T::below(column, &self.limits, &mut scratch.hits);
        let mut all = O::Integer::ZERO;
        for &object in &scratch.hits {
            let near = &self.near[object as usize];
            let (change, corrections) =
                self.objective.change(column[object as usize], &near.distances, &near.terms);
            all += change.times(near.weight);
            for (&place, correction) in near.places.iter().zip(corrections).take(O::AFFECTED) {
                // With fewer medoids than terms take into account there is no such place.
                if let Some(change) = scratch.changes.get_mut(place as usize) {
                    *change += correction.times(near.weight);
                }
            }
        }
        all
    }

    /// What removing the medoid at a place changes the sum by.
    pub fn removal(&self) -> &[O::Integer] {
        &self.removal
    }

    /// Puts a candidate in the place of a medoid.
    pub fn replace(&mut self, swap: Swap<O::Integer>, column: &[T]) {
        let Swap { candidate, place, .. } = swap;
        self.is_medoid[self.medoids[place]] = false;
        self.is_medoid[candidate] = true;
        self.medoids[place] = candidate;
        let (count, objective) = (self.medoids.len(), self.objective);
        let near = self.near.par_chunks_mut(PART).zip(self.limits.par_chunks_mut(PART));
        let known = self.distances.par_chunks_mut(PART * count).zip(column.par_chunks(PART));
        let parts = near.zip(known).map(|((near, limits), (distances, column))| {
            let (mut sum, mut removal) = (O::Integer::ZERO, vec![O::Integer::ZERO; count]);
            let rows = distances.chunks_exact_mut(count).zip(column);
            for ((near, limit), (row, &d)) in near.iter_mut().zip(limits).zip(rows) {
                row[place] = d;
                if d >= *limit && !near.places.contains(&(place as u32)) {
                    continue;
                }
                let before = near.distances;
                near.add_to(false, &mut sum, &mut removal, O::value, O::removal, O::AFFECTED);
                near.replace(place as u32, d, row);
                if near.distances != before {
                    near.terms = objective.terms(&near.distances);
                    *limit = near.distances[R - 1];
                }
                near.add_to(true, &mut sum, &mut removal, O::value, O::removal, O::AFFECTED);
            }
            (sum, removal)
        });
        let (sum, removal) = parts.reduce(
            || (O::Integer::ZERO, vec![O::Integer::ZERO; count]),
            |(sum, mut removal), (other, others)| {
                removal.iter_mut().zip(others).for_each(|(removal, other)| *removal += other);
                (sum + other, removal)
            },
        );
        self.sum += sum;
        self.removal.iter_mut().zip(removal).for_each(|(kept, change)| *kept += change);
    }
}

impl<T: Entry, Terms: Copy, const R: usize> Near<T, Terms, R> {
    /// Finds the nearest few in an object's distances to all medoids.
    fn find(&mut self, row: &[T]) {
        self.distances = [T::INFINITY; R];
        self.places = [u32::MAX; R];
        for (place, &d) in row.iter().enumerate() {
            if d < self.distances[R - 1] {
                self.put(place as u32, d, R - 1);
            }
        }
    }

    /// Puts a medoid where it belongs among the first `last` entries, and drops the one at `last`. Medoids at the same
    /// distance are in order of their places.
    fn put(&mut self, place: u32, d: T, last: usize) {
        let mut at = last;
        while at > 0
            && (d < self.distances[at - 1] || (d == self.distances[at - 1] && place < self.places[at - 1]))
        {
            self.distances[at] = self.distances[at - 1];
            self.places[at] = self.places[at - 1];
            at -= 1;
        }
        self.distances[at] = d;
        self.places[at] = place;
    }

    /// The medoid at a place is another one now, at distance `d`; `row` has the distances to all.
    fn replace(&mut self, place: u32, d: T, row: &[T]) {
        let (last, last_place) = (self.distances[R - 1], self.places[R - 1]);
        match self.places.iter().position(|&at| at == place) {
            // Those that are not in the list are not before its last, so the new one is in it if it is not after it.
            Some(at) if d < last || (d == last && place <= last_place) => {
                self.distances.copy_within(at + 1.., at);
                self.places.copy_within(at + 1.., at);
                self.put(place, d, R - 1);
            }
            Some(_) => self.find(row),
            None if d < last || (d == last && place < last_place) => self.put(place, d, R - 1),
            None => {}
        }
    }

    /// Adds the object's part of the sum and of the changes by removal, or takes it away.
    #[inline(always)]
    fn add_to<I: Integer>(
        &self,
        adds: bool,
        sum: &mut I,
        removal: &mut [I],
        value: impl Fn(&Terms) -> I,
        changes: impl Fn(&Terms) -> [I; 2],
        affected: usize,
    ) {
        let signed = |part: I| if adds { part.times(self.weight) } else { -part.times(self.weight) };
        *sum += signed(value(&self.terms));
        for (&place, change) in self.places.iter().zip(changes(&self.terms)).take(affected) {
            if let Some(removal) = removal.get_mut(place as usize) {
                *removal += signed(change);
            }
        }
    }
}
