//! A checkpoint: where a fit stands after an iteration, so that it can go on after a kill, to the same bits.

use std::path::PathBuf;

use super::codec::{Decoder, Encoder, Kind};
use super::lloyd::{Iteration, State};
use super::params::Params;
use super::problem::Problem;
use crate::error::{Error, Result};

const KIND: Kind = Kind { tag: b"KMCP", name: "k-means checkpoint", version: 1 };

/// A checkpoint file of one fit.
pub(super) struct Checkpoint {
    path: PathBuf,
    fingerprint: Vec<f64>,
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
    /// The checkpoint that the parameters ask for.
    pub fn of(problem: &Problem, params: &Params) -> Option<Self> {
        let path = params.checkpoint.clone()?;
        Some(Self { path, fingerprint: fingerprint(problem, params) })
    }

    /// What the file holds; nothing where there is no file.
    pub fn load(&self) -> Result<Memory> {
        if !self.path.exists() {
            return Ok(Memory::default());
        }
        let mut decoder = Decoder::open(&self.path, KIND)?;
        let fingerprint = decoder.f64s()?;
        let same = fingerprint.len() == self.fingerprint.len()
            && fingerprint.iter().zip(&self.fingerprint).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            let expected =
                "a checkpoint of this data with the same n_clusters, n_init, init, seed and weights";
            let got = "one of other data or parameters; remove it to start afresh".to_owned();
            return Err(Error::Format { path: self.path.clone(), expected: expected.to_owned(), got });
        }
        Ok(Memory { state: decoder.state()?, best: decoder.state()? })
    }

    /// Replaces the file.
    pub fn save(&self, memory: &Memory) -> Result<()> {
        let mut encoder = Encoder::default();
        encoder.f64s(&self.fingerprint);
        encoder.state(memory.state.as_ref());
        encoder.state(memory.best.as_ref());
        encoder.write(&self.path, KIND)
    }
}

/// Numbers that differ when the data or the parameters differ.
fn fingerprint(problem: &Problem, params: &Params) -> Vec<f64> {
    let init = format!("{:?}", params.init);
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
        f64::from(crc32fast::hash(init.as_bytes())),
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
        self.f64s(state.before.as_deref().unwrap_or_default());
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
            self.f64(iteration.rechecked);
            self.f64(iteration.shift);
        }
    }
}

impl Decoder<'_> {
    fn state(&mut self) -> Result<Option<State>> {
        if self.u64()? == 0 {
            return Ok(None);
        }
        let run = self.u64()? as usize;
        let centroids = self.f64s()?;
        let before = Some(self.f64s()?).filter(|before| !before.is_empty());
        let ended = match self.u64()? {
            0 => None,
            ended => Some(ended == 2),
        };
        let settled = self.u64()? != 0;
        let mut history = Vec::new();
        for _ in 0..self.u64()? {
            let (inertia, changed) = (self.f64()?, self.u64()?);
            history.push(Iteration { inertia, changed, rechecked: self.f64()?, shift: self.f64()? });
        }
        Ok(Some(State { run, centroids, before, history, ended, settled }))
    }
}
