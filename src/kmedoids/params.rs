//! Parameters of a clustering around medoids, and their rules.

use crate::cancel::Cancel;
use crate::distance;
use crate::error::{Error, Result};
use crate::setters::setters;

/// How medoids are improved. All but the last three minimise the sum of dissimilarities to the nearest medoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// FasterPAM (Schubert and Rousseeuw, 2021): goes through the candidates in order of their index and takes the first
    /// swap that improves the loss at once. Ends where no single swap improves it.
    FasterPam,
    /// PAM (Kaufman and Rousseeuw, 1987): takes the best of all swaps in each iteration, ties to the lowest candidate,
    /// then to the lowest place among the medoids. The gains of all k places are computed together, as FastPAM1 does
    /// (Schubert and Rousseeuw, 2019), whose result is the same.
    Pam,
    /// Assign, then take the best medoid within each cluster, until nothing changes (Park and Jun, 2009).
    Alternating,
    /// PAM on samples of the objects, the best of which is kept (Kaufman and Rousseeuw, 1986). Samples after the first
    /// include the best medoids so far.
    Clara {
        /// Number of samples.
        samples: usize,
        /// Objects of one sample. `None`: 40 + 2 k.
        size: Option<usize>,
    },
    /// Swaps drawn at random, taken where they improve the loss (Ng and Han, 2002).
    Clarans {
        /// Number of searches from medoids of their own; the best is kept.
        searches: usize,
        /// Draws without improvement that end a search. `None`: 1.25 % of k (n - k), at least 250.
        patience: Option<u64>,
    },
    /// FasterPAM with all objects as candidates, whose loss is measured on a sample of the objects, each weighted with the
    /// number of objects nearest to it (OneBatchPAM with nearest-neighbour weights; de Mathelin and others, 2025): an
    /// n x m matrix instead of n x n.
    OneBatch {
        /// Objects of the sample. `None`: 100 ln(k n).
        size: Option<usize>,
    },
    /// The swaps of FasterPAM for the average medoid silhouette (Lenssen and Schubert, 2022): the mean of
    /// 1 - d1 / d2 of the nearest two medoids, maximised. At least 2 medoids.
    FasterMsc,
    /// The best of all swaps in each iteration for the average medoid silhouette (PAMMEDSIL; Van der Laan and others,
    /// 2003). At least 2 medoids.
    PamMedSil,
    /// Chooses the number of medoids: [`Method::FasterMsc`] from `n_clusters` medoids down to `fewest`, each time without
    /// the medoid that is missed the least; the best average medoid silhouette wins (Lenssen and Schubert, 2024).
    DynMsc {
        /// Fewest medoids, at least 2.
        fewest: usize,
    },
}

impl Method {
    /// Whether GPUs have kernels for it.
    pub(super) fn has_kernels(self) -> bool {
        matches!(self, Self::FasterPam | Self::Pam)
    }

    /// Whether the average medoid silhouette is what is maximised.
    pub(super) fn is_of_silhouettes(self) -> bool {
        matches!(self, Self::FasterMsc | Self::PamMedSil | Self::DynMsc { .. })
    }
}

/// How the first medoids are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Init {
    /// BUILD of PAM: each medoid is the object that lowers the loss most. The most exact, and the slowest.
    Build,
    /// BUILD on samples of 10 + sqrt(n) objects (LAB of FastPAM).
    Lab,
    /// Distinct objects, all equally likely.
    Random,
    /// Each medoid is the best of a few objects drawn with probability proportional to the squared dissimilarity to the
    /// medoids so far (k-means++).
    PlusPlus,
    /// The objects with the smallest sums of dissimilarities.
    Heuristic,
    /// These objects.
    Given(Vec<usize>),
}

