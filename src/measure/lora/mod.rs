//! What a batch takes on a device: seconds, launches, and bytes counted by the kernels themselves.
//!
//! A batch is checked against its definition in `f64` before it is timed. Before every repetition a buffer larger than
//! the caches is overwritten, so that weights come from memory, as they do in a model whose other layers ran meanwhile;
//! not on software drivers and on the reference, whose times mean little anyhow.

pub(super) mod benchmark;
mod check;
mod flusher;
#[cfg(feature = "gpu")]
mod on_gpu;
mod workload;

use std::time::Instant;

use half::{bf16, f16};
use ndarray::Array2;

pub(super) use check::worst_share;
#[cfg(feature = "cli")]
pub(crate) use workload::MOST_ADAPTERS;
pub use workload::Workload;

use crate::cancel::Cancel;
use crate::device::{Backend, Counters, Device};
use crate::error::{Error, Result};
use crate::lora::apply::pool_of;
use crate::lora::{Factors, Precision, Routes, Scalar, Sizes, Step, Values};
use crate::memory::{self, area};
use crate::random::Stream;

/// Most rows, repetitions and bytes of weights and activations that are measured: beyond them is a typing error.
const MOST_ROWS: usize = 1 << 20;
const MOST_REPETITIONS: usize = 10_000;
const MOST_BYTES: u64 = 1 << 38;

/// A batch to measure: `rows` rows spread over adapters as `workload` says, each adapter with the next of `ranks`.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// How rows spread over adapters.
    pub workload: Workload,
    /// Rows.
    pub rows: usize,
    /// Another number of adapters than the workload's own.
    pub adapters: Option<usize>,
    /// Ranks of the adapters, one after the other, and again from the first.
    pub ranks: Vec<usize>,
    /// Features of x.
    pub inputs: usize,
    /// Features of y.
    pub outputs: usize,
    /// Type of weights and activations.
    pub precision: Precision,
    /// How often the batch is timed.
    pub repetitions: usize,
}

/// What a batch took.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// Rows of the batch.
    pub rows: u64,
    /// Distinct adapters among them.
    pub adapters: u64,
    /// Sum of the ranks over rows: the multiplications.
    pub total_rank_rows: u64,
    /// Sum of the ranks over distinct adapters: the bytes of weights.
    pub total_rank: u64,
    /// Seconds it took: the median repetition.
    pub seconds: f64,
    /// Fastest and slowest repetition, in seconds.
    pub range: [f64; 2],
    /// Kernel launches of the batch, none on the CPU.
    pub launches: usize,
    /// Bytes that have to be read at least: weights of the adapters in use, x and y, each once.
    pub least_bytes: u64,
    /// Bytes that have to be written: y once.
    pub written_bytes: u64,
    /// Bytes that the kernels read, counted by them; none on the CPU.
    pub read: Option<ReadBytes>,
    /// Largest share of its error bound that any value used.
    pub worst_share: f64,
    /// What the last repetition asked of a GPU.
    pub counters: Option<Counters>,
}

/// Bytes that kernels read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadBytes {
    /// Of x and y.
    pub activations: u64,
    /// Of A and B.
    pub weights: u64,
    /// Of what the first product made.
    pub shrunk: u64,
    /// Of the page table.
    pub tables: u64,
}

impl ReadBytes {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.activations + self.weights + self.shrunk + self.tables
    }
}

/// Measures one batch on `device`.
///
/// # Errors
/// [`Error::Parameter`] for no rows, ranks or repetitions, too many of them, and on a GPU for rows that it takes in
/// several windows; [`Error::TooLarge`] where the batch exceeds 256 GiB or the adapters do not fit the device;
/// [`Error::WrongResult`] where a result is not within its bound; [`Error::Cancelled`].
pub fn measure(device: &Device, batch: &Measurement, cancel: &Cancel) -> Result<Measured> {
    for (name, count) in
        [("rows", batch.rows), ("ranks", batch.ranks.len()), ("repetitions", batch.repetitions)]
    {
        if count == 0 {
            return Err(Error::parameter(name, "1 or more", 0));
        }
    }
    if batch.repetitions > MOST_REPETITIONS || batch.rows > MOST_ROWS {
        let (name, most, got) = if batch.rows > MOST_ROWS {
            ("rows", MOST_ROWS, batch.rows)
        } else {
            ("repetitions", MOST_REPETITIONS, batch.repetitions)
        };
        return Err(Error::parameter(name, format!("1 to {most}"), got));
    }
    let [inputs, outputs] = [batch.inputs, batch.outputs];
    batch.ranks.iter().try_for_each(|&rank| Sizes { rank, inputs, outputs }.check())?;
    // At most as many adapters as rows: their weights and the activations, as they are made in f32.
    let most_rank = batch.ranks.iter().copied().max().unwrap_or(0) as u64;
    let needed_bytes = 4 * batch.rows as u64 * (most_rank + 2) * (inputs + outputs) as u64;
    if needed_bytes > MOST_BYTES {
        let what = "a batch to measure".to_owned();
        return Err(Error::TooLarge { what, needed_bytes, limit_bytes: MOST_BYTES });
    }
    // Weights and activations as they are made, as they are held, and as results are checked.
    let adapters = area::<[u64; 4]>(batch.adapters.unwrap_or(0), 1);
    memory::ask("a batch to measure", &[needed_bytes.saturating_mul(2), adapters])?;
    match batch.precision {
        Precision::F32 => measure_as::<f32>(device, batch, cancel),
        Precision::F16 => measure_as::<f16>(device, batch, cancel),
        Precision::Bf16 => measure_as::<bf16>(device, batch, cancel),
    }
}

