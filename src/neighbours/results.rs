//! What is handed out.

use ndarray::Array2;

use super::problem::Problem;
use super::reference::Neighbour;
use crate::distance::real::{rounded_f32, rounded_f64};
use crate::distance::{Domain, Matrix};
use crate::error::{Error, Result};
use crate::memory::zeroed;

/// The nearest points of every query.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Neighbours {
    /// Indices of points: one row per query, best first.
    pub indices: Array2<u32>,
    /// The metric's value of each.
    pub distances: Matrix,
    /// The device in words.
    pub device: String,
    /// Share of the queries whose candidates matrix units found, from 0 to 1: see
    /// [`Device::with_matrix_units`](crate::Device::with_matrix_units). It changes no bit of the others.
    pub screened: f64,
}

/// Values of `f32` or `f64`, whichever the input's element types ask for.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// For inputs of at most 32-bit floats and 16-bit integers.
    F32(Vec<f32>),
    /// For inputs of which one has `f64` or 32- or 64-bit integers.
    F64(Vec<f64>),
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values in `f64`; `f32` ones are widened without rounding.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.iter().copied().map(f64::from).collect(),
            Self::F64(values) => values.clone(),
        }
    }
}

/// All points within a radius of every query, in compressed rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Within {
    /// Where the neighbours of each query begin, and the end of the last.
    pub offsets: Vec<u64>,
    /// Indices of points.
    pub indices: Vec<u32>,
    /// The metric's value of each.
    pub distances: Values,
    /// The device in words.
    pub device: String,
}

/// How many points are within a radius of every query.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Counts {
    /// One per query.
    pub counts: Vec<u64>,
    /// Their sum.
    pub total: u64,
    /// The device in words.
    pub device: String,
}

/// Room for the values of either type, filled from `f64`.
pub(super) enum Room {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Room {
    /// `count` zeros.
    pub fn new(is_f64: bool, count: usize) -> Result<Self> {
        Ok(if is_f64 {
            Self::F64(zeroed("distances of neighbours", count, 1)?)
        } else {
            Self::F32(zeroed("distances of neighbours", count, 1)?)
        })
    }

    /// Rounds the values of one query of `problem` into places from `start` on; refuses what the type cannot hold, but for the
    /// infinity between rows without a common feature.
    pub fn put(&mut self, problem: &Problem, query: u32, start: usize, found: &[Neighbour]) -> Result<()> {
        let has_missing = problem.formula.metric.domain() == Domain::Missing;
        let is_apart = |value: f64| has_missing && value == f64::INFINITY;
        match self {
            Self::F32(values) => put(&mut values[start..], query, found, |row, rank, value| {
                if is_apart(value) { Ok(f32::INFINITY) } else { rounded_f32(row, rank, value) }
            }),
            Self::F64(values) => put(&mut values[start..], query, found, |row, rank, value| {
                if is_apart(value) { Ok(f64::INFINITY) } else { rounded_f64(row, rank, value) }
            }),
        }
    }

    pub fn into_matrix(self, rows: usize, columns: usize) -> Result<Matrix> {
        let failed = |error| Error::shape("result", format!("{rows} x {columns}"), error);
        Ok(match self {
            Self::F32(values) => {
                Matrix::F32(Array2::from_shape_vec((rows, columns), values).map_err(failed)?)
            }
            Self::F64(values) => {
                Matrix::F64(Array2::from_shape_vec((rows, columns), values).map_err(failed)?)
            }
        })
    }

    pub fn into_values(self) -> Values {
        match self {
            Self::F32(values) => Values::F32(values),
            Self::F64(values) => Values::F64(values),
        }
    }
}

fn put<T>(
    places: &mut [T],
    query: u32,
    found: &[Neighbour],
    rounded: impl Fn(usize, usize, f64) -> Result<T>,
) -> Result<()> {
    for (rank, (place, neighbour)) in places.iter_mut().zip(found).enumerate() {
        *place = rounded(query as usize, rank, neighbour.value)?;
    }
    Ok(())
}
