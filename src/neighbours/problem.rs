//! One call, checked: its tables, its metric, and which queries meet which points.

use super::filter::Filters;
use super::judge::Judge;
use super::order::Order;
use super::params::Rules;
use super::reference::Formula;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{raw_row, widen_row};
use crate::distance::bits::unpacked;
use crate::distance::{self, Domain, Metric, domain, needs_f64};
use crate::error::{Error, Result};

/// The tables of a call.
pub(super) struct Problem<'a> {
    pub points: Points<'a>,
    /// `None`: the points themselves.
    queries: Option<Points<'a>>,
    pub formula: Formula,
    pub farthest: bool,
    /// Whether point i does not count for query i.
    pub leaves_out_self: bool,
    /// Whether tiles are taken with the error that they may have.
    pub has_bound: bool,
    /// Whether points go to a grid; `None`: where that is faster.
    pub grid: Option<bool>,
    /// Points of a window; `None`: as many as the plan says.
    pub window: Option<usize>,
    pub cancel: Cancel,
}

/// Queries that share the points they may have.
pub(super) struct Part {
    pub queries: Selection,
    pub points: Selection,
}

/// Rows of a table, ascending.
#[derive(Clone)]
pub(super) enum Selection {
    /// All of so many.
    All(usize),
    /// These.
    Ids(Vec<u32>),
}

impl Part {
    /// Whether all queries meet all points.
    pub fn is_everything(&self) -> bool {
        matches!((&self.queries, &self.points), (Selection::All(_), Selection::All(_)))
    }
}

impl Selection {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::All(count) => *count,
            Self::Ids(ids) => ids.len(),
        }
    }

    /// Numbers `start .. start + count` of them.
    pub fn range(&self, start: usize, count: usize) -> Vec<u32> {
        match self {
            Self::All(_) => (start as u32..(start + count) as u32).collect(),
            Self::Ids(ids) => ids[start..start + count].to_vec(),
        }
    }

    /// Number `at` of them.
    #[cfg(feature = "gpu")]
    pub fn get(&self, at: usize) -> u32 {
        match self {
            Self::All(_) => at as u32,
            Self::Ids(ids) => ids[at],
        }
    }

    /// The number of a row that is among them.
    pub fn place(&self, row: u32) -> Option<u32> {
        match self {
            Self::All(count) => ((row as usize) < *count).then_some(row),
            Self::Ids(ids) => ids.binary_search(&row).ok().map(|at| at as u32),
        }
    }
}

impl<'a> Problem<'a> {
    pub fn new(points: &'a Points<'_>, queries: Option<&'a Points<'_>>, rules: Rules) -> Result<Self> {
        let Rules { measure, period, farthest, includes_self, bound: has_bound, grid, window, cancel } =
            rules;
        let metric = measure.metric;
        points.check_not_empty("points")?;
        if let Some(queries) = queries {
            queries.check_not_empty("queries")?;
            if points.columns() != queries.columns() {
                let expected = format!("{} columns, as the points have", points.columns());
                return Err(Error::shape("queries", expected, queries.columns()));
            }
        }
        for (argument, rows) in [("points", points.rows()), ("queries", queries.map_or(0, Points::rows))] {
            if rows >= u32::MAX as usize {
                return Err(Error::shape(argument, "fewer than 2^32 - 1 rows", rows));
            }
        }
        let constants = distance::constants(&measure, points.columns())?;
        let views = (points.view(), queries.map(Points::view));
        let named: Vec<(&'static str, &Points)> =
            std::iter::once(("points", &views.0)).chain(views.1.as_ref().map(|q| ("queries", q))).collect();
        domain::check(metric, &named, cancel)?;
        if let Some(lengths) = period {
            check_period(metric, lengths, &named, cancel)?;
        }
        let formula = Formula { metric, constants, period: period.map(<[f64]>::to_vec) };
        let leaves_out_self = queries.is_none() && !includes_self;
        let queries = queries.map(Points::view);
        let (points, cancel) = (points.view(), cancel.clone());
        Ok(Self { points, queries, formula, farthest, leaves_out_self, has_bound, grid, window, cancel })
    }

    pub fn queries(&self) -> &Points<'a> {
        self.queries.as_ref().unwrap_or(&self.points)
    }