fn measure_as<T: Scalar>(device: &Device, batch: &Measurement, cancel: &Cancel) -> Result<Measured> {
    let slots = batch.workload.adapter_of_each(batch.rows, batch.adapters, 0)?;
    let rank_of = |slot: usize| batch.ranks[slot % batch.ranks.len()];
    let adapters = slots.iter().max().map_or(0, |&last| last as usize + 1);
    let factors: Vec<Factors> =
        (0..adapters).map(|slot| random_factors(batch, rank_of(slot), slot)).collect::<Result<_>>()?;
    let slots_of: Vec<&Factors> = factors.iter().collect();
    let (pool, names) = pool_of(device, &slots_of, batch.inputs, batch.outputs)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let lease = pool.lease(&names)?;
    let routes = Routes::of_slots(slots.iter().map(|slot| Some(*slot)));
    let step = lease.step(&routes)?;

    let x = random_rows::<T>(batch.rows, batch.inputs, 1);
    let y = random_rows::<T>(batch.rows, batch.outputs, 2);
    let mut updated = y.clone();
    step.apply(0, x.view(), &mut [updated.view_mut()])?;
    let host = device.host_pool()?;
    let worst_share = host.install(|| worst_share(&factors, &routes, &x, &y, &updated));
    if !(worst_share <= 1.0) {
        let reason = format!("a value is {worst_share:.2} times its error bound away from its definition");
        return Err(Error::WrongResult { device: pool.device_name(), operation: "applying a batch", reason });
    }

    let size = batch.precision.size_bytes() as u64;
    let [rows, inputs, outputs] = [batch.rows, batch.inputs, batch.outputs].map(|count| count as u64);
    let rank_sum = |ranks: &mut dyn Iterator<Item = usize>| ranks.map(|rank| rank as u64).sum::<u64>();
    let total_rank = rank_sum(&mut (0..adapters).map(rank_of));
    let total_rank_rows = rank_sum(&mut slots.iter().map(|slot| rank_of(*slot as usize)));
    let timed = time(device, &step, &x, &mut updated, batch.repetitions, cancel)?;
    let mut seconds = timed.seconds;
    seconds.sort_unstable_by(f64::total_cmp);
    Ok(Measured {
        rows,
        adapters: adapters as u64,
        total_rank_rows,
        total_rank,
        seconds: seconds[seconds.len() / 2],
        range: [seconds[0], seconds[seconds.len() - 1]],
        launches: timed.launches,
        least_bytes: size * (total_rank * (inputs + outputs) + rows * (inputs + outputs)),
        written_bytes: size * rows * outputs,
        read: timed.read,
        worst_share,
        counters: timed.counters,
    })
}

/// What repetitions gave.
struct Timed {
    seconds: Vec<f64>,
    launches: usize,
    read: Option<ReadBytes>,
    counters: Option<Counters>,
}

fn time<T: Scalar>(
    device: &Device,
    step: &Step,
    x: &Array2<T>,
    y: &mut Array2<T>,
    repetitions: usize,
    cancel: &Cancel,
) -> Result<Timed> {
    #[cfg(feature = "gpu")]
    if let Some(timed) = on_gpu::time(step, x, repetitions, cancel)? {
        return Ok(timed);
    }
    let mut seconds = Vec::with_capacity(repetitions);
    let mut flusher = matches!(step.lease().backend(), Backend::Cpu(_)).then(flusher::Flusher::new);
    for _ in 0..repetitions {
        cancel.check()?;
        if let Some(flusher) = &mut flusher {
            flusher.flush(&device.host_pool()?);
        }
        let begin = Instant::now();
        step.apply(0, x.view(), &mut [y.view_mut()])?;
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(Timed { seconds, launches: 0, read: None, counters: None })
}

/// Uniform in [-1, 1).
fn random_rows<T: Scalar>(rows: usize, columns: usize, stream: u64) -> Array2<T> {
    let draws = Stream::new(0, stream);
    let mut index = 0;
    Array2::from_shape_simple_fn((rows, columns), || {
        index += 1;
        T::narrow((2.0 * draws.unit(index) - 1.0) as f32)
    })
}

/// Weights of about the size that training leaves.
fn random_factors(batch: &Measurement, rank: usize, slot: usize) -> Result<Factors> {
    let draws = Stream::new(1, slot as u64);
    let values = |count: usize, first: u64, spread: f64| {
        let value = |index: usize| (spread * (2.0 * draws.unit(first + index as u64) - 1.0)) as f32;
        Values::new((0..count).map(value).collect::<Vec<f32>>()).cast(batch.precision)
    };
    let sizes = Sizes { rank, inputs: batch.inputs, outputs: batch.outputs };
    let a = values(rank * batch.inputs, 0, 1.0 / (batch.inputs.max(1) as f64).sqrt());
    let b = values(rank * batch.outputs, 1 << 40, 1.0 / (rank.max(1) as f64).sqrt());
    Factors::from_values(sizes, a, b, 1.0)
}
