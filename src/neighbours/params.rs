//! What is searched for, and the rules a call keeps.

use super::filter::Filters;
use crate::cancel::Cancel;
use crate::distance::Metric;
use crate::error::{Error, Result};

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
    /// Whether tiles are taken with the error that they may have.
    pub(super) recheck: bool,
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
            recheck: true,
        }
    }

    /// Searches for the farthest instead.
    pub fn farthest(mut self, farthest: bool) -> Self {
        self.farthest = farthest;
        self
    }

    /// Sets whether a row of a set that is searched with itself counts as its own neighbour.
    pub fn includes_self(mut self, includes_self: bool) -> Self {
        self.includes_self = includes_self;
        self
    }

    /// Sets which points each query may have.
    pub fn filters(mut self, filters: Filters) -> Self {
        self.filters = Some(filters);
        self
    }

    /// Sets the most bytes that the result may take.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the token that stops the work.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Takes the values of tiles for exact: for tests that must then fail.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn without_recheck(mut self) -> Self {
        self.recheck = false;
        self
    }

    /// Refuses a count of 0, above [`LARGEST_COUNT`], or above the `available` points of a query.
    pub(super) fn check(&self, available: usize) -> Result<()> {
        let most = LARGEST_COUNT.min(available);
        if self.count == 0 || self.count > most {
            let rule = match available {
                0 => "points that a query may have: there are none".to_owned(),
                _ => format!("1 to {most}, with {available} points that a query may have"),
            };
            return Err(Error::parameter("count", rule, self.count));
        }
        Ok(())
    }
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

impl From<f64> for Radius {
    fn from(radius: f64) -> Self {
        Self::One(radius)
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
    /// Whether tiles are taken with the error that they may have.
    pub(super) recheck: bool,
}

impl RadiusParams {
    /// All within a radius under a metric.
    pub fn new(metric: Metric, radius: impl Into<Radius>) -> Self {
        Self {
            metric,
            radius: radius.into(),
            sorted: false,
            includes_self: true,
            filters: None,
            max_bytes: None,
            cancel: Cancel::new(),
            recheck: true,
        }
    }

    /// Sets whether the neighbours of a query come nearest first.
    pub fn sorted(mut self, sorted: bool) -> Self {
        self.sorted = sorted;
        self
    }

    /// Sets whether a row of a set that is searched with itself counts as its own neighbour.
    pub fn includes_self(mut self, includes_self: bool) -> Self {
        self.includes_self = includes_self;
        self
    }

    /// Sets which points each query may have.
    pub fn filters(mut self, filters: Filters) -> Self {
        self.filters = Some(filters);
        self
    }

    /// Sets the most bytes that the result may take.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the token that stops the work.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Takes the values of tiles for exact: for tests that must then fail.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn without_recheck(mut self) -> Self {
        self.recheck = false;
        self
    }

    /// Refuses radii that are NaN, negative for a distance, or not one per query.
    pub(super) fn check(&self, queries: usize) -> Result<()> {
        let radii = match &self.radius {
            Radius::One(radius) => std::slice::from_ref(radius),
            Radius::Each(radii) if radii.len() == queries => radii,
            Radius::Each(radii) => {
                return Err(Error::shape("radius", format!("{queries}, one per query"), radii.len()));
            }
        };
        let is_similarity = self.metric == Metric::InnerProduct;
        let refused = |radius: &&f64| radius.is_nan() || (**radius < 0.0 && !is_similarity);
        match radii.iter().find(refused) {
            Some(radius) => {
                let rule = if is_similarity { "a number" } else { "a number of at least 0" };
                Err(Error::parameter("radius", rule, radius))
            }
            None => Ok(()),
        }
    }
}
