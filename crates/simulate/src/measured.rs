//! Costs of adapters from measured points.

use super::cost::{LoraCost, SegmentShape};
use crate::error::{Error, Result};

/// One timed batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredPoint {
    /// Rows of the batch.
    pub rows: u64,
    /// Distinct adapters among them.
    pub segments: u64,
    /// Sum of the ranks over rows: the multiplications.
    pub total_rank_rows: u64,
    /// Sum of the ranks over distinct adapters: the bytes of weights.
    pub total_rank: u64,
    /// Seconds it took.
    pub seconds: f64,
}

/// Numbers of a [`MeasuredPoint`] that a cost is made of, with a constant first.
const TERMS: usize = 5;

impl MeasuredPoint {
    fn terms(&self) -> [f64; TERMS] {
        let counts = [1, self.rows, self.segments, self.total_rank, self.total_rank_rows];
        counts.map(|count| count as f64)
    }
}

/// Seconds of a batch as a sum of what it has to do:
/// `launch + row * rows + segment * segments + rank * total_rank + rank_row * total_rank_rows`, no term below zero.
///
/// Between measured points this interpolates; beyond them it assumes that costs go on growing in proportion, so points
/// should reach from one row to the rows of a prefill.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FittedCost {
    /// Launching, whatever the batch.
    pub launch_seconds: f64,
    /// Per row: reading x, reading and writing y.
    pub row_seconds: f64,
    /// Per distinct adapter.
    pub segment_seconds: f64,
    /// Per rank of a distinct adapter: reading its weights.
    pub rank_seconds: f64,
    /// Per rank of a row: multiplying.
    pub rank_row_seconds: f64,
    /// Root mean square over the points of (fitted - measured) / measured.
    pub mean_residual: f64,
    /// The largest of those, without its sign.
    pub worst_residual: f64,
}

impl FittedCost {
    /// The same for `count` of what was measured, such as the projections of all layers.
    pub fn times(self, count: f64) -> Self {
        Self {
            launch_seconds: count * self.launch_seconds,
            row_seconds: count * self.row_seconds,
            segment_seconds: count * self.segment_seconds,
            rank_seconds: count * self.rank_seconds,
            rank_row_seconds: count * self.rank_row_seconds,
            ..self
        }
    }

    fn of(&self, terms: [f64; TERMS]) -> f64 {
        let factors = [
            self.launch_seconds,
            self.row_seconds,
            self.segment_seconds,
            self.rank_seconds,
            self.rank_row_seconds,
        ];
        factors.iter().zip(terms).map(|(factor, term)| factor * term).sum()
    }
}

impl LoraCost for FittedCost {
    fn seconds(&self, segments: &[SegmentShape]) -> f64 {
        if segments.is_empty() {
            return 0.0;
        }
        let sum = |count: fn(&SegmentShape) -> u64| segments.iter().map(count).sum();
        let point = MeasuredPoint {
            rows: sum(|segment| segment.rows),
            segments: segments.len() as u64,
            total_rank_rows: sum(|segment| u64::from(segment.rank) * segment.rows),
            total_rank: sum(|segment| u64::from(segment.rank)),
            seconds: 0.0,
        };
        self.of(point.terms())
    }
}

/// The baseline: one launch pair per adapter, so a batch costs what its segments cost one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoopCost {
    /// Cost of one segment alone.
    pub each: FittedCost,
}

impl LoraCost for LoopCost {
    fn seconds(&self, segments: &[SegmentShape]) -> f64 {
        segments.iter().map(|segment| self.each.seconds(std::slice::from_ref(segment))).sum()
    }
}