    /// The queries, where they are a table of their own.
    pub fn other_queries(&self) -> Option<&Points<'a>> {
        self.queries.as_ref()
    }

    pub fn order(&self) -> Order {
        Order::of(self.formula.metric, self.farthest)
    }

    /// Whether distances are handed out in `f64`.
    pub fn needs_f64(&self) -> bool {
        needs_f64(self.formula.metric, &self.points, self.queries.as_ref())
    }

    /// The parts of the work.
    pub fn parts(&self, filters: Option<&Filters>) -> Result<Vec<Part>> {
        let (queries, points) = (self.queries().rows(), self.points.rows());
        let Some(filters) = filters else {
            return Ok(vec![Part { queries: Selection::All(queries), points: Selection::All(points) }]);
        };
        let groups = filters.groups(queries, points)?;
        let part = |group: super::filter::Group| Part {
            queries: Selection::Ids(group.queries),
            points: Selection::Ids(group.points),
        };
        Ok(groups.into_iter().map(part).collect())
    }

    /// The least number of points that a query of these parts may have.
    pub fn available(&self, parts: &[Part]) -> usize {
        let of = |part: &Part| {
            let ids = part.queries.range(0, part.queries.len());
            let loses_one = self.leaves_out_self && ids.iter().any(|&id| part.points.place(id).is_some());
            part.points.len() - usize::from(loses_one)
        };
        parts.iter().map(of).min().unwrap_or(0)
    }

    /// The point that does not count for a query.
    pub fn left_out(&self, query: u32) -> Option<u32> {
        self.leaves_out_self.then_some(query)
    }

    /// Who measures and compares in `f64`.
    pub fn judge(&self) -> Judge<'_> {
        Judge::new(&self.formula, self.order(), &self.points, self.queries().element_type())
    }

    /// Operations of the work, for the choice of a device.
    pub fn products(&self, parts: &[Part]) -> f64 {
        let pairs = |part: &Part| part.queries.len() as f64 * part.points.len() as f64;
        parts.iter().map(pairs).sum::<f64>() * self.points.columns() as f64
    }

    /// A row in `f64` as the formula takes it: packed bits one by one.
    pub fn wide_row(&self, points: &Points, row: usize) -> Vec<f64> {
        if self.formula.metric.domain() == Domain::Packed {
            unpacked(points, row)
        } else {
            raw_row(points, row)
        }
    }
}

/// Refuses a box that is none, metrics that it has no meaning for, and coordinates outside it.
fn check_period(
    metric: Metric,
    lengths: &[f64],
    tables: &[(&'static str, &Points)],
    cancel: &Cancel,
) -> Result<()> {
    use Metric::{Chebyshev, Euclidean, Manhattan, SquaredEuclidean};
    if !matches!(metric, SquaredEuclidean | Euclidean | Manhattan | Chebyshev) {
        let rule = "metric sqeuclidean, euclidean, manhattan or chebyshev";
        return Err(Error::parameter("periodic", rule, metric));
    }
    let depth = tables[0].1.columns();
    if lengths.len() != depth {
        return Err(Error::shape("periodic", format!("{depth} lengths, one per column"), lengths.len()));
    }
    if let Some(column) = lengths.iter().position(|length| !(*length > 0.0 && *length <= 1e300)) {
        let expected = "a length above 0 and at most 1e300";
        return Err(Error::Value { argument: "periodic", row: 0, column, expected, got: lengths[column] });
    }
    for (argument, points) in tables {
        let mut wide = vec![0.0; depth];
        for row in 0..points.rows() {
            if row % 4096 == 0 {
                cancel.check()?;
            }
            widen_row(points, row, &mut wide);
            let outside = |&column: &usize| !(wide[column] >= 0.0 && wide[column] <= lengths[column]);
            if let Some(column) = (0..depth).find(outside) {
                let expected = "a coordinate within the periodic box, from 0 to its length";
                return Err(Error::Value { argument, row, column, expected, got: wide[column] });
            }
        }
    }
    Ok(())
}
