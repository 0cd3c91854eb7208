//! Parameters of a fit, and their rules.

use std::path::PathBuf;
use std::sync::Arc;

use ndarray::Array2;

#[cfg(feature = "gpu")]
use super::gpu::plan::Update;
use crate::cancel::Cancel;
use crate::data::ElementType;
use crate::error::{Error, Result};
use crate::setters::setters;

/// How the first centroids are chosen.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Greedy k-means++ (Arthur and Vassilvitskii, SODA 2007, with `2 + ln k` trials per centroid as in
    /// scikit-learn): each centroid is the best of a few rows drawn with probability proportional to weight times
    /// squared distance to the centroids so far.
    PlusPlus,
    /// Distinct rows, drawn with probability proportional to their weight.
    Random,
    /// k-means|| (Bahmani and others, VLDB 2012): five rounds that each draw about 2 k rows at once, reduced to k by
    /// weighted k-means++. For large k, where k-means++ needs too many passes.
    Parallel,
    /// Given centroids, one per row, in input units.
    Centroids(Array2<f64>),
}

/// Whether rows are passed over whose label cannot have changed. It changes time, `products` and `rechecked`; labels,
/// centroids, inertia and saved models are the same bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prune {
    /// Where a trial in the course of the fit shows that it saves time; on GPUs, that it leaves out enough rows.
    #[default]
    Auto,
    /// Never: every pass multiplies all rows with all centroids.
    Never,
    /// In every pass but the first of a run.
    Always,
}

/// What a callback answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// End the fit after this iteration: further runs of `n_init` are left out, and this one counts as if `max_iter`
    /// had been reached. A fit that finds the checkpoint goes on from here.
    Stop,
}

/// What a callback is told after each iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Which of the `n_init` runs, from 0.
    pub run: usize,
    /// Iterations done in this run.
    pub iteration: usize,
    /// Sum of weighted squared distances to the centroids this iteration started from, in input units.
    pub inertia: f64,
    /// Rows whose label changed.
    pub changed: u64,
    /// Squared movement of all centroids, in input units.
    pub shift: f64,
}

/// A function called after each iteration, on the thread that called the fit. It may use this library: it holds no thread
/// of the device's pool.
pub type Callback = Arc<dyn Fn(&Progress) -> Control + Send + Sync>;

/// Parameters of [`fit`](super::fit). The defaults are scikit-learn's.
///
/// ```
/// use tilefold::kmeans::{Init, Params};
/// let params = Params::new(8).init(Init::Random).n_init(4).seed(7).tol(0.0);
/// assert_eq!(params.n_clusters, 8);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Params {
    /// Number of clusters, 1 to the number of points.
    pub n_clusters: usize,
    /// How the first centroids are chosen.
    pub init: Init,
    /// Number of runs from different first centroids, of which the one with the lowest inertia is kept. `None`: 10
    /// for [`Init::Random`], else 1. Given centroids are always run once.
    pub n_init: Option<usize>,
    /// Largest number of iterations of one run, at least 1.
    pub max_iter: usize,
    /// A run has converged once the centroids move by at most `tol` times the mean variance of the features (squared
    /// distances), or once no label changes. 0 leaves only the latter.
    pub tol: f64,
    /// Seed of all random draws.
    pub seed: u64,
    /// One weight per point, at least 0, not all 0. They are rounded to 24 bits. Where weights lie so far
    /// apart that the grid of the sums would lose digits, which begins near 1e-9 of the heaviest, means are taken on the
    /// host; weights below 1e-300 of the heaviest count as 0.
    pub weights: Option<Vec<f64>>,
    /// Cluster directions: rows and centroids are scaled to length 1. Zero rows are refused.
    pub spherical: bool,
    /// Called after each iteration, in their order; on a GPU up to eight may be done by then.
    pub callback: Option<Callback>,
    /// Stops the fit from another thread.
    pub cancel: Cancel,
    /// File that holds the state of the fit after each iteration, on a GPU after eight at most; a fit of the same rows and weights with the same
    /// parameters that finds it there goes on from it, to the bits of a fit afresh. `max_iter` may be larger then: all runs
    /// that it ended go on. `prune`, the device, its threads and windows may differ, and so may the element type where
    /// the values are equal; anything else is refused by name. The reference device, which is for small data, does not
    /// use it.
    pub checkpoint: Option<PathBuf>,
    /// Exact pruning.
    pub prune: Prune,
    /// Type that callers will hold the centroids in: before the final labels centroids are rounded to what it holds in
    /// input units, so that labels and distances are those of the centroids that callers see. `None` keeps all digits, and
    /// so does `F32` where data lies so far from the origin that the rounding would exceed that of the points themselves.
    /// With `F64` the centroids and the inertia of `f64` points come from the points as given, not as the tiles round them.
    pub centroid_type: Option<ElementType>,
    /// Off only in tests: rows inside the error bound keep the tile's label.
    pub(crate) recheck: bool,
    #[cfg(feature = "gpu")]
    pub(crate) update: Option<(Update, bool, u32)>,
    /// On only in tests: pruning with a margin on the wrong side.
    pub(crate) careless: bool,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Params")
            .field("n_clusters", &self.n_clusters)
            .field("init", &self.init)
            .field("n_init", &self.n_init)
            .field("max_iter", &self.max_iter)
            .field("tol", &self.tol)
            .field("seed", &self.seed)
            .field("spherical", &self.spherical)
            .finish_non_exhaustive()
    }
}

