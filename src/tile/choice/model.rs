//! What a candidate should take, from what the device can do at most. Pure.
//!
//! ```text
//! seconds = launch + max(instructions, memory) + OVERLAP * min(instructions, memory)
//! instructions = 2 / F / balance * sum over terms of count * cost     F: multiply-adds roof, in FLOP/s
//! memory       = max(bytes that have to move / copy roof, bytes that tiles read again / cache)
//! ```
//!
//! A term counts what all invocations do together, padding included; its cost is in multiply-adds of one invocation.
//! `balance` is the share of the device's units that have work in the last wave. [`Costs::default`] are estimates;
//! [`Costs::fit`] takes them from measurements of one device.

use serde::{Deserialize, Serialize};

use super::choose::Task;
use super::family::{Fold, candidates_for};
use super::shape::{CHUNK, Loads, Sums, TileShape};
use crate::device::Limits;

/// Row tiles below which the nearest fold splits the columns.
const FEW_ROW_TILES: usize = crate::tile::choice::cut::FEW_ROW_TILES as usize;

/// What a device can do at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Speeds {
    /// Multiplications and additions per second that touch no memory.
    pub fma_flops_per_second: f64,
    /// Bytes read and written per second by a copy.
    pub copy_bytes_per_second: f64,
    /// Bytes per second from the cache that workgroups share.
    pub cache_bytes_per_second: f64,
    /// Seconds of an empty launch.
    pub launch_seconds: f64,
    /// Multiprocessors, or threads of a driver on the CPU: how many workgroups make one wave.
    pub units: f64,
}

#[cfg(any(feature = "cli", test))]
impl Speeds {
    /// Multiply-adds per second of one multiprocessor of any recent GPU, roughly: no API tells how many there are.
    const UNIT_FLOPS: f64 = 4e11;

    /// The shared cache of a GPU is about so many times as fast as its memory.
    const CACHE: f64 = 4.0;
    /// The caches of a processor, against what a driver on the CPU copies per second: copying is all instructions there.
    const SOFTWARE_CACHE: f64 = 64.0;

    /// Of roofs; `threads` where a driver on the CPU does the work.
    pub fn new(fma: f64, copy: f64, launch_seconds: f64, threads: Option<usize>) -> Self {
        let units = threads.map_or((fma / Self::UNIT_FLOPS).round(), |threads| threads as f64).max(1.0);
        let cache = if threads.is_some() { Self::SOFTWARE_CACHE } else { Self::CACHE };
        Self {
            fma_flops_per_second: fma,
            copy_bytes_per_second: copy,
            cache_bytes_per_second: cache * copy,
            launch_seconds,
            units,
        }
    }
}

/// Share of the shorter of instructions and memory that is not hidden behind the longer.
const OVERLAP: f64 = 0.2;
/// What is counted.
const TERMS: usize = 9;
/// Counts of one candidate on one problem.
type Counts = [f64; TERMS];

/// What each term costs on a device, in multiply-adds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    nearest: Counts,
    store: Counts,
}

impl Default for Costs {
    fn default() -> Self {
        // A multiply-add; a vector from a panel; one feature and a vector from memory, with their addresses; a vector
        // put into a panel; a step with its two barriers; a prefetched read; an addition to a total; a value folded.
        let common = [1.0, 4.0, 5.0, 12.0, 6.0, 60.0, 2.0, 1.0];
        let with = |fold: f64| {
            let mut costs = [fold; TERMS];
            costs[..TERMS - 1].copy_from_slice(&common);
            costs
        };
        Self { nearest: with(6.0), store: with(8.0) }
    }
}

/// One measurement to fit to.
#[cfg(any(feature = "cli", test))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub task: Task,
    pub shape: TileShape,
    pub seconds: f64,
}

impl Costs {
    fn of(&self, fold: Fold) -> &Counts {
        match fold {
            Fold::Nearest => &self.nearest,
            Fold::Store => &self.store,
        }
    }
}

#[cfg(any(feature = "cli", test))]
impl Costs {
    /// How much a fit trusts each cost it starts from, in shares of all measurements.
    const TRUST: f64 = 1e-5;
    /// No term becomes cheaper than this share of what it was.
    const LEAST: f64 = 0.02;

