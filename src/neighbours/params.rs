//! What is searched for, and the rules a call keeps.

use super::filter::Filters;
use super::fold::Shell;
use crate::cancel::Cancel;
use crate::distance::{self, Metric};
use crate::error::{Error, Result};
use crate::setters::setters;

/// Most neighbours of one query.
pub const LARGEST_COUNT: usize = 1024;

/// Parameters of a search for the `count` nearest.
///
/// ```
/// use tilefold::distance::Metric;
/// use tilefold::neighbours::Params;
/// let params = Params::new(Metric::Cosine, 10).farthest(true);
/// assert_eq!(params.count, 10);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Params {
    /// What is near.
    pub metric: Metric,
    /// Neighbours of each query, 1 to [`LARGEST_COUNT`] and to the number of points it may have.
    pub count: usize,
    /// The farthest instead of the nearest.
    pub farthest: bool,
    /// Whether a row of a set that is searched with itself counts as its own neighbour.
    pub includes_self: bool,
    /// Which points each query may have.
    pub filters: Option<Filters>,
    /// Most bytes that the result may take. `None`: whatever the system gives.
    pub max_bytes: Option<u64>,
    /// Stops the work from another thread.
    pub cancel: Cancel,
    pub(super) common: Common,
}

impl Params {
    /// The `count` nearest under a metric.
    pub fn new(metric: Metric, count: usize) -> Self {
        Self {
            metric,
            count,
            farthest: false,
            includes_self: true,
            filters: None,
            max_bytes: None,
            cancel: Cancel::new(),
            common: Common::new(distance::Params::new(metric)),
        }
    }

    /// The `count` nearest under a metric with parameters of its own; the limit of bytes and the token are not taken over.
    ///
    /// ```
    /// use tilefold::distance::{self, Metric};
    /// use tilefold::neighbours::{Params, nearest};
    /// let points = ndarray::array![[0.0, 0.0], [3.0, 0.5]];
    /// let measure = distance::Params::new(Metric::StandardizedEuclidean).variances(vec![9.0, 0.01]);
    /// let query = ndarray::array![[1.0, 0.4]];
    /// let found = nearest(&tilefold::Device::cpu(), points.view(), query.view(), &Params::of(measure, 1))?;
    /// assert_eq!(found.indices, ndarray::array![[1]]);
    /// # Ok::<(), tilefold::Error>(())
    /// ```
    pub fn of(measure: distance::Params, count: usize) -> Self {
        Self { common: Common::new(measure.clone()), ..Self::new(measure.metric, count) }
    }

    setters! {
        /// Searches for the farthest instead.
        farthest: bool;
    }

    /// Refuses a count of 0, above [`LARGEST_COUNT`], or above the `available` points of a query.
    pub(super) fn check(&self, available: usize) -> Result<()> {
        let most = LARGEST_COUNT.min(available);
        if self.count == 0 || self.count > most {
            let rule = match available {
                0 if self.count == 0 => "at least 1".to_owned(),
                0 if self.filters.is_some() => "0 (the filters leave a query no point)".to_owned(),
                0 => "0 (a query has no point but itself)".to_owned(),
                _ => format!("1 to {most} (a query may have {available} points)"),
            };
            return Err(Error::parameter("count", rule, self.count));
        }
        Ok(())
    }
}

/// What both kinds of parameters hold beside their public fields.
#[derive(Debug, Clone)]
pub(super) struct Common {
    /// The metric's own parameters, its metric aside.
    constants: distance::Params,
    /// The box that repeats, one length per column.
    period: Option<Vec<f64>>,
    /// Whether values of tiles are given the error that they may have.
    bound: bool,
    /// Whether points go to a grid; `None`: where that is faster.
    grid: Option<bool>,
    /// Points of a window; `None`: as many as the plan says.
    window: Option<usize>,
}

impl Common {
    fn new(constants: distance::Params) -> Self {
        Self { constants, period: None, bound: true, grid: None, window: None }
    }
}

/// What both kinds of parameters have.
macro_rules! shared {
    ($($params:ty, $farthest:expr;)*) => {$(
        impl $params {
            /// What the work goes by.
            pub(super) fn rules(&self) -> Rules<'_> {
                let Common { constants, period, bound, grid, window } = &self.common;
                Rules {
                    measure: distance::Params { metric: self.metric, ..constants.clone() },
                    period: period.as_deref(),
                    farthest: $farthest(self),
                    includes_self: self.includes_self,
                    bound: *bound,
                    grid: *grid,
                    window: *window,
                    cancel: &self.cancel,
                }
            }

            setters! {
                /// Sets whether a row of a set that is searched with itself counts as its own neighbour.
                includes_self: bool;

                /// Sets which points each query may have.
                filters: Filters => Some;

                /// Sets the most bytes that the result may take.
                max_bytes: u64 => Some;

                /// Sets the token that stops the work.
                cancel: Cancel;
            }

            /// Sets a box that repeats in every direction, one length per column: of all images of a point the nearest
            /// counts. For squared Euclidean, Euclidean, Manhattan and Chebyshev; all coordinates must lie within it, from 0
            /// to its length.
            pub fn periodic(mut self, lengths: Vec<f64>) -> Self {
                self.common.period = Some(lengths);
                self
            }

            /// Whether points of few columns go to a grid, where the metric allows it: for tests, which must find no
            /// difference.
            #[cfg(feature = "test-hooks")]
            #[doc(hidden)]
            pub fn with_grid(mut self, grid: bool) -> Self {
                self.common.grid = Some(grid);
                self
            }

            /// How many points are prepared at once: for tests, which must find no difference.
            #[cfg(feature = "test-hooks")]
            #[doc(hidden)]
            pub fn with_window(mut self, points: usize) -> Self {
                self.common.window = Some(points);
                self
            }

            /// Takes the values of tiles for exact: for tests that must then fail.
            #[cfg(feature = "test-hooks")]
            #[doc(hidden)]
            pub fn without_bound(mut self) -> Self {
                self.common.bound = false;
                self
            }
        }
    )*};
}

