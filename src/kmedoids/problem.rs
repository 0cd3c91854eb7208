//! One clustering: columns, the grid of their sums, and the methods that are the same for all devices.

use super::alternate;
use super::assignment::{ask_for_assignment, assign};
use super::columns::Columns;
use super::entry::Entry;
use super::init;
use super::integer::{Integer, Units};
use super::objective::{Loss, Objective, Silhouette};
use super::params::{Init, Method, Params};
use super::random::distinct;
use super::results::SearchStats;
use super::state::{State, Swap};
use super::swaps::{eager, steepest};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::random::Draws;

/// Objects that are clustered around some of themselves.
pub(super) struct Problem<'a, T: Entry, G: Units> {
    pub columns: Columns<'a, T>,
    pub grid: G,
}

/// Medoids, how they were found, and the numbers of medoids that were tried.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub medoids: Vec<usize>,
    pub stats: SearchStats,
    pub tried: Vec<(usize, f64)>,
}

impl Found {
    /// Medoids of a search for one number of them.
    pub fn new(medoids: Vec<usize>, stats: SearchStats) -> Self {
        Self { medoids, stats, tried: Vec::new() }
    }
}

impl<T: Entry, G: Units> Problem<'_, T, G> {
    /// Number of objects.
    pub fn objects(&self) -> usize {
        self.columns.objects()
    }

    /// First medoids.
    pub fn first(&self, params: &Params, draws: &mut Draws) -> Result<Vec<usize>> {
        init::choose(&self.columns, self.grid, (&params.init, params.n_clusters), params, draws)
    }

    /// The loss of medoids.
    fn loss(&self, medoids: &[usize]) -> Result<G::Integer> {
        let columns = self.columns.of(medoids)?;
        ask_for_assignment(self.objects())?;
        Ok(assign(&columns, self.objects(), self.grid, self.columns.cancel())?.loss)
    }

    /// Improves medoids on the processor.
    pub fn improve(&self, medoids: Vec<usize>, params: &Params, draws: &mut Draws) -> Result<Found> {
        let loss = Loss { grid: self.grid };
        let silhouette = Silhouette::<G>::of(self.objects());
        match params.method {
            Method::FasterPam | Method::OneBatch { .. } => self.search(loss, medoids, params, eager),
            Method::Pam | Method::Clara { .. } => self.search(loss, medoids, params, steepest),
            Method::FasterMsc => self.search(silhouette, medoids, params, eager),
            Method::PamMedSil => self.search(silhouette, medoids, params, steepest),
            Method::DynMsc { fewest } => self.fewer(medoids, fewest, params),
            Method::Clarans { searches, patience } => {
                self.clarans(medoids, (searches, patience), params, draws)
            }
            Method::Alternating => {
                let mut medoids = medoids;
                let Params { max_iter, cancel, .. } = params;
                let stats = alternate::improve(&self.columns, self.grid, &mut medoids, *max_iter, cancel)?;
                Ok(Found::new(medoids, stats))
            }
        }
    }

    /// Swaps in an order for an objective.
    fn search<O: Objective<T, R>, const R: usize>(
        &self,
        objective: O,
        medoids: Vec<usize>,
        params: &Params,
        order: impl Fn(&mut State<T, O, R>, &Columns<T>, usize, &Cancel) -> Result<SearchStats>,
    ) -> Result<Found> {
        let mut state = State::new(objective, &self.columns, None, medoids)?;
        let stats = order(&mut state, &self.columns, params.max_iter, &params.cancel)?;
        Ok(Found::new(state.into_medoids(), stats))
    }

    /// From many medoids to few, keeping those with the best silhouette, the fewest among equals.
    fn fewer(&self, first: Vec<usize>, fewest: usize, params: &Params) -> Result<Found> {
        let objective = Silhouette::<G>::of(self.objects());
        let mut best: Option<(G::Integer, Vec<usize>)> = None;
        let (mut medoids, mut tried) = (first, Vec::new());
        let mut stats = SearchStats { converged: true, ..SearchStats::default() };
        loop {
            let mut state = State::new(objective, &self.columns, None, medoids)?;
            stats = stats.then(eager(&mut state, &self.columns, params.max_iter, &params.cancel)?);
            medoids = state.medoids().to_vec();
            tried.push((medoids.len(), objective.mean(state.sum(), self.objects())));
            if best.as_ref().is_none_or(|(sum, _)| state.sum() <= *sum) {
                best = Some((state.sum(), medoids.clone()));
            }
            if medoids.len() == fewest {
                break;
            }
            let removal = state.removal();
            let missed_least = (0..removal.len()).min_by_key(|&place| (removal[place], place));
            medoids.remove(missed_least.unwrap_or_default());
        }
        let medoids = best.map(|(_, medoids)| medoids).unwrap_or_default();
        Ok(Found { medoids, stats, tried })
    }

    /// Searches by swaps drawn at random.
    fn clarans(
        &self,
        first: Vec<usize>,
        (searches, patience): (usize, Option<u64>),
        params: &Params,
        draws: &mut Draws,
    ) -> Result<Found> {
        let (objects, count) = (self.objects(), first.len());
        let neighbours = count as u64 * (objects - count) as u64;
        let patience = patience.unwrap_or((neighbours / 80).max(250).min(neighbours));
        let mut best: Option<(G::Integer, Vec<usize>)> = None;
        let mut stats = SearchStats { converged: true, ..SearchStats::default() };
        for search in 0..searches {
            let medoids = if search == 0 { first.clone() } else { self.first(params, draws)? };
            let mut state = State::new(Loss { grid: self.grid }, &self.columns, None, medoids)?;
            let mut scratch = state.scratch();
            let mut in_vain = 0;
            // All objects are medoids: there is nothing to draw.
            while in_vain < patience && count < objects {
                params.cancel.check()?;
                let place = draws.below(count as u64) as usize;
                let candidate = loop {
                    let drawn = draws.below(objects as u64) as usize;
                    if !state.is_medoid(drawn) {
                        break drawn;
                    }
                };
                let column = self.columns.column(candidate)?;
                let change = state.change(place, &column, &mut scratch);
                if change < G::Integer::ZERO {
                    state.replace(Swap { change, candidate, place }, &column);
                }
                in_vain = if change < G::Integer::ZERO { 0 } else { in_vain + 1 };
                stats.swaps += usize::from(change < G::Integer::ZERO);
            }
            stats.iterations += 1;
            if best.as_ref().is_none_or(|(sum, _)| state.sum() < *sum) {
                best = Some((state.sum(), state.medoids().to_vec()));
            }
        }
        let medoids = best.map(|(_, medoids)| medoids).unwrap_or_default();
        Ok(Found::new(medoids, stats))
    }

    /// The problem of some of the objects alone.
    pub fn sample(&self, objects: &[usize]) -> Result<Problem<'static, T, G>> {
        let values = self.columns.part(objects, objects)?;
        let columns = Columns::held(values.into(), objects.len(), self.columns.cancel());
        Ok(Problem { columns, grid: self.grid })
    }

    /// PAM on samples; the medoids with the smallest loss over all objects win.
    pub fn clara(
        &self,
        (samples, size): (usize, Option<usize>),
        params: &Params,
        draws: &mut Draws,
        improve: impl Fn(&Problem<'static, T, G>, Vec<usize>, &mut Draws) -> Result<Found>,
    ) -> Result<Found> {
        let (objects, count) = (self.objects(), params.n_clusters);
        let size = size.unwrap_or(40 + 2 * count).min(objects);
        let mut best: Option<(G::Integer, Vec<usize>)> = match &params.init {
            // What the caller hopes for is in the first sample.
            Init::Given(medoids) => Some((self.loss(medoids)?, medoids.clone())),
            _ => None,
        };
        let mut stats = SearchStats { converged: true, ..SearchStats::default() };
        for _ in 0..samples {
            params.cancel.check()?;
            let known = best.as_ref().map(|(_, medoids)| medoids.clone()).unwrap_or_default();
            let drawn = distinct(objects, size, draws).into_iter().filter(|object| !known.contains(object));
            let mut sample: Vec<usize> = known.iter().copied().chain(drawn).take(size).collect();
            sample.sort_unstable();
            let problem = self.sample(&sample)?;
            let first = match &params.init {
                Init::Given(_) => {
                    known.iter().map(|medoid| sample.binary_search(medoid).unwrap_or_default()).collect()
                }
                _ => problem.first(params, draws)?,
            };
            let found = improve(&problem, first, draws)?;
            stats = stats.then(found.stats);
            let medoids: Vec<usize> = found.medoids.iter().map(|&at| sample[at]).collect();
            let loss = self.loss(&medoids)?;
            if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                best = Some((loss, medoids));
            }
        }
        let medoids = best.map(|(_, medoids)| medoids).unwrap_or_default();
        Ok(Found::new(medoids, stats))
    }
}