    /// Costs with the least squared relative error over measurements of one device, none negative; those that the
    /// measurements say nothing of stay. Coordinate descent from these costs.
    pub fn fit(&self, points: &[Point], speeds: &Speeds) -> Self {
        let mut fitted = *self;
        for fold in [Fold::Nearest, Fold::Store] {
            let start = self.of(fold);
            // Share of the measured time that each term explains at its present cost.
            let shares: Vec<Counts> = points
                .iter()
                .filter(|point| point.task.fold == fold && point.seconds > speeds.launch_seconds)
                .filter(|point| memory_seconds(&point.shape, &point.task, speeds) < 0.5 * point.seconds)
                .map(|point| {
                    let counts = counts(&point.shape, &point.task);
                    let unit = unit_seconds(&point.shape, &point.task, speeds);
                    let memory = memory_seconds(&point.shape, &point.task, speeds);
                    let time = point.seconds - speeds.launch_seconds - OVERLAP * memory;
                    std::array::from_fn(|term| counts[term] * start[term] * unit / time)
                })
                .collect();
            if shares.is_empty() {
                continue;
            }
            let factors = least_squares(&shares, Self::TRUST * shares.len() as f64, Self::LEAST);
            let costs = std::array::from_fn(|term| start[term] * factors[term]);
            match fold {
                Fold::Nearest => fitted.nearest = costs,
                Fold::Store => fitted.store = costs,
            }
        }
        fitted
    }
}

/// Factors, none below `least`, for which the shares of each measurement add up to 1 as nearly as possible: coordinate
/// descent on the normal equations, with `trust` in a factor of 1.
#[cfg(any(feature = "cli", test))]
fn least_squares(shares: &[Counts], trust: f64, least: f64) -> Counts {
    let mut products = [[0.0; TERMS]; TERMS];
    let mut sums = [trust; TERMS];
    for share in shares {
        for a in 0..TERMS {
            sums[a] += share[a];
            for b in 0..TERMS {
                products[a][b] += share[a] * share[b];
            }
        }
    }
    let mut factors = [1.0; TERMS];
    for _ in 0..20_000 {
        for term in 0..TERMS {
            let all: f64 = (0..TERMS).map(|other| products[term][other] * factors[other]).sum();
            let own = products[term][term];
            factors[term] = ((sums[term] - all + own * factors[term]) / (own + trust)).max(least);
        }
    }
    factors
}

/// Tiles down and across, and workgroups.
fn grid(shape: &TileShape, task: &Task) -> (f64, f64, f64) {
    let down = task.rows.div_ceil(shape.rows as usize).max(1);
    let across = task.columns.div_ceil(shape.columns as usize).max(1);
    let workgroups = match task.fold {
        Fold::Nearest => down * (FEW_ROW_TILES / down).clamp(1, across),
        Fold::Store => down * across,
    };
    (down as f64, across as f64, workgroups as f64)
}

/// What the invocations do together.
fn counts(shape: &TileShape, task: &Task) -> Counts {
    let (down, across, workgroups) = grid(shape, task);
    let tiles = down * across;
    let invocations = f64::from(shape.invocations());
    let steps = (task.depth as f64 / f64::from(shape.depth_step)).ceil().max(1.0);
    let depths = steps * f64::from(shape.depth_step);
    let pairs = f64::from(shape.pairs());
    let side = f64::from(shape.invocation_rows + shape.invocation_columns) / 4.0;
    // Vectors of four values that one tile stages; a nearest fold that holds the whole depth stages rows once.
    let stages_rows_once = task.fold == Fold::Nearest && shape.sums == Sums::Whole;
    let staged_rows = if stages_rows_once { workgroups } else { tiles };
    let vectors = depths / 4.0 * (staged_rows * f64::from(shape.rows) + tiles * f64::from(shape.columns));
    let (scalars, whole) = match shape.loads {
        Loads::Scalars => (4.0 * vectors, 0.0),
        Loads::Vectors => (0.0, vectors),
    };
    let chunks = if shape.sums == Sums::Chunks { (task.depth as f64 / f64::from(CHUNK)).ceil() } else { 0.0 };
    [
        tiles * invocations * depths * pairs,
        tiles * invocations * depths * side,
        scalars,
        whole,
        vectors,
        tiles * invocations * steps,
        if shape.prefetch { vectors } else { 0.0 },
        tiles * invocations * chunks * pairs,
        tiles * invocations * pairs,
    ]
}

/// Seconds of one multiply-add of one invocation, all units at work as they are for this grid.
fn unit_seconds(shape: &TileShape, task: &Task, speeds: &Speeds) -> f64 {
    let (_, _, workgroups) = grid(shape, task);
    let waves = (workgroups / speeds.units).ceil();
    let balance = workgroups / (waves * speeds.units);
    2.0 / speeds.fma_flops_per_second / balance
}

