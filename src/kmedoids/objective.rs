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
use super::grid::Grid;

/// A sum to minimise. `R` is how many of the nearest medoids its terms need.
pub(super) trait Objective<T: Entry, const R: usize>: Copy + Send + Sync {
    /// How many of the nearest medoids change the term when they are removed.
    const AFFECTED: usize;
    /// Integers that are kept for each object.
    type Terms: Copy + Default + Send + Sync;
    /// Those of an object with medoids at these distances, nearest first; infinity stands for those that do not exist.
    fn terms(&self, near: &[T; R]) -> Self::Terms;
    /// The object's term of the sum.
    fn value(terms: &Self::Terms) -> i64;
    /// Changes of the term where the nearest, or the second nearest, is removed.
    fn removal(terms: &Self::Terms) -> [i64; 2];
    /// Change of the term where a medoid at distance `d`, below the last of `near`, is put in for one that is not among the
    /// nearest; and what is to be added to that and to `removal` where it is put in for the nearest or the second nearest.
    fn change(&self, d: T, near: &[T; R], terms: &Self::Terms) -> (i64, [i64; 2]);
}

/// The sum of the distances to the nearest medoid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    pub grid: Grid,
}

impl<T: Entry> Objective<T, 2> for Loss {
    const AFFECTED: usize = 1;
    type Terms = [i64; 2];

    fn terms(&self, near: &[T; 2]) -> [i64; 2] {
        // Without a second medoid its terms cancel, so any number does.
        near.map(|d| if d < T::INFINITY { self.grid.integer(d.wide()) } else { 0 })
    }

    #[inline(always)]
    fn value(terms: &[i64; 2]) -> i64 {
        terms[0]
    }

    #[inline(always)]
    fn removal(terms: &[i64; 2]) -> [i64; 2] {
        [terms[1] - terms[0], 0]
    }

    #[inline(always)]
    fn change(&self, d: T, near: &[T; 2], terms: &[i64; 2]) -> (i64, [i64; 2]) {
        let integer = self.grid.integer(d.wide());
        if d < near[0] {
            (integer - terms[0], [terms[0] - terms[1], 0])
        } else {
            (0, [integer - terms[1], 0])
        }
    }
}

/// The sum of d1 / d2, distances to the nearest two medoids: the number of objects less the sum of their medoid
/// silhouettes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silhouette {
    /// Of ratios, which are at most 1.
    grid: Grid,
}

impl Silhouette {
    /// Of so many objects.
    pub fn of(objects: usize) -> Self {
        Self { grid: Grid::new(1.0, objects as u64) }
    }

    /// The mean silhouette of objects whose ratios add up to `sum`.
    pub fn mean(&self, sum: i64, objects: usize) -> f64 {
        1.0 - self.grid.value(sum) / objects as f64
    }

    /// nearer / farther; 0 where both are 0.
    #[inline(always)]
    pub fn ratio<T: Entry>(&self, nearer: T, farther: T) -> i64 {
        if nearer > T::default() { self.grid.integer(nearer.wide() / farther.wide()) } else { 0 }
    }
}

impl<T: Entry> Objective<T, 3> for Silhouette {
    const AFFECTED: usize = 2;
    /// The ratios of the first to the second, of the second to the third, and of the first to the third.
    type Terms = [i64; 3];

    fn terms(&self, near: &[T; 3]) -> [i64; 3] {
        [self.ratio(near[0], near[1]), self.ratio(near[1], near[2]), self.ratio(near[0], near[2])]
    }

    #[inline(always)]
    fn value(terms: &[i64; 3]) -> i64 {
        terms[0]
    }

    #[inline(always)]
    fn removal(terms: &[i64; 3]) -> [i64; 2] {
        [terms[1] - terms[0], terms[2] - terms[0]]
    }

    #[inline(always)]
    fn change(&self, d: T, near: &[T; 3], terms: &[i64; 3]) -> (i64, [i64; 2]) {
        let &[first, second, _] = near;
        let with_first = if d < first { self.ratio(d, first) } else { self.ratio(first, d) };
        let with_second = if d < second { self.ratio(d, second) } else { self.ratio(second, d) };
        let all = if d < second { with_first - terms[0] } else { 0 };
        (all, [with_second - terms[1] - all, with_first - terms[2] - all])
    }
}
