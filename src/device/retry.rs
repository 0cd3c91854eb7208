//! What a GPU's work survives: one loss of the device, and a few times too little memory.

use super::context::Gpu;
use super::{Choice, Device};
use crate::error::{Error, Result};

/// How often work is tried again with half the device memory.
const HALVINGS: usize = 3;

impl Gpu {
    /// Runs `work`; it is told how many attempts failed before. After a loss the device is opened again, once; where
    /// memory runs out the next attempt may use half as much. Nothing that lived on the device before a failed
    /// attempt may be used after it.
    ///
    /// # Errors
    /// Those of the last attempt.
    pub(crate) fn persist<R>(&self, mut work: impl FnMut(&Gpu, usize) -> Result<R>) -> Result<R> {
        let mut gpu = self.clone();
        let (mut halvings, mut losses) = (0, 0);
        loop {
            match work(&gpu, halvings + losses) {
                Err(Error::DeviceLost { reason, .. }) if losses == 0 => {
                    tracing::warn!(device = gpu.name(), reason, "device lost; opening it again");
                    losses += 1;
                    gpu.recreate()?;
                }
                Err(Error::DeviceMemory { bytes, .. }) if halvings < HALVINGS => {
                    tracing::warn!(
                        device = gpu.name(),
                        bytes,
                        "out of device memory; trying with half of it"
                    );
                    halvings += 1;
                    gpu = gpu.with_half_the_memory();
                }
                outcome => return outcome,
            }
        }
    }
}

impl Device {
    /// Runs `on_gpu` as [`Gpu::persist`] does. Where `auto` chose the GPU and the GPU fails all the same, the CPU does
    /// the work. Also says what did it.
    pub(crate) fn on_gpu_or_cpu<R>(
        &self,
        gpu: &Gpu,
        on_gpu: impl FnMut(&Gpu, usize) -> Result<R>,
        on_cpu: impl FnOnce() -> Result<R>,
    ) -> Result<(R, String)> {
        match gpu.persist(on_gpu) {
            Err(error) if self.is_auto() && error.is_of_device() => {
                tracing::warn!(%error, "the GPU failed; the CPU takes over");
                Ok((on_cpu()?, format!("{} (after {} failed)", self.cpu_name(), gpu.name())))
            }
            outcome => Ok((outcome?, gpu.name())),
        }
    }

    /// This device as an attempt of [`Device::on_gpu_or_cpu`] sees it: `gpu` with what memory it may use.
    pub(crate) fn with_gpu(&self, gpu: &Gpu) -> Self {
        Self { choice: Choice::Gpu(gpu.clone()), caps: self.caps, pool: self.pool.clone() }
    }

    /// This device's CPU path alone.
    pub(crate) fn without_gpu(&self) -> Self {
        Self { choice: Choice::Cpu, caps: self.caps, pool: self.pool.clone() }
    }
}