shared! {
    Params, |params: &Params| params.farthest;
    RadiusParams, |_| false;
}

/// What both kinds of search go by.
pub(super) struct Rules<'a> {
    pub measure: distance::Params,
    pub period: Option<&'a [f64]>,
    pub farthest: bool,
    pub includes_self: bool,
    pub bound: bool,
    pub grid: Option<bool>,
    pub window: Option<usize>,
    pub cancel: &'a Cancel,
}

/// How far a radius search goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Radius {
    /// The same for every query.
    One(f64),
    /// One per query.
    Each(Vec<f64>),
}

impl Radius {
    /// That of one query.
    pub(super) fn of(&self, query: usize) -> f64 {
        match self {
            Self::One(radius) => *radius,
            Self::Each(radii) => radii[query],
        }
    }
}

impl Radius {
    fn check(&self, name: &'static str, queries: usize, is_similarity: bool) -> Result<()> {
        let radii = match self {
            Self::One(radius) => std::slice::from_ref(radius),
            Self::Each(radii) if radii.len() == queries => radii,
            Self::Each(radii) => {
                let expected = format!("{queries} values, one per query");
                return Err(Error::shape(name, expected, radii.len()));
            }
        };
        let is_refused = |radius: &&f64| radius.is_nan() || (**radius < 0.0 && !is_similarity);
        match radii.iter().find(is_refused) {
            Some(radius) => {
                let rule = if is_similarity { "a number" } else { "a number of at least 0" };
                Err(Error::parameter(name, rule, radius))
            }
            None => Ok(()),
        }
    }
}

impl From<f64> for Radius {
    fn from(radius: f64) -> Self {
        Self::One(radius)
    }
}

impl From<Vec<f64>> for Radius {
    fn from(radii: Vec<f64>) -> Self {
        Self::Each(radii)
    }
}

/// Parameters of a radius search: all points at most so far, or for a similarity at least so alike.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RadiusParams {
    /// What is near.
    pub metric: Metric,
    /// Largest distance, in the metric's unit. For [`Metric::InnerProduct`] the least similarity, of either sign.
    pub radius: Radius,
    /// Leaves out points that are at most so far: what is left is a shell. Like the radius, the other way round for
    /// [`Metric::InnerProduct`].
    pub beyond: Option<Radius>,
    /// Whether the neighbours of a query come nearest first; else by index.
    pub sorted: bool,
    /// Whether a row of a set that is searched with itself counts as its own neighbour.
    pub includes_self: bool,
    /// Which points each query may have.
    pub filters: Option<Filters>,
    /// Most bytes that the result may take. `None`: whatever the system gives.
    pub max_bytes: Option<u64>,
    /// Stops the work from another thread.
    pub cancel: Cancel,
    pub(super) common: Common,
}

impl RadiusParams {
    /// All within a radius under a metric.
    pub fn new(metric: Metric, radius: impl Into<Radius>) -> Self {
        Self {
            metric,
            radius: radius.into(),
            beyond: None,
            sorted: false,
            includes_self: true,
            filters: None,
            max_bytes: None,
            cancel: Cancel::new(),
            common: Common::new(distance::Params::new(metric)),
        }
    }

    /// All within a radius under a metric with parameters of its own; the limit of bytes and the token are not taken over.
    pub fn of(measure: distance::Params, radius: impl Into<Radius>) -> Self {
        Self { common: Common::new(measure.clone()), ..Self::new(measure.metric, radius) }
    }

    /// Leaves out points that are at most so far. Shells from one radius to the next share no point and leave out none.
    ///
    /// ```
    /// use tilefold::distance::Metric;
    /// use tilefold::neighbours::{RadiusParams, within};
    /// let points = ndarray::array![[0.0_f32], [1.0], [2.0], [3.0]];
    /// let params = RadiusParams::new(Metric::Euclidean, 2.0).beyond(1.0);
    /// let found = within(&tilefold::Device::cpu(), points.view(), ndarray::array![[0.0_f32]].view(), &params)?;
    /// assert_eq!(found.indices, [2]);
    /// # Ok::<(), tilefold::Error>(())
    /// ```
    pub fn beyond(mut self, radius: impl Into<Radius>) -> Self {
        self.beyond = Some(radius.into());
        self
    }

    setters! {
        /// Sets whether the neighbours of a query come nearest first.
        sorted: bool;
    }

    /// Where points are wanted.
    pub(super) fn shell(&self) -> Shell<'_> {
        Shell { radius: &self.radius, beyond: self.beyond.as_ref() }
    }

    /// Refuses radii that are NaN, negative for a distance, or not one per query, and shells that end before they begin.
    pub(super) fn check(&self, queries: usize) -> Result<()> {
        let is_similarity = self.metric == Metric::InnerProduct;
        self.radius.check("radius", queries, is_similarity)?;
        let Some(beyond) = &self.beyond else { return Ok(()) };
        beyond.check("beyond", queries, is_similarity)?;
        let is_turned = |&query: &usize| {
            let (inner, outer) = (beyond.of(query), self.radius.of(query));
            if is_similarity { inner < outer } else { inner > outer }
        };
        match (0..queries).find(is_turned) {
            Some(query) => {
                let bound = if is_similarity { "at least" } else { "at most" };
                let rule = format!("{bound} {}, the radius of query {query}", self.radius.of(query));
                Err(Error::parameter("beyond", rule, beyond.of(query)))
            }
            None => Ok(()),
        }
    }
}
