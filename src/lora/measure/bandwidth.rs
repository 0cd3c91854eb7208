//! What a device's memory can do, and what a launch costs.

use std::time::Instant;

use rayon::prelude::*;

#[cfg(feature = "gpu")]
use crate::device::Backend;
use crate::device::{CpuPool, Device};
use crate::error::Result;
use crate::lora::pool::backend;

/// Bytes that are copied to measure the memory: many times any cache.
const COPIED_BYTES: usize = 256 << 20;
/// How often.
const REPETITIONS: usize = 7;

/// What bounds a batch from below.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// The device in words.
    pub device: String,
    /// Whether it is a driver that runs on the CPU: its times say nothing of GPUs.
    pub is_software: bool,
    /// Bytes read and written per second by a copy.
    pub copy_bytes_per_second: f64,
    /// Seconds of a launch that does nothing; 0 on the CPU.
    pub launch_seconds: f64,
}

/// Measures the memory and the launches of `device`.
///
/// # Errors
/// Those of the device.
pub fn rates(device: &Device) -> Result<Rates> {
    match backend(device) {
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => super::on_gpu::rates(gpu),
        backend => Ok(Rates {
            device: backend.name(),
            is_software: false,
            copy_bytes_per_second: copy_rate(&device.host_pool()),
            launch_seconds: 0.0,
        }),
    }
}

fn copy_rate(pool: &CpuPool) -> f64 {
    let count = COPIED_BYTES / size_of::<u64>();
    let (source, mut target) = (vec![1_u64; count], vec![2_u64; count]);
    let mut best = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        pool.install(|| {
            let chunks = target.par_chunks_mut(1 << 17).zip(source.par_chunks(1 << 17));
            chunks.for_each(|(target, source)| target.copy_from_slice(source));
        });
        best = best.min(begin.elapsed().as_secs_f64());
    }
    2.0 * COPIED_BYTES as f64 / best
}

/// Overwrites memory that is larger than the caches.
pub(super) struct Flusher {
    values: Vec<u64>,
}

impl Flusher {
    pub(super) fn new() -> Self {
        Self { values: vec![0; COPIED_BYTES / size_of::<u64>()] }
    }

    pub(super) fn flush(&mut self, pool: &CpuPool) {
        pool.install(|| self.values.par_iter_mut().for_each(|value| *value = value.wrapping_add(1)));
    }
}