/// Parameters of [`fit`](super::fit) and [`fit_points`](super::fit_points).
///
/// ```
/// use tilefold::kmedoids::{Init, Method, Params};
/// let params = Params::new(8).method(Method::Pam).init(Init::Build).max_iter(50);
/// assert_eq!(params.n_clusters, 8);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Params {
    /// Number of medoids, 1 to the number of objects.
    pub n_clusters: usize,
    /// How medoids are improved.
    pub method: Method,
    /// How the first medoids are chosen.
    pub init: Init,
    /// Most iterations: passes over all candidates, or best swaps of [`Method::Pam`] and [`Method::PamMedSil`]. 0 keeps the
    /// first medoids.
    pub max_iter: usize,
    /// Seed of all random draws.
    pub seed: u64,
    /// What dissimilarities between points are; [`fit`](super::fit) has no use for it.
    pub metric: distance::Params,
    /// Most bytes that the matrix of dissimilarities may take. Points that need more have it made anew, part by part, in
    /// each pass. `None`: half of the memory that is free.
    pub max_bytes: Option<u64>,
    /// Stops the work from another thread.
    pub cancel: Cancel,
}

impl Params {
    /// Defaults for `n_clusters` medoids: FasterPAM from random objects, 100 iterations, seed 0, Euclidean distances.
    pub fn new(n_clusters: usize) -> Self {
        Self {
            n_clusters,
            method: Method::FasterPam,
            init: Init::Random,
            max_iter: 100,
            seed: 0,
            metric: distance::Params::new(distance::Metric::Euclidean),
            max_bytes: None,
            cancel: Cancel::new(),
        }
    }

    setters! {
        /// Sets how medoids are improved.
        method: Method;

        /// Sets how the first medoids are chosen.
        init: Init;

        /// Sets the most iterations.
        max_iter: usize;

        /// Sets the seed.
        seed: u64;

        /// Sets what dissimilarities between points are.
        metric: distance::Params;

        /// Sets the most bytes that the matrix may take.
        max_bytes: u64 => Some;

        /// Sets the token that stops the work.
        cancel: Cancel;
    }

    /// Checks the rules for a number of objects.
    pub(super) fn check(&self, objects: usize) -> Result<()> {
        let count = self.n_clusters;
        if count == 0 || count > objects {
            let rule = format!("1 to {objects} (the number of objects)");
            return Err(Error::parameter("n_clusters", rule, count));
        }
        if self.method.is_of_silhouettes() && count < 2 {
            return Err(Error::parameter("n_clusters", "at least 2 for a silhouette", count));
        }
        match self.method {
            Method::Clara { samples: 0, .. } => {
                return Err(Error::parameter("samples", "at least 1", 0));
            }
            Method::Clara { size: Some(size), .. } if size < count || size > objects => {
                let rule = format!("{count} (the number of medoids) to {objects} (the number of objects)");
                return Err(Error::parameter("size", rule, size));
            }
            Method::OneBatch { size: Some(size) } if size == 0 || size > objects => {
                let rule = format!("1 to {objects} (the number of objects)");
                return Err(Error::parameter("size", rule, size));
            }
            Method::Clarans { searches: 0, .. } => {
                return Err(Error::parameter("searches", "at least 1", 0));
            }
            Method::DynMsc { fewest } if fewest < 2 || fewest > count => {
                let rule = format!("2 to {count} (n_clusters)");
                return Err(Error::parameter("fewest", rule, fewest));
            }
            _ => {}
        }
        if let Init::Given(medoids) = &self.init {
            check_given(medoids, count, objects)?;
        }
        Ok(())
    }
}

fn check_given(medoids: &[usize], count: usize, objects: usize) -> Result<()> {
    if medoids.len() != count {
        return Err(Error::shape("init", format!("{count} objects, as n_clusters says"), medoids.len()));
    }
    let mut sorted = medoids.to_vec();
    sorted.sort_unstable();
    if let Some(&beyond) = sorted.last().filter(|&&last| last >= objects) {
        let rule = format!("objects below {objects}, their number");
        return Err(Error::parameter("init", rule, beyond));
    }
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::parameter("init", "distinct objects", format!("{} twice", pair[0]))),
        None => Ok(()),
    }
}
