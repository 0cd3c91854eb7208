//! Rows of a distance matrix, made when they are needed, for workloads that have no room for all of it.

use super::matrix::MatrixViewMut;
use super::params::Params;
use super::perform::Engine;
use super::tables::{Tables, needs_f64};
use crate::data::Points;
use crate::device::Device;
use crate::error::{Error, Result};

/// Makes rows of the distances of X with Y in the type that the tables ask for.
pub(crate) struct RowMaker<'a>(Maker<'a>);

enum Maker<'a> {
    F32(Engine<'a, f32>),
    F64(Engine<'a, f64>),
}

impl<'a> RowMaker<'a> {
    /// Prepares X and Y, X itself for `None`. Errors as [`between`](super::between).
    pub fn new(device: &Device, x: &'a Points, y: Option<&'a Points>, params: &Params) -> Result<Self> {
        let tables = Tables::new(x, y)?;
        Ok(Self(if needs_f64(params.metric, x, y) {
            Maker::F64(Engine::new(device, &tables, params)?)
        } else {
            Maker::F32(Engine::new(device, &tables, params)?)
        }))
    }

    /// Fills `out` with rows from `first` on.
    pub fn fill(&mut self, first: usize, out: MatrixViewMut) -> Result<()> {
        match (&mut self.0, out) {
            (Maker::F32(engine), MatrixViewMut::F32(out)) => engine.fill(first, out),
            (Maker::F64(engine), MatrixViewMut::F64(out)) => engine.fill(first, out),
            (Maker::F32(_), _) => Err(Error::shape("out", "an array of f32", "an array of f64")),
            (Maker::F64(_), _) => Err(Error::shape("out", "an array of f64", "an array of f32")),
        }
    }

    /// The device in words.
    pub fn device(&self) -> String {
        match &self.0 {
            Maker::F32(engine) => engine.device().to_owned(),
            Maker::F64(engine) => engine.device().to_owned(),
        }
    }
}
