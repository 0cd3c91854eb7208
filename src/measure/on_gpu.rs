//! What a GPU can do, by its own clock where it has one.

use std::sync::Arc;
use std::time::Instant;

use super::kernels::{
    CHAINS, LANES, MultiplyParams, StreamParams, UNROLLED, copy_kernel, multiply_kernel, stream_workgroups,
    write_kernel,
};
use super::roofs::{REPETITIONS, Roofs, check};
use crate::device::{DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;

/// Bytes that are copied and written.
const LARGE_BYTES: u64 = 256 << 20;
/// Workgroups that multiply: several for every core of a large GPU, few for a driver on the CPU.
const WORKGROUPS: u32 = 8192;
const SOFTWARE_WORKGROUPS: u32 = 64;
/// Rounds grow until a dispatch takes so long; the clock and the launch then no longer matter.
const LONG_ENOUGH_SECONDS: f64 = 0.01;
/// How long a GPU is kept busy before something is timed on it.
const WAKE_SECONDS: f64 = 0.25;
/// A chain's end times the chains of an invocation stays below 2^24.
const MOST_ROUNDS: u32 = (1 << 20) / UNROLLED;

/// Bytes to stream through, in whole workgroups of vectors.
pub(super) fn large_bytes(gpu: &Gpu) -> u64 {
    let limits = gpu.limits();
    LARGE_BYTES.min(limits.max_binding_bytes).min(limits.budget_bytes / 8).max(4096) / 4096 * 4096
}

/// Measures multiply-adds, copies, writes and empty launches.
pub(super) fn roofs(gpu: &Gpu) -> Result<Roofs> {
    let fma_flops_per_second = multiply_rate(gpu)?;
    let bytes = large_bytes(gpu);
    let [source, target] = [gpu.buffer("source", bytes)?, gpu.buffer("target", bytes)?];
    let streams = Streams { gpu, source: &source, target: &target };
    let vectors = (bytes / 16) as u32;
    let (write, copy) = (gpu.pipeline(&write_kernel()?)?, gpu.pipeline(&copy_kernel()?)?);

    let written = streams.seconds(&write, &[&source], vectors)?;
    let write_seconds = best(&written);
    let copied = streams.seconds(&copy, &[&source, &target], vectors)?;
    let mut empty = streams.seconds(&copy, &[&source, &target], 0)?;
    empty.sort_unstable_by(f64::total_cmp);
    streams.check(vectors)?;
    Ok(Roofs {
        device: gpu.name(),
        is_software: gpu.is_software(),
        fma_flops_per_second,
        copy_bytes_per_second: 2.0 * bytes as f64 / best(&copied),
        write_bytes_per_second: bytes as f64 / write_seconds,
        launch_seconds: empty[empty.len() / 2],
    })
}

fn best(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(f64::INFINITY, f64::min)
}

struct Streams<'a> {
    gpu: &'a Gpu,
    source: &'a DeviceBuffer,
    target: &'a DeviceBuffer,
}

impl Streams<'_> {
    /// Seconds of each repetition of a kernel over so many vectors.
    fn seconds(&self, pipeline: &Arc<Pipeline>, buffers: &[&DeviceBuffer], vectors: u32) -> Result<Vec<f64>> {
        let workgroups = stream_workgroups(vectors).max(1);
        let across = workgroups.min(self.gpu.limits().max_workgroups_per_dimension);
        let params = StreamParams { vectors, across };
        let once = || -> Result<f64> {
            let mut batch = self.gpu.batch("stream");
            let bindings: Vec<_> = buffers.iter().map(|buffer| buffer.whole()).collect();
            let grid = [across, workgroups.div_ceil(across), 1];
            batch.dispatch(pipeline, &bindings, bytemuck::bytes_of(&params), grid)?;
            Ok(batch.submit_and_wait()?.as_secs_f64())
        };
        (0..REPETITIONS).map(|_| once()).collect()
    }

    /// Whether the first and the last vectors are what `write` wrote and `copy` copied.
    fn check(&self, vectors: u32) -> Result<()> {
        for first in [0, vectors - 64] {
            let range = 16 * u64::from(first)..16 * u64::from(first + 64);
            for bytes in self.gpu.read(&[(self.source, range.clone()), (self.target, range)])? {
                let words: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
                let is_right = words.chunks_exact(4).zip(first..).all(|(words, at)| *words == [at, 1, 2, 3]);
                check(&self.gpu.name(), "copying and writing", is_right)?;
            }
        }
        Ok(())
    }
}

/// Keeps a GPU busy until its clock has risen: an idle one runs at a fraction of its speed (an H100 at 345 of 1980 MHz)
/// and takes a while to notice work, so that what is timed first would seem several times as slow.
pub(super) fn wake(gpu: &Gpu) -> Result<()> {
    if gpu.is_software() {
        return Ok(());
    }
    let multiply = Multiply::new(gpu)?;
    let (begin, mut rounds) = (Instant::now(), 8);
    while begin.elapsed().as_secs_f64() < WAKE_SECONDS {
        if multiply.once(rounds)? < LONG_ENOUGH_SECONDS && rounds < MOST_ROUNDS / 2 {
            rounds *= 2;
        }
    }
    Ok(())
}

/// The chains of multiply-adds.
struct Multiply<'a> {
    gpu: &'a Gpu,
    workgroups: u32,
    sums: DeviceBuffer,
    pipeline: Arc<Pipeline>,
}

impl<'a> Multiply<'a> {
    fn new(gpu: &'a Gpu) -> Result<Self> {
        let workgroups = if gpu.is_software() { SOFTWARE_WORKGROUPS } else { WORKGROUPS };
        let sums = gpu.buffer("sums", 16 * u64::from(workgroups * LANES))?;
        Ok(Self { gpu, workgroups, sums, pipeline: gpu.pipeline(&multiply_kernel()?)? })
    }

    /// Seconds of so many rounds.
    fn once(&self, rounds: u32) -> Result<f64> {
        let params = MultiplyParams { rounds, factor: 1.0, term: 1.0, padding: 0 };
        let mut batch = self.gpu.batch("multiply");
        let grid = [self.workgroups, 1, 1];
        batch.dispatch(&self.pipeline, &[self.sums.whole()], bytemuck::bytes_of(&params), grid)?;
        Ok(batch.submit_and_wait()?.as_secs_f64())
    }
}

/// Multiplications and additions per second.
fn multiply_rate(gpu: &Gpu) -> Result<f64> {
    let multiply = Multiply::new(gpu)?;
    let once = |rounds| multiply.once(rounds);
    let invocations = multiply.workgroups * LANES;
    let sums = &multiply.sums;
    let mut rounds = 8;
    while once(rounds)? < LONG_ENOUGH_SECONDS && rounds < MOST_ROUNDS / 2 {
        rounds *= 2;
    }
    let mut seconds = f64::INFINITY;
    for _ in 0..REPETITIONS {
        seconds = seconds.min(once(rounds)?);
    }
    let steps = rounds * UNROLLED;
    let bytes = gpu.read(&[(sums, 0..sums.size_bytes())])?.concat();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
    // Chain i of invocation l starts in lane c at l + c + i.
    let starts = (0..CHAINS).sum::<u32>();
    let is_right = values.iter().enumerate().all(|(at, &value)| {
        let (lane, local) = (at as u32 % 4, at as u32 / 4 % LANES);
        value == (CHAINS * (local + lane + steps) + starts) as f32
    });
    check(&gpu.name(), "multiplying", is_right)?;
    let flops = 2.0 * 4.0 * f64::from(CHAINS) * f64::from(steps) * f64::from(invocations);
    Ok(flops / seconds)
}
