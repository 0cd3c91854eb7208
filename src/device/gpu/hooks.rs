//! For the project's own tests; nothing outside may rely on them.

use super::context::Gpu;
use super::faults::Fault;
use crate::device::Device;
use crate::device::limits::{Caps, MatrixUse};

impl Device {
    /// Lets device call number `nth` from now on (from 1, none for 0) return `fault`.
    #[doc(hidden)]
    pub fn inject_fault(&self, nth: u64, fault: Fault) {
        if let Some(gpu) = self.opened_gpu() {
            gpu.fail_call(nth, fault);
        }
    }

    /// Lets device call number `nth` from now on (from 1) and all calls after it return `fault`: the device stays lost, or
    /// full.
    #[doc(hidden)]
    pub fn inject_lasting_fault(&self, nth: u64, fault: Fault) {
        if let Some(gpu) = self.opened_gpu() {
            gpu.fail_from_call(nth, fault);
        }
    }

    /// The same device, of which the CPU goes on with what fails, as with `auto`, which takes no software driver and no
    /// small work to a GPU.
    #[doc(hidden)]
    pub fn with_fallback(self) -> Self {
        Self { falls_back: true, ..self }
    }

    /// The same device with plain WGSL in place of matrix units of this size, 8 or 16.
    #[doc(hidden)]
    pub fn with_plain_matrices(self, size: u32) -> Self {
        let caps = Caps { matrix: MatrixUse::Plain(size), ..self.caps };
        self.with_caps(caps)
    }

    /// Lets the self-test of plain matrices meet one of its known faults from now on.
    #[doc(hidden)]
    pub fn plant_matrix_fault(&self, fault: &'static str) {
        if let Some(gpu) = self.opened_gpu() {
            gpu.plant_matrix_fault(fault);
        }
    }

    /// Lets the self-test of soft arithmetic meet one of its known faults from now on, so that no kernel rests on it.
    #[doc(hidden)]
    pub fn plant_soft_fault(&self, fault: &'static str) {
        if let Some(gpu) = self.opened_gpu() {
            gpu.plant_soft_fault(fault);
        }
    }

    /// Lets work that begins from now on be paced as on a device that does so many multiplications and additions per second,
    /// whatever this one takes: a driver on the CPU then gets the submissions of a hardware GPU.
    #[doc(hidden)]
    pub fn pace_as(&self, units_per_second: f64) {
        if let Some(gpu) = self.opened_gpu() {
            gpu.pace_as(units_per_second);
        }
    }

    /// Device calls since the last [`Device::inject_fault`].
    #[doc(hidden)]
    pub fn device_calls(&self) -> u64 {
        self.opened_gpu().map_or(0, Gpu::calls)
    }

    /// Device buffers handed out and not yet dropped.
    #[doc(hidden)]
    pub fn live_buffers(&self) -> u64 {
        self.opened_gpu().map_or(0, Gpu::live_buffers)
    }
}
