//! Which screen a call has, and the rows that it refuses.

use super::estimate::Estimate;
use super::plan::Pace;
use super::problem::Problem;
use super::screen::{Screen, in_blocks};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{self, LARGEST_INPUT};
use crate::distance::bound::Arithmetic;
use crate::distance::{Domain, Metric};
use crate::error::{Error, Result};

/// What leaves out pairs that are surely not wanted, before others are measured in `f64`.
#[derive(Debug)]
pub(super) enum Screening {
    /// Tiles of products.
    Products(Screen),
    /// Values of the metric with their error.
    Estimates(Estimate),
}

impl Screening {
    /// Refuses what cannot be measured, and chooses the screen. `None` where every pair is measured in `f64`.
    pub fn new(problem: &Problem, arithmetics: &[Arithmetic]) -> Result<Option<Self>> {
        let Problem { points, formula, cancel, .. } = problem;
        let views = (points.view(), problem.other_queries().map(Points::view));
        let named: Vec<(&'static str, &Points)> =
            std::iter::once(("points", &views.0)).chain(views.1.as_ref().map(|q| ("queries", q))).collect();
        if formula.metric.domain() == Domain::Missing {
            named.iter().try_for_each(|(name, points)| check_present(name, points, cancel))?;
            return Ok(None);
        }
        let scan = frame::scan_all(&named, cancel)?;
        if let Some((is_refused, expected)) = refused_rows(formula.metric) {
            named
                .iter()
                .try_for_each(|(name, points)| check_rows(name, points, is_refused, expected, cancel))?;
        }
        if let Some(screen) = Screen::new(problem, &scan)? {
            return Ok(Some(Self::Products(screen)));
        }
        for &arithmetic in arithmetics {
            if let Some(estimate) = Estimate::new(problem, &named, &scan, arithmetic)? {
                return Ok(Some(Self::Estimates(estimate)));
            }
        }
        Ok(None)
    }

    /// How fast the CPU searches without a grid.
    pub fn pace(screening: Option<&Self>, metric: Metric) -> Pace {
        match screening {
            Some(Self::Products(_)) => Pace::PRODUCTS,
            Some(Self::Estimates(_)) if metric == Metric::Haversine => Pace::ANGLES,
            Some(Self::Estimates(_)) => Pace::ESTIMATES,
            None => Pace::MEASURED,
        }
    }

    /// Whether a GPU can screen.
    #[cfg(feature = "gpu")]
    pub fn suits_gpus(&self) -> bool {
        match self {
            Self::Products(_) => true,
            Self::Estimates(estimate) => estimate.suits_gpus(),
        }
    }
}

/// Rows that a metric has no value for, and what it expects.
type Refusal = (fn(&[f64]) -> bool, &'static str);

fn refused_rows(metric: Metric) -> Option<Refusal> {
    let is_zero = |row: &[f64]| row.iter().all(|&value| value == 0.0);
    let is_equal = |row: &[f64]| row.iter().all(|&value| value == row[0]);
    match metric {
        Metric::Cosine => Some((is_zero, "a row that is not all zeros: cosine needs a direction")),
        Metric::Correlation => {
            Some((is_equal, "a row whose values are not all equal: correlation needs a direction"))
        }
        Metric::JensenShannon | Metric::KullbackLeibler => {
            Some((is_zero, "a row that is not all zeros: its values are divided by their sum"))
        }
        _ => None,
    }
}

/// Refuses what the scan of the frame refuses, but NaN.
fn check_present(argument: &'static str, points: &Points, cancel: &Cancel) -> Result<()> {
    let check = |row: usize, wide: &[f64]| {
        let is_wrong = |value: &f64| !value.is_nan() && !(value.abs() <= LARGEST_INPUT);
        let Some(column) = wide.iter().position(is_wrong) else { return Ok(0.0) };
        let got = wide[column];
        let expected = if got.is_finite() {
            "a magnitude of at most 1e300"
        } else {
            "a finite number, or NaN for what is missing"
        };
        Err(Error::Value { argument, row, column, expected, got })
    };
    in_blocks(points, cancel, check).map(drop)
}

fn check_rows(
    argument: &'static str,
    points: &Points,
    is_refused: fn(&[f64]) -> bool,
    expected: &'static str,
    cancel: &Cancel,
) -> Result<()> {
    let check = |row: usize, wide: &[f64]| {
        if is_refused(wide) {
            return Err(Error::Value { argument, row, column: 0, expected, got: wide[0] });
        }
        Ok(0.0)
    };
    in_blocks(points, cancel, check).map(drop)
}
