//! What bounds all work on a device: its multiply-adds, its memory, its launches.

use std::time::Instant;

use rayon::prelude::*;

use super::multiply;
#[cfg(feature = "gpu")]
use crate::device::Backend;
use crate::device::{CpuPool, Device, Prediction};
use crate::error::{Error, Result};

/// Bytes that are copied to measure the memory: many times any cache.
const STREAMED_BYTES: usize = 256 << 20;
/// How often each rate is measured; the best counts, since all else is other work on the machine.
pub(super) const REPETITIONS: usize = 7;
/// Steps of the multiply-add chains, below 2^20: a chain's end is a whole number that `f32` holds exactly.
const STEPS: u32 = 1 << 19;
/// Chains one after the other, so that starting the threads does not matter.
const CHAINS_PER_THREAD: usize = 8;

/// Work for which `auto` takes a GPU if it has one.
pub(super) const LARGE: Prediction = Prediction { flops: 1e15, upload_bytes: 0.0 };

/// What a device can do at most, measured.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Roofs {
    /// The device in words.
    pub device: String,
    /// Whether it is a driver that runs on the CPU: its times say nothing of GPUs.
    pub is_software: bool,
    /// Multiplications and additions of `f32` per second, in chains that touch no memory.
    pub fma_flops_per_second: f64,
    /// Bytes read and written per second by a copy.
    pub copy_bytes_per_second: f64,
    /// Bytes written per second by a fill.
    pub write_bytes_per_second: f64,
    /// Seconds of a launch that does nothing; 0 on the CPU.
    pub launch_seconds: f64,
}

/// Measures `device` for about a second: multiply-adds, memory, launches. What was computed, copied and written is
/// checked.
///
/// The CPU's roofs are those of all threads of the device's pool; the reference and `auto` count as the CPU where no
/// GPU performs their work.
///
/// ```no_run
/// let roofs = tilefold::measure::roofs(&tilefold::Device::cpu())?;
/// println!("{:.0} GFLOP/s", roofs.fma_flops_per_second / 1e9);
/// # Ok::<(), tilefold::Error>(())
/// ```
///
/// # Errors
/// Those of the device; [`Error::WrongResult`] where a result is wrong.
pub fn roofs(device: &Device) -> Result<Roofs> {
    match device.resolve(&LARGE) {
        #[cfg(feature = "gpu")]
        Backend::Gpu(gpu) => super::on_gpu::roofs(gpu),
        backend => of_cpu(backend.name(), &device.host_pool()?),
    }
}

fn of_cpu(device: String, pool: &CpuPool) -> Result<Roofs> {
    let fma_flops_per_second = multiply_rate(&device, pool)?;
    let count = STREAMED_BYTES / size_of::<u64>();
    let (source, mut target) = (vec![1_u64; count], vec![2_u64; count]);
    let copy_seconds = best_seconds(|| {
        pool.install(|| {
            let chunks = target.par_chunks_mut(1 << 17).zip(source.par_chunks(1 << 17));
            chunks.for_each(|(target, source)| target.copy_from_slice(source));
        });
    });
    check(&device, "copying", target.iter().all(|&word| word == 1))?;
    let write_seconds = best_seconds(|| {
        pool.install(|| target.par_chunks_mut(1 << 17).for_each(|target| target.fill(3)));
    });
    check(&device, "writing", target.iter().all(|&word| word == 3))?;
    Ok(Roofs {
        device,
        is_software: false,
        fma_flops_per_second,
        copy_bytes_per_second: 2.0 * STREAMED_BYTES as f64 / copy_seconds,
        write_bytes_per_second: STREAMED_BYTES as f64 / write_seconds,
        launch_seconds: 0.0,
    })
}

fn multiply_rate(device: &str, pool: &CpuPool) -> Result<f64> {
    let mut best = 0.0_f64;
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        let threads =
            pool.install(|| rayon::broadcast(|_| [(); CHAINS_PER_THREAD].map(|()| multiply::run(STEPS))));
        let seconds = begin.elapsed().as_secs_f64();
        let mut all = threads.iter().flatten();
        check(device, "multiplying", all.clone().all(|chains| chains.sum == chains.expected))?;
        best = best.max(all.by_ref().map(|chains| chains.flops).sum::<f64>() / seconds);
    }
    Ok(best)
}

/// Fails where a measurement did not do its work.
pub(super) fn check(device: &str, operation: &'static str, is_right: bool) -> Result<()> {
    if is_right {
        return Ok(());
    }
    let reason = "values other than the expected ones".to_owned();
    Err(Error::WrongResult { device: device.to_owned(), operation, reason })
}

fn best_seconds(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        work();
        best = best.min(begin.elapsed().as_secs_f64());
    }
    best
}