impl Params {
    /// Defaults for `n_clusters` clusters: k-means++, 300 iterations, tol 1e-4, seed 0.
    pub fn new(n_clusters: usize) -> Self {
        Self {
            n_clusters,
            init: Init::PlusPlus,
            n_init: None,
            max_iter: 300,
            tol: 1e-4,
            seed: 0,
            weights: None,
            spherical: false,
            callback: None,
            cancel: Cancel::new(),
            checkpoint: None,
            prune: Prune::Auto,
            centroid_type: None,
            recheck: true,
            #[cfg(feature = "gpu")]
            update: None,
            careless: false,
        }
    }

    /// Starts from the centroids of an earlier fit.
    pub fn warm_start(self, centroids: Array2<f64>) -> Self {
        self.init(Init::Centroids(centroids))
    }

    setters! {
        /// Sets how the first centroids are chosen.
        init: Init;

        /// Sets the number of runs.
        n_init: usize => Some;

        /// Sets the largest number of iterations.
        max_iter: usize;

        /// Sets the tolerance.
        tol: f64;

        /// Sets the seed.
        seed: u64;

        /// Sets one weight per point.
        weights: Vec<f64> => Some;

        /// Clusters directions instead of positions.
        spherical: bool;

        /// Sets the token that stops the fit.
        cancel: Cancel;

        /// Sets whether passes are pruned.
        prune: Prune;

        /// Sets the type that the centroids are rounded to.
        centroid_type: ElementType => Some;
    }

    /// Sets the function that is called after each iteration.
    pub fn callback(mut self, callback: impl Fn(&Progress) -> Control + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// Sets the checkpoint file.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint = Some(path.into());
        self
    }

    /// Prunes with a margin on the wrong side of its proof: for tests that must then fail.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn with_careless_pruning(mut self) -> Self {
        self.careless = true;
        self
    }

    /// Switches the recheck of uncertified rows off: for tests that must then fail.
    #[cfg(feature = "test-hooks")]
    #[doc(hidden)]
    pub fn without_recheck(mut self) -> Self {
        self.recheck = false;
        self
    }

    /// Fixes how a GPU brings sums up to the labels, and whether it does so from all rows in every pass or only from
    /// those that changed, and how many rows one round orders at most. Nothing may depend on it.
    #[cfg(all(feature = "gpu", feature = "test-hooks"))]
    #[doc(hidden)]
    pub fn with_update(mut self, how: Update, afresh: bool, rows_per_round: u32) -> Self {
        self.update = Some((how, afresh, rows_per_round));
        self
    }

    /// Number of runs after the defaults.
    pub(crate) fn runs(&self) -> usize {
        match self.init {
            Init::Centroids(_) => 1,
            Init::Random => self.n_init.unwrap_or(10),
            _ => self.n_init.unwrap_or(1),
        }
    }

    /// Checks the rules against the data's shape.
    pub(crate) fn check(&self, rows: usize, columns: usize) -> Result<()> {
        if self.n_clusters == 0 || self.n_clusters > rows || self.n_clusters > u32::MAX as usize {
            let rule = format!("1 to {rows} (the number of points)");
            return Err(Error::parameter("n_clusters", rule, self.n_clusters));
        }
        if self.max_iter == 0 {
            return Err(Error::parameter("max_iter", "at least 1", 0));
        }
        if self.n_init == Some(0) {
            return Err(Error::parameter("n_init", "at least 1", 0));
        }
        if !(self.tol >= 0.0 && self.tol.is_finite()) {
            return Err(Error::parameter("tol", "a finite number of at least 0", format!("{:?}", self.tol)));
        }
        if let Init::Centroids(centroids) = &self.init {
            let (expected, got) = ([self.n_clusters, columns], centroids.shape());
            if got != expected {
                let shape = |s: &[usize]| format!("{} x {}", s[0], s[1]);
                return Err(Error::shape("init", shape(&expected), shape(got)));
            }
            if let Some(((row, column), &got)) = centroids.indexed_iter().find(|(_, c)| !c.is_finite()) {
                return Err(Error::Value { argument: "init", row, column, expected: "a finite number", got });
            }
        }
        Ok(())
    }
}
