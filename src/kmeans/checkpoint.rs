//! A checkpoint: where a fit stands after an iteration, so that it can go on after a kill, to the same bits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::{Decoder, Encoder, Kind, LARGEST_CENTROID};
use super::lloyd::{Iteration, State};
use super::params::{Init, Params};
use super::problem::Problem;
use crate::cancel::Cancel;
use crate::error::{Error, Result};

const KIND: Kind = Kind { tag: b"KMCP", name: "k-means checkpoint", version: 2 };

/// A checkpoint file of one fit.
pub(super) struct Checkpoint {
    path: PathBuf,
    fingerprint: Vec<f64>,
    /// Elements of the centroids.
    elements: usize,
    /// Number of runs.
    runs: usize,
}

/// Where a fit stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// The run that is going on.
    pub state: Option<State>,
    /// The best finished run.
    pub best: Option<State>,
}

impl Checkpoint {
    /// The checkpoint of a fit at `path`.
    pub fn new(path: &Path, problem: &Problem, params: &Params) -> Self {
        Self {
            path: path.to_owned(),
            fingerprint: fingerprint(problem, params),
            elements: params.n_clusters * problem.columns,
            runs: params.runs(),
        }
    }

    /// What the file holds; nothing where there is no file.
    pub fn load(&self, cancel: &Cancel) -> Result<Memory> {
        if !self.path.exists() {
            return Ok(Memory::default());
        }
        let mut decoder = Decoder::open(&self.path, KIND, cancel)?;
        let fingerprint = decoder.f64s()?;
        let same = fingerprint.len() == self.fingerprint.len()
            && fingerprint.iter().zip(&self.fingerprint).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            let expected =
                "a checkpoint of this data with the same n_clusters, n_init, init, seed and weights";
            let got = "one of other data or parameters; remove it to start afresh".to_owned();
            return Err(Error::Format { path: self.path.clone(), expected: expected.to_owned(), got });
        }
        let mut memory = Memory { state: decoder.state(self.elements)?, best: decoder.state(self.elements)? };
        for state in [&mut memory.state, &mut memory.best].into_iter().flatten() {
            decoder.products(&mut state.history)?;
        }
        if [&memory.state, &memory.best].into_iter().flatten().any(|state| state.run >= self.runs) {
            return Err(decoder.malformed("a run that does not exist"));
        }
        Ok(memory)
    }

    /// Replaces the file.
    pub fn save(&self, memory: &Memory) -> Result<()> {
        let mut encoder = Encoder::default();
        encoder.f64s(&self.fingerprint);
        encoder.state(memory.state.as_ref());
        encoder.state(memory.best.as_ref());
        for state in [&memory.state, &memory.best].into_iter().flatten() {
            state.history.iter().for_each(|iteration| encoder.u64(iteration.products));
        }
        encoder.write(&self.path, KIND)
    }
}

/// Numbers that differ when the data or the parameters differ.
fn fingerprint(problem: &Problem, params: &Params) -> Vec<f64> {
    let init = match &params.init {
        Init::Centroids(centroids) => centroids.iter().flat_map(|c| c.to_bits().to_le_bytes()).collect(),
        named => format!("{named:?}").into_bytes(),
    };
    let weights: f64 =
        problem.weights.iter().flatten().enumerate().map(|(i, &w)| (i + 1) as f64 * f64::from(w)).sum();
    let mut numbers = vec![
        problem.rows as f64,
        problem.columns as f64,
        problem.frame.scale,
        problem.total_square,
        problem.mean_variance,
        weights,
        params.n_clusters as f64,
        params.runs() as f64,
        f64::from(crc32fast::hash(&init)),
        f64::from(crc32fast::hash(bytemuck::cast_slice(&problem.norms))),
        f64::from(crc32fast::hash(&params.seed.to_le_bytes())),
        f64::from(u8::from(params.spherical)),
    ];
    numbers.extend(&problem.frame.offset);
    numbers
}

impl Encoder {
    fn state(&mut self, state: Option<&State>) {
        self.u64(u64::from(state.is_some()));
        let Some(state) = state else { return };
        self.u64(state.run as u64);
        self.f64s(&state.centroids);
        self.f64s(state.before.as_deref().map_or(&[], Vec::as_slice));
        self.u64(match state.ended {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        });
        self.u64(u64::from(state.settled));
        self.u64(state.history.len() as u64);
        for iteration in &state.history {
            self.f64(iteration.inertia);
            self.u64(iteration.changed);
            self.f64(iteration.screened);
            self.f64(iteration.rechecked);
            self.f64(iteration.shift);
        }
    }
}

impl Decoder<'_> {
    fn state(&mut self, elements: usize) -> Result<Option<State>> {
        if self.u64()? == 0 {
            return Ok(None);
        }
        let run = self.u64()? as usize;
        let centroids = self.f64s()?;
        let before = Some(self.f64s()?).filter(|before| !before.is_empty());
        let usable = |values: &Vec<f64>| {
            values.len() == elements && values.iter().all(|v| v.abs() <= LARGEST_CENTROID)
        };
        if !usable(&centroids) || before.as_ref().is_some_and(|before| !usable(before)) {
            return Err(self.malformed("centroids of another shape or range"));
        }
        let ended = match self.u64()? {
            0 => None,
            ended => Some(ended == 2),
        };
        let settled = self.u64()? != 0;
        let mut history = Vec::new();
        for _ in 0..self.u64()? {
            let (inertia, changed) = (self.f64()?, self.u64()?);
            let (screened, rechecked, shift) = (self.f64()?, self.f64()?, self.f64()?);
            history.push(Iteration { inertia, changed, screened, rechecked, shift, products: 0 });
        }
        let (centroids, before) = (Arc::new(centroids), before.map(Arc::new));
        Ok(Some(State { run, centroids, before, history, ended, settled }))
    }

    /// The products of each iteration. They stand behind everything else: files from before they were counted end there,
    /// and older versions do not read that far.
    fn products(&mut self, history: &mut [Iteration]) -> Result<()> {
        for iteration in history {
            if self.is_at_end() {
                break;
            }
            iteration.products = self.u64()?;
        }
        Ok(())
    }
}
