//! The screen of the metrics that are no plain product: the values that the distances of this crate measure, in `f32` (`f64`
//! for tables that need it), with the error that they may have.
//!
//! A value v stands within `r d + a` of the metric's value d in `f64` ([`crate::distance::bound`]). Tiles order columns by
//! `T = v`, or `T = -v` where the farthest are wanted, and [`crate::tile::collect::lists`] says which columns may be wanted. Values
//! that the type does not hold, and infinite ones, become the largest that lists know: they are farther than all others, and
//! among themselves decided in `f64`.

use ndarray::{Array2, ArrayView2};

use super::problem::Problem;
use super::screen::Reach;
use crate::data::Points;
use crate::data::frame::{Scan, widen_row};
use crate::distance::bound::{Arithmetic, Bound, Spread};
use crate::error::Result;
use crate::tile::bound::f32::NO_LIMIT;

/// More than `f64` rounds where limits are computed.
const ROUNDED_UP: f64 = 1.0 + 1e-6;

/// Estimated values of one call, and their error.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    bound: Bound,
    arithmetic: Arithmetic,
    farthest: bool,
}

impl Estimate {
    /// `None` where values have no bound that is of use: every pair is measured in `f64` then.
    pub fn new(
        problem: &Problem,
        tables: &[(&'static str, &Points)],
        scan: &Scan,
        arithmetic: Arithmetic,
    ) -> Result<Option<Self>> {
        let Problem { points, formula, farthest, has_bound, cancel, .. } = problem;
        if formula.period.is_some() {
            return Ok(None);
        }
        let spread = Spread::of(tables, scan, cancel)?;
        let bound = Bound::of(formula.metric, &formula.constants, points.columns(), arithmetic, &spread)?;
        Ok(bound.map(|Bound { relative, absolute }| {
            let share = if *has_bound { ROUNDED_UP } else { 0.0 };
            let bound = Bound { relative: share * relative, absolute: share * absolute };
            Self { bound, arithmetic, farthest: *farthest }
        }))
    }

    /// What limits are raised by: a share of their magnitude, and an absolute part.
    pub fn slope_and_gap(&self) -> (f64, f64) {
        let Bound { relative, absolute } = self.bound;
        let slope = 2.0 * relative / (1.0 - relative);
        (slope, 2.0 * absolute * (1.0 + slope))
    }

    /// The values of T that belong to a radius. What is as far as lists know is not surely within any.
    pub fn reach(&self, radius: f64) -> Reach {
        let Bound { relative, absolute } = self.bound;
        let inner = radius * (1.0 - relative) - absolute;
        let farthest = f64::from(NO_LIMIT.next_down());
        Reach { outer: radius * (1.0 + relative) + absolute, inner: inner.min(farthest) }
    }

    /// Makes T of values.
    pub fn order(&self, values: &mut [f32]) {
        let sign = if self.farthest { -1.0 } else { 1.0 };
        values.iter_mut().for_each(|value| *value = sign * value.min(NO_LIMIT));
    }

    /// Whether the bound is that of a GPU's values.
    #[cfg(feature = "gpu")]
    pub fn suits_gpus(&self) -> bool {
        matches!(self.arithmetic, Arithmetic::Gpu { .. })
    }

    /// Whether values are measured in `f64`.
    pub fn is_double(&self) -> bool {
        self.arithmetic == Arithmetic::Double
    }
}

/// Some rows of a table: a view where they follow each other, else a copy that holds them exactly.
pub(super) enum RowSubset<'a> {
    View(Points<'a>),
    F32(Array2<f32>),
    F64(Array2<f64>),
    U8(Array2<u8>),
    U32(Array2<u32>),
}

impl<'a> RowSubset<'a> {
    /// The rows of these numbers, which ascend. A metric of packed bits keeps their type; else they are `f64` if `is_double`.
    pub fn new(points: &'a Points<'_>, numbers: &[u32], is_double: bool) -> Self {
        let (first, count) = (numbers.first().map_or(0, |&first| first as usize), numbers.len());
        if numbers.last().is_none_or(|&last| last as usize + 1 == first + count) {
            return Self::View(points.slice_rows(first, count));
        }
        match points {
            Points::U8(view) => Self::U8(picked(view, numbers)),
            Points::U32(view) => Self::U32(picked(view, numbers)),
            _ if is_double => Self::F64(widened(points, numbers, |value| value)),
            _ => Self::F32(widened(points, numbers, |value| value as f32)),
        }
    }

    pub fn points(&self) -> Points<'_> {
        match self {
            Self::View(points) => points.view(),
            Self::F32(rows) => rows.view().into(),
            Self::F64(rows) => rows.view().into(),
            Self::U8(rows) => rows.view().into(),
            Self::U32(rows) => rows.view().into(),
        }
    }
}

fn picked<T: Copy>(rows: &ArrayView2<T>, numbers: &[u32]) -> Array2<T> {
    Array2::from_shape_fn((numbers.len(), rows.ncols()), |(row, column)| {
        rows[[numbers[row] as usize, column]]
    })
}

fn widened<T: Copy + Default>(points: &Points, numbers: &[u32], of: impl Fn(f64) -> T) -> Array2<T> {
    let mut wide = vec![0.0; points.columns()];
    let mut rows = Array2::default((numbers.len(), points.columns()));
    for (mut row, &number) in rows.outer_iter_mut().zip(numbers) {
        widen_row(points, number as usize, &mut wide);
        row.iter_mut().zip(&wide).for_each(|(to, &value)| *to = of(value));
    }
    rows
}