/// The sum of [`FittedCost`] nearest to the points: least squares of the relative residuals, each factor at least zero.
/// Terms that the points cannot tell apart (such as ranks and adapters where all ranks are equal) leave out the later
/// one.
///
/// # Errors
/// [`Error::Parameter`] without points, or for a time that is not a positive number.
pub fn fit(points: &[MeasuredPoint]) -> Result<FittedCost> {
    if points.is_empty() {
        return Err(Error::parameter("points", "at least one measured point", "none"));
    }
    if let Some(place) = points.iter().position(|point| !(point.seconds > 0.0 && point.seconds.is_finite())) {
        let rule = format!("a positive number (point {place})");
        return Err(Error::parameter("seconds", rule, points[place].seconds));
    }
    // The best factors that are not negative are least squares on some of the terms: all choices are tried.
    let mut best: Option<FittedCost> = None;
    for choice in 1..1_u32 << TERMS {
        let Some(factors) = least_squares(points, choice) else { continue };
        if factors.iter().all(|&factor| factor >= 0.0) {
            let fitted = with_residuals(factors, points);
            // A choice with more terms has to be better by more than rounding.
            let is_better =
                |other: &FittedCost| fitted.mean_residual < other.mean_residual * (1.0 - 1e-9) - 1e-12;
            if best.as_ref().is_none_or(is_better) {
                best = Some(fitted);
            }
        }
    }
    best.ok_or_else(|| Error::parameter("points", "points that a sum of costs fits", format!("{points:?}")))
}

fn with_residuals(factors: [f64; TERMS], points: &[MeasuredPoint]) -> FittedCost {
    let [launch_seconds, row_seconds, segment_seconds, rank_seconds, rank_row_seconds] = factors;
    let fitted = FittedCost {
        launch_seconds,
        row_seconds,
        segment_seconds,
        rank_seconds,
        rank_row_seconds,
        ..FittedCost::default()
    };
    let residuals: Vec<f64> =
        points.iter().map(|point| fitted.of(point.terms()) / point.seconds - 1.0).collect();
    let squares: f64 = residuals.iter().map(|residual| residual * residual).sum();
    let mean_residual = (squares / residuals.len() as f64).sqrt();
    let worst_residual = residuals.iter().fold(0.0, |worst: f64, residual| worst.max(residual.abs()));
    FittedCost { mean_residual, worst_residual, ..fitted }
}