fn memory_seconds(shape: &TileShape, task: &Task, speeds: &Speeds) -> f64 {
    let Task { rows, columns, depth, fold } = *task;
    let (rows, columns, depth) = (rows as f64, columns as f64, depth as f64);
    let operands = 4.0 * depth * (rows + columns);
    let results = match fold {
        Fold::Nearest => 12.0 * rows,
        Fold::Store => 4.0 * rows * columns,
    };
    // Every tile reads its operands again, from the cache.
    let (down, across, _) = grid(shape, task);
    let again = 4.0 * depth * down * across * f64::from(shape.rows + shape.columns);
    ((operands + results) / speeds.copy_bytes_per_second).max(again / speeds.cache_bytes_per_second)
}

/// Seconds that a candidate should take.
pub(crate) fn predicted_seconds(shape: &TileShape, task: &Task, speeds: &Speeds, costs: &Costs) -> f64 {
    let work: f64 =
        counts(shape, task).iter().zip(costs.of(task.fold)).map(|(count, cost)| count * cost).sum();
    let instructions = work * unit_seconds(shape, task, speeds);
    let memory = memory_seconds(shape, task, speeds);
    speeds.launch_seconds + instructions.max(memory) + OVERLAP * instructions.min(memory)
}

/// The candidate that should be fastest.
pub(crate) fn best(task: &Task, limits: &Limits, speeds: &Speeds, costs: &Costs) -> Option<TileShape> {
    let seconds = |shape: &TileShape| predicted_seconds(shape, task, speeds, costs);
    let all = candidates_for(task.fold, task.depth, limits);
    all.into_iter().min_by(|a, b| seconds(a).total_cmp(&seconds(b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speeds() -> Speeds {
        Speeds::new(2e13, 1e12, 5e-6, None)
    }

    fn task(fold: Fold, rows: usize, columns: usize, depth: usize) -> Task {
        Task { fold, rows, columns, depth }
    }

    #[test]
    fn predictions_are_above_the_roofs_and_grow_with_the_work() {
        for fold in [Fold::Nearest, Fold::Store] {
            for (rows, columns, depth) in [(1, 1, 1), (1000, 10, 3), (100_000, 1000, 128), (4096, 4096, 784)]
            {
                let problem = task(fold, rows, columns, depth);
                let flops = 2.0 * (rows * columns * depth) as f64;
                for shape in candidates_for(fold, depth, &Limits::for_tests()) {
                    let seconds = predicted_seconds(&shape, &problem, &speeds(), &Costs::default());
                    assert!(seconds >= flops / 2e13 && seconds >= 5e-6, "{shape}: {seconds}");
                    let larger = task(fold, 4 * rows, columns, depth);
                    let more = predicted_seconds(&shape, &larger, &speeds(), &Costs::default());
                    assert!(more >= seconds, "{shape}: {seconds} then {more}");
                }
            }
        }
    }

    #[test]
    fn padding_is_paid_for() {
        let best = |rows, columns, depth| {
            best(
                &task(Fold::Nearest, rows, columns, depth),
                &Limits::for_tests(),
                &speeds(),
                &Costs::default(),
            )
        };
        let few = best(1_000_000, 8, 128).unwrap();
        assert_eq!(few.columns, 8, "{few}");
        let shallow = best(1_000_000, 256, 3).unwrap();
        assert_eq!((shallow.sums, shallow.depth_step), (Sums::Whole, 3), "{shallow}");
        let large = best(1_000_000, 4096, 768).unwrap();
        assert!(large.pairs() == 64 && large.loads == Loads::Vectors, "{large}");
    }

    /// Costs that measurements were made from are found again, as far as they matter for the time.
    #[test]
    fn a_fit_predicts_what_it_was_fitted_to() {
        let (mut truth, start) = (Costs::default(), Costs::default());
        truth.nearest = [1.5, 9.0, 2.0, 30.0, 1.0, 500.0, 2.0, 1.0, 20.0];
        let mut points = Vec::new();
        for (rows, columns, depth) in
            [(50_000, 64, 100), (20_000, 500, 768), (100_000, 16, 16), (9000, 300, 32)]
        {
            let task = task(Fold::Nearest, rows, columns, depth);
            for shape in candidates_for(Fold::Nearest, depth, &Limits::for_tests()) {
                let seconds = predicted_seconds(&shape, &task, &speeds(), &truth);
                points.push(Point { task, shape, seconds });
            }
        }
        let worst = |costs: &Costs| {
            let error = |point: &Point| {
                let predicted = predicted_seconds(&point.shape, &point.task, &speeds(), costs);
                (predicted / point.seconds - 1.0).abs()
            };
            points.iter().map(error).fold(0.0, f64::max)
        };
        let fitted = start.fit(&points, &speeds());
        assert!(worst(&start) > 0.5 && worst(&fitted) < 0.1, "{} {}", worst(&start), worst(&fitted));
        assert_eq!(fitted.store, start.store, "nothing was measured");
        assert_eq!(start.fit(&[], &speeds()), start);
    }
}
