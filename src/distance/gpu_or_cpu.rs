//! Blocks of rows by a GPU, and by the CPU once the GPU failed for good and the device falls back.

use ndarray::ArrayViewMut2;

use super::bits::Bits;
use super::cpu;
use super::gpu::GpuEngine;
use super::metric::Domain;
use super::operands::Operands;
use crate::cancel::Cancel;
use crate::device::{Device, Gpu};
use crate::error::Result;

/// Who fills blocks of `f32`.
pub(super) struct GpuOrCpu<'a> {
    device: Device,
    engine: GpuEngine<'a>,
    rest: Option<Rest>,
}

/// What is the CPU's.
struct Rest {
    /// The first row of the first block that the GPU left.
    first_row: usize,
    /// The operands, where they are packed bits.
    bits: Option<Bits>,
}

impl<'a> GpuOrCpu<'a> {
    pub(super) fn new(device: &Device, gpu: &Gpu, operands: Operands<'a, f32>) -> Result<Self> {
        Ok(Self { device: device.clone(), engine: GpuEngine::new(gpu.clone(), operands)?, rest: None })
    }

    /// Fills `out` with rows from `first_row` on. Devices differ within the bounds, so a block is whole from one of them.
    pub(super) fn fill(
        &mut self,
        first_row: usize,
        mut out: ArrayViewMut2<'_, f32>,
        cancel: &Cancel,
    ) -> Result<()> {
        let pool = self.device.host_pool()?;
        if self.rest.is_none() {
            match pool.install(|| self.engine.fill(first_row, out.view_mut(), cancel)) {
                Err(error) if self.device.falls_back_after(&error) => {
                    let operands = self.engine.give_up();
                    let is_packed = operands.metric.domain() == Domain::Packed;
                    let bits = is_packed.then(|| operands.to_bits());
                    self.rest = Some(Rest { first_row, bits });
                }
                outcome => return outcome,
            }
        }
        match &self.rest {
            Some(Rest { bits: Some(bits), .. }) => cpu::bits::fill(&pool, bits, first_row, out, cancel),
            _ => cpu::fill(&pool, self.engine.operands(), first_row, out, cancel),
        }
    }

    /// Who filled what was asked for so far, in words.
    pub(super) fn device(&self) -> String {
        let (gpu, cpu) = (self.engine.gpu(), self.device.cpu_after(self.engine.gpu()));
        match &self.rest {
            None => gpu.name(),
            Some(Rest { first_row: 0, .. }) => cpu,
            Some(Rest { first_row, .. }) => format!("{}; from row {first_row} on {cpu}", gpu.name()),
        }
    }
}
