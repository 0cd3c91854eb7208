//! What a search minimises: a sum over objects of a term of the distances to the nearest few medoids.
//!
//! For a swap of medoid i for candidate c at distance d from an object, the change of the object's term depends on i only
//! where i is one of the nearest few. So the change of the sum is one number for all i, plus corrections for those:
//!
//! ```text
//! change(i, c) = sum of all(o, c) + removal(i) + sum over objects o with i among their nearest of correction(o, c)
//! removal(i)   = change where i is removed and nothing put in its place
//! ```
//!
//! An object whose d is not below the last of its nearest distances changes nothing: all and correction are 0.

use super::entry::Entry;
use super::integer::{Integer, Units};

/// A sum to minimise. `R` is how many of the nearest medoids its terms need.
pub(super) trait Objective<T: Entry, const R: usize>: Copy + Send + Sync {
    /// How many of the nearest medoids change the term when they are removed.
    const AFFECTED: usize;
    /// What sums are made of.
    type Integer: Integer;
    /// Integers that are kept for each object.
    type Terms: Copy + Default + Send + Sync;
    /// Those of an object with medoids at these distances, nearest first; infinity stands for those that do not exist.
    fn terms(&self, near: &[T; R]) -> Self::Terms;
    /// The object's term of the sum.
    fn value(terms: &Self::Terms) -> Self::Integer;
    /// Changes of the term where the nearest, or the second nearest, is removed.
    fn removal(terms: &Self::Terms) -> [Self::Integer; 2];
    /// Change of the term where a medoid at distance `d`, below the last of `near`, is put in for one that is not among the
    /// nearest; and what is to be added to that and to `removal` where it is put in for the nearest or the second nearest.
    fn change(&self, d: T, near: &[T; R], terms: &Self::Terms) -> (Self::Integer, [Self::Integer; 2]);
}

/// The sum of the distances to the nearest medoid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss<G> {
    pub grid: G,
}

impl<T: Entry, G: Units> Objective<T, 2> for Loss<G> {
    const AFFECTED: usize = 1;
    type Integer = G::Integer;
    type Terms = [G::Integer; 2];

    fn terms(&self, near: &[T; 2]) -> [G::Integer; 2] {
        // Without a second medoid its terms cancel, so any number does.
        near.map(|d| if d < T::INFINITY { self.grid.integer(d.wide()) } else { self.grid.infinity() })
    }

    #[inline(always)]
    fn value(terms: &[G::Integer; 2]) -> G::Integer {
        terms[0]
    }

    #[inline(always)]
    fn removal(terms: &[G::Integer; 2]) -> [G::Integer; 2] {
        [terms[1] - terms[0], G::Integer::ZERO]
    }

    #[inline(always)]
    fn change(&self, d: T, near: &[T; 2], terms: &[G::Integer; 2]) -> (G::Integer, [G::Integer; 2]) {
        let integer = self.grid.integer(d.wide());
        if d < near[0] {
            (integer - terms[0], [terms[0] - terms[1], G::Integer::ZERO])
        } else {
            (G::Integer::ZERO, [integer - terms[1], G::Integer::ZERO])
        }
    }
}

/// The sum of d1 / d2, distances to the nearest two medoids: the number of objects less the sum of their medoid
/// silhouettes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silhouette<G> {
    /// Of ratios, which are at most 1.
    grid: G,
}

impl<G: Units> Silhouette<G> {
    /// Of so many objects.
    pub fn of(objects: usize) -> Self {
        Self { grid: G::of_ratios(objects) }
    }

    /// The mean silhouette of objects whose ratios add up to `sum`.
    pub fn mean(&self, sum: G::Integer, objects: usize) -> f64 {
        1.0 - self.grid.value(sum) / objects as f64
    }

    /// nearer / farther; 0 where both are 0.
    #[inline(always)]
    pub fn ratio<T: Entry>(&self, nearer: T, farther: T) -> G::Integer {
        if nearer > T::default() {
            self.grid.integer(nearer.wide() / farther.wide())
        } else {
            G::Integer::ZERO
        }
    }
}

impl<T: Entry, G: Units> Objective<T, 3> for Silhouette<G> {
    const AFFECTED: usize = 2;
    type Integer = G::Integer;
    /// The ratios of the first to the second, of the second to the third, and of the first to the third.
    type Terms = [G::Integer; 3];

    fn terms(&self, near: &[T; 3]) -> [G::Integer; 3] {
        [self.ratio(near[0], near[1]), self.ratio(near[1], near[2]), self.ratio(near[0], near[2])]
    }

    #[inline(always)]
    fn value(terms: &[G::Integer; 3]) -> G::Integer {
        terms[0]
    }

    #[inline(always)]
    fn removal(terms: &[G::Integer; 3]) -> [G::Integer; 2] {
        [terms[1] - terms[0], terms[2] - terms[0]]
    }

    #[inline(always)]
    fn change(&self, d: T, near: &[T; 3], terms: &[G::Integer; 3]) -> (G::Integer, [G::Integer; 2]) {
        let &[first, second, _] = near;
        let with_first = if d < first { self.ratio(d, first) } else { self.ratio(first, d) };
        let with_second = if d < second { self.ratio(d, second) } else { self.ratio(second, d) };
        let all = if d < second { with_first - terms[0] } else { G::Integer::ZERO };
        (all, [with_second - terms[1] - all, with_first - terms[2] - all])
    }
}
