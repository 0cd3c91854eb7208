//! Whether the grid kept the digits that a search needs. It loses what lies far below the largest dissimilarity, and that
//! does no harm where sums are much larger than what was lost in them.
//!
//! What was lost is at most half a unit for each distance to a medoid that is no multiple of the unit. The sums are kept
//! where that is at most 2^-30 of them: of the sum over all objects, of that of each cluster, by which its medoid is
//! chosen, and of that of the nearer half of each cluster, which decides where a few objects are far from all others.
//! Distances as large as the largest, such as a number that stands for "not connected", are left out of the sums of
//! clusters: they cancel between candidates. Sums only fall in a search, so those it ends with are the ones that most was
//! lost in. A loss of 0 is the least there is, whatever was lost on the way to it.

use super::entry::Entry;
use super::exact::Span;
use super::grid::Grid;
use super::integer::Units;
use crate::data::frame::exponent_above;

/// Most of a sum that may be lost: 2^-30.
const TOLERATED: f64 = 1.0 / (1_u64 << 30) as f64;

/// One object's term of a sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    pub value: f64,
    pub label: u32,
    pub is_medoid: bool,
}

/// The terms of the loss: distances to the nearest medoids, whose columns are `chosen`.
pub(super) fn of_distances<'a, T: Entry>(
    chosen: &'a [T],
    labels: &'a [u32],
    medoids: &'a [usize],
) -> impl Iterator<Item = Term> + 'a {
    labels.iter().enumerate().map(move |(object, &label)| Term {
        value: chosen[label as usize * labels.len() + object].wide(),
        label,
        is_medoid: medoids[label as usize] == object,
    })
}

/// The ratios of distances to the nearest two medoids.
pub(super) fn of_ratios<'a, T: Entry>(
    chosen: &'a [T],
    labels: &'a [u32],
    medoids: &'a [usize],
) -> impl Iterator<Item = Term> + 'a {
    of_distances(chosen, labels, medoids).enumerate().map(move |(object, nearest)| {
        let others = chosen.chunks_exact(labels.len()).enumerate();
        let others = others.filter(|(place, _)| *place != nearest.label as usize);
        let second = others.fold(f64::INFINITY, |least, (_, column)| least.min(column[object].wide()));
        let ratio = if nearest.value > 0.0 { nearest.value / second } else { 0.0 };
        Term { value: ratio, ..nearest }
    })
}

/// Terms, and how many of them a grid does not hold as they are.
#[derive(Default, Clone, Copy)]
struct Part {
    sum: f64,
    rounded: usize,
}

impl Part {
    fn with(self, (magnitude, is_rounded): (f64, bool)) -> Self {
        Self { sum: self.sum + magnitude, rounded: self.rounded + usize::from(is_rounded) }
    }

    fn keeps(self, unit: f64) -> bool {
        self.rounded == 0 || 0.5 * unit * self.rounded as f64 <= TOLERATED * self.sum
    }
}

/// Whether sums of these terms keep their digits on a grid, and in `f64`; `largest` is the largest magnitude of any.
pub(super) fn are_kept(terms: impl Iterator<Item = Term>, clusters: usize, grid: Grid, largest: f64) -> bool {
    let unit = grid.value(1);
    let rounding = if largest > 0.0 { exponent_above(largest) - 54 } else { 0 };
    let is_rounded =
        |value: f64| grid.value(grid.integer(value)) != value && !Span::of(&[value]).is_multiple_of(rounding);
    let mut all = Part::default();
    let mut of_cluster: Vec<Vec<(f64, bool)>> = vec![Vec::new(); clusters];
    for Term { value, label, is_medoid } in terms {
        let term = (value.abs(), is_rounded(value));
        all = all.with(term);
        // What a medoid is from itself is 0 but for rounding.
        if term.0 != largest && !is_medoid {
            of_cluster[label as usize].push(term);
        }
    }
    let is_kept = |members: &mut Vec<(f64, bool)>| {
        let sum = |members: &[(f64, bool)]| members.iter().copied().fold(Part::default(), Part::with);
        let half = members.len().div_ceil(2);
        let whole = sum(members);
        if whole.rounded == 0 {
            return true;
        }
        members.select_nth_unstable_by(half - 1, |a, b| a.0.total_cmp(&b.0));
        whole.keeps(unit) && sum(&members[..half]).keeps(unit)
    };
    all.sum < f64::INFINITY && all.keeps(unit) && of_cluster.iter_mut().all(is_kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[f64], largest: f64) -> bool {
        let terms = values.iter().enumerate();
        let terms = terms.map(|(object, &value)| Term { value, label: 0, is_medoid: object == 0 });
        are_kept(terms, 1, Grid::new(largest, values.len() as u64), largest)
    }

    #[test]
    fn digits_are_kept_where_they_are_few_of_a_sum() {
        assert!(kept(&[0.0, 0.1, 0.2, 0.3, 0.7], 1.0));
        assert!(kept(&[1e-17, 0.1, 0.2, 0.3, 1e-16], 1.0), "one of many does no harm");
        assert!(kept(&[0.0, 0.5_f64.powi(53), 0.5], 1.0), "rounding of zeros does no harm");
        assert!(kept(&[0.0, 1.0, 2.0, 3.0, 4.0], 1e15), "whole numbers are held");
        assert!(kept(&[0.0, 0.0, 0.0], 1e20));
        assert!(!kept(&[0.0, 0.1, 0.2, 0.3, 0.7], 1e12));
        assert!(!kept(&[0.0, 0.1, 0.2, 1e20, 1e20, 1e20], 1e20), "the largest decide nothing");
        assert!(!kept(&[0.0, 0.1, 0.2, 0.3, 0.7, 1e15], 1e20), "one is far from all");
        assert!(!kept(&[0.0, 0.1], 1e20), "a loss keeps its digits");
        assert!(!kept(&[0.0, 1e308, 1e308, 1e308], 1.7e308), "sums are numbers of an f64");
    }
}
