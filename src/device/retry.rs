//! What work on a GPU survives, in every slice: one loss of the device, and a few times too little memory; then the CPU
//! goes on where the device may fall back.
//!
//! A slice hands out results only of what is done: a window, a query, a whole block. What an attempt left undone is done by
//! the next one, or by the CPU.

use super::context::Gpu;
use super::{Choice, Device, cpu_name};
use crate::error::{Error, Result};

/// How often work is tried again with half the device memory.
const HALVINGS: usize = 3;

impl Gpu {
    /// Runs `work`; it is told how many attempts failed before. After a loss the device is opened again, once; where
    /// memory runs out the next attempt may use half as much. Nothing that lived on the device before a failed
    /// attempt may be used after it.
    ///
    /// # Errors
    /// Those of the last attempt. Where less memory is too little for the work, that of the attempt before: the device is
    /// full, and the work is not too large.
    pub(crate) fn persist<R>(&self, mut work: impl FnMut(&Gpu, usize) -> Result<R>) -> Result<R> {
        let mut gpu = self.clone();
        let (mut halvings, mut losses) = (0, 0);
        let mut full = None;
        loop {
            match work(&gpu, halvings + losses) {
                Err(Error::DeviceLost { reason, .. }) if losses == 0 => {
                    tracing::warn!(device = gpu.name(), reason, "device lost; opening it again");
                    losses += 1;
                    gpu.recreate()?;
                }
                Err(error @ Error::DeviceMemory { .. }) if halvings < HALVINGS => {
                    tracing::warn!(device = gpu.name(), %error, "trying again with half the memory");
                    halvings += 1;
                    gpu = gpu.with_half_the_memory();
                    full = Some(error);
                }
                Err(Error::TooLarge { .. }) if let Some(error) = full.take() => return Err(error),
                outcome => return outcome,
            }
        }
    }
}

impl Device {
    /// Runs `on_gpu` as [`Gpu::persist`] does. Where the GPU fails all the same and this device falls back, the CPU does
    /// the work. Also says what did it.
    pub(crate) fn on_gpu_or_cpu<R>(
        &self,
        gpu: &Gpu,
        on_gpu: impl FnMut(&Gpu, usize) -> Result<R>,
        on_cpu: impl FnOnce() -> Result<R>,
    ) -> Result<(R, String)> {
        match gpu.persist(on_gpu) {
            Err(error) if self.falls_back_after(&error) => Ok((on_cpu()?, self.cpu_after(gpu))),
            outcome => Ok((outcome?, gpu.name())),
        }
    }

    /// Whether the CPU goes on after `error`, which a GPU had for good. The log says that it does.
    pub(crate) fn falls_back_after(&self, error: &Error) -> bool {
        let falls_back = self.falls_back && error.is_of_device();
        if falls_back {
            tracing::warn!(%error, "the GPU failed; the CPU takes over");
        }
        falls_back
    }

    /// The CPU in words, where it went on after `gpu` failed.
    pub(crate) fn cpu_after(&self, gpu: &Gpu) -> String {
        format!("{} (after {} failed)", cpu_name(&self.pool), gpu.name())
    }

    /// This device as an attempt of [`Device::on_gpu_or_cpu`] sees it: `gpu` with what memory it may use.
    pub(crate) fn with_gpu(&self, gpu: &Gpu) -> Self {
        Self { choice: Choice::Gpu(gpu.clone()), falls_back: false, ..self.clone() }
    }

    /// This device's CPU path alone.
    pub(crate) fn without_gpu(&self) -> Self {
        Self { choice: Choice::Cpu, falls_back: false, ..self.clone() }
    }
}
