//! The input of every call, and what its results are held in.

use super::blocks::Shape;
use super::metric::{Domain, Metric};
use crate::data::{ElementType, Points};
use crate::error::{Error, Result};

/// The input: tables that are not empty and have equally many columns.
pub(super) struct Tables<'a> {
    pub(super) x: Points<'a>,
    /// `None`: X itself.
    pub(super) y: Option<Points<'a>>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(x: &'a Points<'_>, y: Option<&'a Points<'_>>) -> Result<Self> {
        x.check_not_empty("x")?;
        if let Some(y) = y {
            y.check_not_empty("y")?;
            if x.columns() != y.columns() {
                return Err(Error::shape("y", format!("{} columns, as x has", x.columns()), y.columns()));
            }
        }
        Ok(Self { x: x.view(), y: y.map(Points::view) })
    }

    /// The table that columns of the result belong to.
    pub(super) fn y(&self) -> &Points<'a> {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Those that were given, with their names.
    pub(super) fn named(&self) -> Vec<(&'static str, &Points<'a>)> {
        std::iter::once(("x", &self.x)).chain(self.y.as_ref().map(|y| ("y", y))).collect()
    }

    pub(super) fn shape(&self) -> Shape {
        Shape { rows: self.x.rows(), columns: self.y().rows(), depth: self.x.columns() }
    }

    /// The same of both tables, X first.
    pub(super) fn each<R>(
        &self,
        of: impl Fn(&'static str, &Points<'a>) -> Result<R>,
    ) -> Result<(R, Option<R>)> {
        Ok((of("x", &self.x)?, self.y.as_ref().map(|y| of("y", y)).transpose()?))
    }

    pub(super) fn need_f64(&self, metric: Metric) -> bool {
        needs_f64(metric, &self.x, self.y.as_ref())
    }
}

/// Whether results of a metric for these tables are `f64`: what a [`Matrix`](super::Matrix), and the blocks of [`stream`](super::stream), will hold.
/// Those of packed bits are not.
pub fn needs_f64(metric: Metric, x: &Points<'_>, y: Option<&Points<'_>>) -> bool {
    use ElementType::{F64, I32, I64, U32, U64};
    if metric.domain() == Domain::Packed {
        return false;
    }
    let is_wide = |element| matches!(element, F64 | U32 | I32 | U64 | I64);
    is_wide(x.element_type()) || y.is_some_and(|y| is_wide(y.element_type()))
}