/// Factors of the chosen terms, 0 for the others; none where the points cannot tell the terms apart.
fn least_squares(points: &[MeasuredPoint], choice: u32) -> Option<[f64; TERMS]> {
    let chosen: Vec<usize> = (0..TERMS).filter(|term| choice >> term & 1 == 1).collect();
    if chosen.len() > points.len() {
        return None;
    }
    // Columns of length 1, so that one threshold tells dependent ones.
    let mut columns: Vec<Vec<f64>> = chosen
        .iter()
        .map(|&term| points.iter().map(|point| point.terms()[term] / point.seconds).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let lengths: Vec<f64> = columns.iter().map(|column| dot(column, column).sqrt()).collect();
    if lengths.iter().any(|&length| !(length > 0.0)) {
        return None;
    }
    for (column, length) in columns.iter_mut().zip(&lengths) {
        column.iter_mut().for_each(|value| *value /= length);
    }
    // Gram-Schmidt, with the target as the last column.
    let mut target = vec![1.0; points.len()];
    let count = columns.len();
    let mut upper = vec![vec![0.0; count]; count];
    let mut right = vec![0.0; count];
    for k in 0..count {
        let length = dot(&columns[k], &columns[k]).sqrt();
        if !(length > 1e-7) {
            return None;
        }
        upper[k][k] = length;
        columns[k].iter_mut().for_each(|value| *value /= length);
        let unit = columns[k].clone();
        let reduce = |vector: &mut [f64]| {
            let share = dot(&unit, vector);
            vector.iter_mut().zip(&unit).for_each(|(value, unit)| *value -= share * unit);
            share
        };
        for later in k + 1..count {
            upper[k][later] = reduce(&mut columns[later]);
        }
        right[k] = reduce(&mut target);
    }
    let mut factors = [0.0; TERMS];
    for k in (0..count).rev() {
        let known: f64 = (k + 1..count).map(|later| upper[k][later] * right[later]).sum();
        right[k] = (right[k] - known) / upper[k][k];
        factors[chosen[k]] = right[k] / lengths[k];
    }
    Some(factors)
}

/// Figures of one LoRA operator on an A100 of 80 GB as Punica's authors published them (MLSys 2024, read in a summary):
/// 42 microseconds at batch 1 for every rank, 72, 75, 89 and 118 at batch 64 with 64 adapters of rank 8, 16, 32 and 64,
/// and 42 to 45 at batch 64 where adapters are shared (43.5 is taken for one adapter and for eight). Times include the
/// launch by the host.
pub fn punica_a100_points() -> Vec<MeasuredPoint> {
    let ranks = [(8, 72e-6), (16, 75e-6), (32, 89e-6), (64, 118e-6)];
    let point = |rank: u64, rows: u64, segments: u64, seconds: f64| MeasuredPoint {
        rows,
        segments,
        total_rank_rows: rank * rows,
        total_rank: rank * segments,
        seconds,
    };
    let of_rank = |(rank, distinct)| {
        [
            point(rank, 1, 1, 42e-6),
            point(rank, 64, 64, distinct),
            point(rank, 64, 8, 43.5e-6),
            point(rank, 64, 1, 43.5e-6),
        ]
    };
    ranks.into_iter().flat_map(of_rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(cost: &FittedCost) -> Vec<MeasuredPoint> {
        let shapes =
            [(1, 1, 16), (2, 1, 8), (64, 64, 16), (64, 1, 16), (64, 8, 64), (512, 4, 32), (33, 5, 4)];
        let each = |(rows, segments, rank)| {
            let mut point = MeasuredPoint {
                rows,
                segments,
                total_rank_rows: rank * rows,
                total_rank: rank * segments,
                seconds: 1.0,
            };
            point.seconds = cost.of(point.terms());
            point
        };
        shapes.into_iter().map(each).collect()
    }

    #[test]
    fn a_fit_finds_the_factors_that_made_the_points() {
        let made = FittedCost {
            launch_seconds: 4e-5,
            row_seconds: 1e-7,
            segment_seconds: 3e-7,
            rank_seconds: 1e-8,
            rank_row_seconds: 2e-10,
            ..FittedCost::default()
        };
        let fitted = fit(&points(&made)).unwrap();
        assert!(fitted.worst_residual < 1e-9, "{fitted:?}");
        for (got, expected) in [
            (fitted.launch_seconds, made.launch_seconds),
            (fitted.segment_seconds, made.segment_seconds),
            (fitted.rank_row_seconds, made.rank_row_seconds),
        ] {
            assert!((got / expected - 1.0).abs() < 1e-6, "{fitted:?}");
        }
    }

    #[test]
    fn no_factor_is_negative_and_the_residual_is_said() {
        let made = FittedCost { launch_seconds: 4e-5, rank_seconds: 1e-8, ..FittedCost::default() };
        let mut noisy = points(&made);
        noisy.iter_mut().enumerate().for_each(|(k, point)| point.seconds *= 1.0 + 0.1 * (k % 3) as f64);
        let fitted = fit(&noisy).unwrap();
        let FittedCost {
            launch_seconds, row_seconds, segment_seconds, rank_seconds, rank_row_seconds, ..
        } = fitted;
        let factors = [launch_seconds, row_seconds, segment_seconds, rank_seconds, rank_row_seconds];
        assert!(factors.iter().all(|&factor| factor >= 0.0), "{fitted:?}");
        assert!(fitted.worst_residual >= fitted.mean_residual && fitted.mean_residual > 0.0);
        assert!(fitted.worst_residual < 0.2, "{fitted:?}");
        assert_eq!(fitted.times(2.0).launch_seconds, 2.0 * launch_seconds);
    }

    #[test]
    fn too_little_is_refused_and_one_point_is_enough() {
        assert!(fit(&[]).is_err());
        let point =
            MeasuredPoint { rows: 4, segments: 2, total_rank_rows: 64, total_rank: 32, seconds: 1e-4 };
        assert!(fit(&[MeasuredPoint { seconds: f64::NAN, ..point }]).is_err());
        assert_eq!(fit(&[point]).unwrap().launch_seconds, 1e-4);
    }

    #[test]
    fn the_published_points_fit_within_fifteen_per_cent() {
        let fitted = fit(&punica_a100_points()).unwrap();
        assert!(fitted.worst_residual < 0.15, "{fitted:?}");
        let segments = |count: u32| -> Vec<SegmentShape> {
            (0..count)
                .map(|adapter| SegmentShape { adapter, rank: 16, rows: 64 / u64::from(count) })
                .collect()
        };
        let (loops, one) = (LoopCost { each: fitted }, fitted.seconds(&segments(1)));
        assert!((loops.seconds(&segments(1)) / one - 1.0).abs() < 1e-12);
        assert!(loops.seconds(&segments(64)) > 20.0 * one);
        assert!(fitted.seconds(&segments(64)) < 3.0 * one);
        assert_eq!(loops.seconds(&[]), 0.0);
    }
}
