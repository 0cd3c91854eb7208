//! A checkpoint: where a fit stands after an iteration, so that it can go on after a kill, to the same bits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::codec::{Decoder, Encoder, Kind, LARGEST_CENTROID};
use super::fingerprint::Fingerprint;
use super::lloyd::{Iteration, State};
use super::memory::{Kept, Memory};
use super::params::Params;
use super::problem::Problem;
use crate::cancel::Cancel;
use crate::error::{Error, Result};

const KIND: Kind =
    Kind { tag: b"KMCP", name: "k-means checkpoint", version: 3, cure: "remove it to start afresh" };

/// A checkpoint file of one fit.
pub(super) struct Checkpoint {
    path: PathBuf,
    fingerprint: Fingerprint,
    /// Elements of the centroids.
    elements: usize,
    /// Number of runs.
    runs: usize,
    max_iter: usize,
}

impl Checkpoint {
    /// The checkpoint of a fit at `path`. It reads all rows once.
    pub fn new(path: &Path, problem: &Problem, params: &Params) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            fingerprint: Fingerprint::new(problem, params)?,
            elements: params.n_clusters * problem.columns,
            runs: params.runs(),
            max_iter: params.max_iter,
        })
    }

    /// What the file holds; nothing where there is no file.
    pub fn load(&self, cancel: &Cancel) -> Result<Memory> {
        let mut memory = Memory { kept: Vec::new(), runs_may_go_on: true };
        if !self.path.exists() {
            return Ok(memory);
        }
        let mut decoder = Decoder::open(&self.path, KIND, cancel)?;
        if let Some(difference) = self.fingerprint.difference(&Fingerprint::decode(&mut decoder)?) {
            let expected = format!("a checkpoint of a fit with {}", difference.expected);
            return Err(self.refused(expected, &format!("one with {}", difference.got)));
        }
        let count = decoder.u64()?;
        if count > self.runs as u64 {
            return Err(decoder.malformed("a run that does not exist"));
        }
        for run in 0..count as usize {
            memory.kept.push(decoder.kept(run, self.elements)?);
        }
        if !memory.is_complete() {
            return Err(decoder.malformed("beaten runs without one that beat them"));
        }
        let longest = memory.kept.iter().map(Kept::n_iter).max().unwrap_or(0);
        if longest > self.max_iter {
            let expected = format!("a checkpoint within max_iter {}", self.max_iter);
            let got = format!("one of {longest} iterations, which goes on under max_iter {longest} or more");
            return Err(self.refused(expected, &got));
        }
        Ok(memory)
    }

    fn refused(&self, expected: String, got: &str) -> Error {
        Error::Format { path: self.path.clone(), expected, got: format!("{got}; {}", KIND.cure) }
    }

    /// Replaces the file.
    pub fn save(&self, memory: &Memory) -> Result<()> {
        let mut encoder = Encoder::default();
        self.fingerprint.encode(&mut encoder);
        encoder.u64(memory.kept.len() as u64);
        memory.kept.iter().for_each(|kept| encoder.kept(kept));
        encoder.write(&self.path, KIND)
    }
}

const BEATEN: u64 = 0;
const GOING_ON: u64 = 1;
const FINISHED: u64 = 2;

impl Encoder {
    fn kept(&mut self, kept: &Kept) {
        match kept {
            Kept::Beaten { n_iter } => {
                self.u64(BEATEN);
                self.u64(*n_iter as u64);
            }
            Kept::Whole { state, inertia: None } => {
                self.u64(GOING_ON);
                self.state(state);
            }
            Kept::Whole { state, inertia: Some(inertia) } => {
                self.u64(FINISHED);
                self.f64(*inertia);
                self.state(state);
            }
        }
    }

    fn state(&mut self, state: &State) {
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
            self.u64(iteration.products);
        }
    }
}

impl Decoder<'_> {
    fn kept(&mut self, run: usize, elements: usize) -> Result<Kept> {
        match self.u64()? {
            BEATEN => Ok(Kept::Beaten { n_iter: usize::try_from(self.u64()?).unwrap_or(usize::MAX) }),
            GOING_ON => Ok(Kept::Whole { state: self.state(run, elements)?, inertia: None }),
            FINISHED => {
                let inertia = Some(self.f64()?);
                let state = self.state(run, elements)?;
                if state.ended.is_none() {
                    return Err(self.malformed("an inertia of a run that goes on"));
                }
                Ok(Kept::Whole { state, inertia })
            }
            _ => Err(self.malformed("a run that neither goes on nor is finished")),
        }
    }

    fn state(&mut self, run: usize, elements: usize) -> Result<State> {
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
            let products = self.u64()?;
            history.push(Iteration { inertia, changed, screened, rechecked, shift, products });
        }
        let (centroids, before) = (Arc::new(centroids), before.map(Arc::new));
        Ok(State { run, centroids, before, history, ended, settled })
    }
}
