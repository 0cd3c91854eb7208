//! One pass of Lloyd's algorithm on the GPU.

use std::sync::OnceLock;

use super::grid::Sums;
use super::label::Rows;
use super::lloyd::{Pass, Passes};
use super::params::Params;
use super::problem::Problem;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::tile::codebook::Codebook;

pub(crate) struct Windows;
pub(crate) struct GpuPasses;

fn missing() -> Error {
    Error::DeviceRefused { device: String::new(), operation: "k-means", reason: "not there yet".into() }
}

impl GpuPasses {
    pub fn new(_: &Gpu, _: &Problem, _: &Params, _: &OnceLock<Windows>) -> Result<Self> {
        Err(missing())
    }
}

impl Passes for GpuPasses {
    fn reset(&mut self) -> Result<()> {
        Err(missing())
    }
    fn assign(&mut self, _: &Codebook) -> Result<Pass> {
        Err(missing())
    }
    fn sums(&self) -> &Sums {
        unreachable!()
    }
    fn labels(&mut self) -> Result<Vec<u32>> {
        Err(missing())
    }
}

pub(crate) fn predict(_: &Gpu, _: &Rows, _: &Codebook) -> Result<(Vec<u32>, u64)> {
    Err(missing())
}
