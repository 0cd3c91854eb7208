//! Places of rows in a space of up to three dimensions, where points that are near under the metric are near too.
//!
//! Rows of one to three columns are their own places, times a power of two that brings every coordinate to at most 1. With
//! haversine, places are those on the unit sphere, and nearness is the chord's. What a place decides is only that a point
//! is too far: its quick length is compared with one that is widened beyond all that roundings can do, and the metric in
//! `f64` decides the rest.

use super::problem::Problem;
use super::screen::DENORMAL;
use crate::data::Points;
use crate::data::frame::{exponent_above, power_of_two, widen_row};
use crate::distance::{Constants, Metric};

/// Coordinates; those beyond the space's dimensions are 0.
pub(super) type Place = [f64; 3];

/// Relative slack: thousands of roundings in `f64`.
const SLACK: f64 = 1.0 / (1_u64 << 40) as f64;
/// Absolute slack of lengths between places that were themselves rounded; places are within 1 of 0, or boxes of 2 wide.
const ROUNDED: f64 = 1.0 / (1_u64 << 44) as f64;
/// Absolute slack of all others: what underflows in a square is less.
const TINY: f64 = 1e-140;
/// How rows become places, and values of the metric lengths.
#[derive(Debug, Clone)]
pub(super) struct Space {
    metric: Metric,
    /// Dimensions.
    pub depth: usize,
    scale: f64,
    /// Lengths are the largest difference of coordinates; else Euclidean.
    is_box: bool,
    /// What lengths may be off by, whatever they are.
    slack: f64,
    /// Lengths of a box that repeats.
    pub period: Option<Place>,
}

impl Space {
    /// `None` where rows have no places, or nearness under the metric is another.
    pub fn of(problem: &Problem) -> Option<Self> {
        let (formula, columns) = (&problem.formula, problem.points.columns());
        let is_box = match (formula.metric, &formula.constants) {
            (Metric::SquaredEuclidean | Metric::Euclidean | Metric::Manhattan | Metric::Haversine, _) => {
                false
            }
            (Metric::Chebyshev, _) => true,
            // The largest difference is at most a Minkowski distance; the Euclidean distance is too up to p = 2.
            // Tiny powers multiply the roundings of the sum.
            (Metric::Minkowski, Constants::Power { p, weights: None }) if *p >= 0.01 => *p > 2.0,
            _ => return None,
        };
        if problem.farthest || columns > 3 {
            return None;
        }
        let tables = [Some(&problem.points), problem.other_queries()];
        let largest = |used: usize| tables.into_iter().flatten().map(move |points| largest_of(points, used));
        if formula.metric == Metric::Haversine {
            // Latitudes may be rounded beyond the poles. There the formula takes cosines for 0, so that neither it nor the
            // chord is a distance on the sphere: each is off by a few times as much.
            let beyond = largest(1).fold(0.0, f64::max) - std::f64::consts::FRAC_PI_2;
            let slack = ROUNDED + 8.0 * beyond.max(0.0);
            return Some(Self { metric: formula.metric, depth: 3, scale: 1.0, is_box, slack, period: None });
        }
        let largest = largest(columns).chain(formula.period.iter().flatten().copied()).fold(0.0, f64::max);
        let exponent = if largest == 0.0 { 0 } else { exponent_above(largest) };
        let scale = power_of_two((-exponent).clamp(-1000, 1000));
        let period = formula.period.as_ref().map(|lengths| {
            let mut period = [0.0; 3];
            period.iter_mut().zip(lengths).for_each(|(to, length)| *to = length * scale);
            period
        });
        let smallest = if formula.metric == Metric::SquaredEuclidean {
            2.0 * f64::MIN_POSITIVE.sqrt()
        } else {
            DENORMAL
        };
        let slack = smallest * scale + if period.is_some() { ROUNDED } else { TINY };
        Some(Self { metric: formula.metric, depth: columns, scale, is_box, slack, period })
    }

    /// The place of a row.
    pub fn place(&self, points: &Points, row: usize, wide: &mut [f64]) -> Place {
        widen_row(points, row, wide);
        if self.metric == Metric::Haversine {
            let (latitude, longitude) = (wide[0].sin_cos(), wide[1].sin_cos());
            let around = latitude.1.max(0.0);
            return [around * longitude.1, around * longitude.0, latitude.0];
        }
        let mut place = [0.0; 3];
        place.iter_mut().zip(wide).for_each(|(to, value)| *to = *value * self.scale);
        place
    }

    /// The difference of two coordinates along an axis.
    #[inline(always)]
    fn difference(&self, axis: usize, a: f64, b: f64) -> f64 {
        let difference = a - b;
        match &self.period {
            Some(period) if axis < self.depth => {
                difference - period[axis] * (difference / period[axis]).round()
            }
            _ => difference,
        }
    }

    /// The length between two places, squared unless it is a largest difference: to be compared with [`Self::limit`].
    #[inline(always)]
    pub fn quick(&self, a: &Place, b: &Place) -> f64 {
        let [x, y, z] = [0, 1, 2].map(|axis| self.difference(axis, a[axis], b[axis]));
        if self.is_box { x.abs().max(y.abs()).max(z.abs()) } else { x * x + y * y + z * z }
    }

    /// No quick length of two places that are at most `length` apart is above it.
    pub fn limit(&self, length: f64) -> f64 {
        if self.is_box { length } else { length * length * (1.0 + SLACK) }
    }

    /// The length that a quick one stands for.
    pub fn length_of_quick(&self, quick: f64) -> f64 {
        self.widened(if self.is_box { quick } else { quick.sqrt() })
    }

    /// No two places are farther apart than that where the metric's value in `f64` is at most `value`.
    pub fn length(&self, value: f64) -> f64 {
        self.widened(match self.metric {
            Metric::SquaredEuclidean => value.max(0.0).sqrt() * self.scale,
            Metric::Haversine => 2.0 * (0.5 * value.clamp(0.0, std::f64::consts::PI)).sin(),
            _ => value * self.scale,
        })
    }

    /// Whether the order of lengths is that of the metric's values, up to the slack.
    pub fn is_ordered(&self) -> bool {
        !matches!(self.metric, Metric::Manhattan | Metric::Minkowski)
    }

    fn widened(&self, length: f64) -> f64 {
        length * (1.0 + SLACK) + self.slack
    }
}

/// The largest magnitude in the first `used` columns of a table.
fn largest_of(points: &Points, used: usize) -> f64 {
    use rayon::prelude::*;
    let row = |wide: &mut Vec<f64>, row: usize| {
        widen_row(points, row, wide);
        wide.iter().take(used).fold(0.0_f64, |largest, value| largest.max(value.abs()))
    };
    let rows = (0..points.rows()).into_par_iter().with_min_len(1024);
    rows.map_init(|| vec![0.0; points.columns()], row).reduce(|| 0.0, f64::max)
}
