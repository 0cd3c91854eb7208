//! Whether a device's matrix units compute what the screen's bound takes for granted.
//!
//! Once per device and process the kernels of two tiles, one that keeps its rows in workgroup memory and one that does
//! not, multiply all pairs of rows and columns of two tables:
//!
//! - whole numbers, whose sums `f32` holds exactly in any order but narrower sums do not. Each value must be exact;
//! - numbers that round badly: one large product before many small ones, and random ones over the range of `f16`. Each
//!   value must lie within the bound on additions of [`crate::tile::bound::f16`].
//!
//! The nearest kernel returns the two least values of each row; so all columns but two are declared absent, in turns. The
//! kernel of lists returns all values; it is tested where lists are wanted, and what fails there is off for lists alone.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytemuck::{bytes_of, pod_collect_to_vec};
use half::f16;

use super::kernels::{collect_kernel, nearest_kernel};
use super::shape::MatrixTile;
use crate::device::{Gpu, MatrixUnits};
use crate::error::{Error, Result};
use crate::random::Stream;
use crate::simd::widest;
use crate::tile::bound::f16::additions;
use crate::tile::bound::f32::{ABSENT, DEVICE_UNIT};
use crate::tile::collect::gpu::kernels::CollectParams;
use crate::tile::nearest::gpu::kernels::{NearestParams, Partial};
use crate::tile::operands::gpu::half_columns::narrowed;

/// Depths: of rows that a tile keeps where it can, few and many features, and of rows that it never keeps.
const DEPTHS: [usize; 3] = [40, 128, 140];

/// Faults that a plain kernel can be given, which the test must find: sums of `f16`, products that get lost, and sums
/// that are counted twice.
#[cfg(test)]
pub(crate) const FAULTS: [&str; 3] = ["narrow sums", "lost products", "doubled sums"];

/// Which kernels are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Fold {
    /// The two least values of each row.
    Nearest,
    /// Lists of columns within a limit.
    Lists,
}

type Verdicts = HashMap<(String, MatrixUnits, Fold), Option<String>>;

/// Nothing where the units passed, else what is wrong with them.
///
/// # Errors
/// Those of a device that fails otherwise: lost, or out of memory.
pub(crate) fn verdict(gpu: &Gpu, units: &MatrixUnits, fold: Fold) -> Result<Option<String>> {
    static VERDICTS: LazyLock<Mutex<Verdicts>> = LazyLock::new(Mutex::default);
    let fault = gpu.planted_matrix_fault();
    if !fault.is_empty() {
        return examine(gpu, units, fold, fault);
    }
    let key = (gpu.identity(), *units, fold);
    let mut verdicts = VERDICTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = verdicts.get(&key) {
        return Ok(known.clone());
    }
    let verdict = examine(gpu, units, fold, "")?;
    if let Some(reason) = &verdict {
        tracing::warn!(
            device = gpu.name(),
            reason,
            ?fold,
            "matrix units failed their self-test and are not used"
        );
    }
    verdicts.insert(key, verdict.clone());
    Ok(verdict)
}

fn examine(gpu: &Gpu, units: &MatrixUnits, fold: Fold, fault: &str) -> Result<Option<String>> {
    for depth in DEPTHS {
        let Some(tile) = MatrixTile::choose(units, depth, &gpu.limits()) else {
            return Ok(Some("no tile fits the device".into()));
        };
        for table in [Table::of_whole_numbers(&tile, depth), Table::that_rounds_badly(&tile, depth)] {
            let found = match fold {
                Fold::Nearest => table.wrong(gpu, &tile, fault),
                Fold::Lists => table.wrong_lists(gpu, &tile, fault),
            };
            match found {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                // A compiler that refuses the kernel is a reason like any other.
                Err(Error::DeviceRefused { reason, .. }) => return Ok(Some(reason)),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

/// Rows or columns of a test.
struct Side {
    halves: Vec<f16>,
    /// The same numbers, and the squared length of each vector.
    exact: Vec<f64>,
    squares: Vec<f64>,
}

impl Side {
    fn new(halves: Vec<f16>, depth: usize) -> Self {
        let exact: Vec<f64> = halves.iter().map(|&half| f64::from(half)).collect();
        let squares = exact.chunks_exact(depth).map(|vector| dot(vector, vector)).collect();
        Self { halves, exact, squares }
    }

    fn vector(&self, index: usize, depth: usize) -> &[f64] {
        &self.exact[index * depth..(index + 1) * depth]
    }
}

widest! {
    /// A sum of products in eight interleaved parts: exact for whole numbers, and for others within far less than is tested.
    fn dot(x: &[f64], y: &[f64]) -> f64 = dot_body;
}

#[inline(always)]
fn dot_body(x: &[f64], y: &[f64]) -> f64 {
    let mut parts = [0.0_f64; 8];
    for (x, y) in x.chunks(8).zip(y.chunks(8)) {
        for (part, (x, y)) in parts.iter_mut().zip(x.iter().zip(y)) {
            *part += x * y;
        }
    }
    parts.iter().sum()
}

/// Operands of one test.
struct Table {
    /// Rows of several workgroups, and columns of one tile.
    rows: usize,
    columns: usize,
    depth: usize,
    x: Side,
    y: Side,
    /// Whether every value must be exact.
    is_exact: bool,
    /// How far additions may be off, of the lengths' product.
    additions: f64,
}

impl Table {
    fn new(tile: &MatrixTile, depth: usize, is_exact: bool, value: impl Fn(usize, usize) -> f64) -> Self {
        let [rows, columns] = [2 * tile.rows(), tile.columns()].map(|count| count as usize);
        let fill = |first: usize, count: usize| {
            let half = |at| narrowed(value(first + at / depth, at % depth) as f32).0;
            Side::new((0..count * depth).map(half).collect(), depth)
        };
        let (x, y) = (fill(0, rows), fill(rows, columns));
        Self { rows, columns, depth, x, y, is_exact, additions: additions(depth) }
    }

    /// Up to 127 in magnitude: sums stay below 2^24.
    fn of_whole_numbers(tile: &MatrixTile, depth: usize) -> Self {
        let draws = Stream::new(1, 0);
        Self::new(tile, depth, true, |row, d| (draws.unit((row * depth + d) as u64) * 255.0).floor() - 127.0)
    }

    fn that_rounds_badly(tile: &MatrixTile, depth: usize) -> Self {
        let draws = Stream::new(2, 0);
        Self::new(tile, depth, false, |row, d| {
            let draw = draws.unit((row * depth + d) as u64);
            match row % 4 {
                // One large product, then small ones of one sign just below half a unit of the sum.
                0 => {
                    if d == 0 {
                        1.0
                    } else {
                        0.999 * 2.0_f64.powf(-11.5)
                    }
                }
                // The large one in the middle of a matrix, and alternating signs.
                1 => {
                    let sign = if d % 2 == 0 { 1.0 } else { -1.0 };
                    sign * if d == depth / 2 + 3 { 64.0 } else { 1.0 + draw }
                }
                // Over the exponents of f16.
                2 => (2.0 * draw - 1.0) * 2.0_f64.powi((row + 7 * d) as i32 % 28 - 13),
                _ => 2.0 * draw - 1.0,
            }
        })
    }

    /// The first wrong value, in words.
    fn wrong(&self, gpu: &Gpu, tile: &MatrixTile, fault: &str) -> Result<Option<String>> {
        let partials = self.run(gpu, tile, fault)?;
        for (pair, partials) in partials.chunks_exact(self.rows).enumerate() {
            let columns = [pair, pair + self.columns / 2];
            for (row, partial) in partials.iter().enumerate() {
                let [(a, a_error), (b, b_error)] = columns.map(|column| self.expected(row, column));
                let is_near = |value: f32, exact: f64, error: f64| (f64::from(value) - exact).abs() <= error;
                let is_right = |first: usize| {
                    let ((best, best_error), (second, second_error)) =
                        if first == 0 { ((a, a_error), (b, b_error)) } else { ((b, b_error), (a, a_error)) };
                    partial.column as usize == columns[first]
                        && is_near(partial.best, best, best_error)
                        && is_near(partial.second, second, second_error)
                        && best <= second + a_error + b_error
                };
                if !(is_right(0) || is_right(1)) {
                    let kind = if self.is_exact { "exact" } else { "rounded" };
                    return Ok(Some(format!(
                        "{kind} sums of {} products: row {row}, columns {columns:?}: {partial:?}, not {a} and {b}",
                        self.depth
                    )));
                }
            }
        }
        Ok(None)
    }

    /// The first wrong entry of lists that take all columns, in words.
    fn wrong_lists(&self, gpu: &Gpu, tile: &MatrixTile, fault: &str) -> Result<Option<String>> {
        let words = self.lists(gpu, tile, fault)?;
        for (row, list) in words.chunks_exact(3 * self.columns + 1).enumerate() {
            let mut values = vec![None; self.columns];
            for entry in list[1..].chunks_exact(3) {
                // Without weights and constants both ends are the value.
                let value = (entry[0] == entry[1]).then(|| f32::from_bits(entry[0]));
                if let Some(place) = values.get_mut(entry[2] as usize) {
                    *place = value;
                }
            }
            for (column, value) in values.iter().enumerate() {
                let (exact, error) = self.expected(row, column);
                let is_right = value.is_some_and(|value| (f64::from(value) - exact).abs() <= error);
                if list[0] as usize != self.columns || !is_right {
                    let (depth, length) = (self.depth, list[0]);
                    return Ok(Some(format!(
                        "lists of sums of {depth} products: row {row}, column {column} of {length}: {value:?}, not {exact}"
                    )));
                }
            }
        }
        Ok(None)
    }

    /// The value of a pair and how far a device may be from it.
    fn expected(&self, row: usize, column: usize) -> (f64, f64) {
        let depth = self.depth;
        let sum = dot(self.x.vector(row, depth), self.y.vector(column, depth));
        let lengths = (self.x.squares[row] * self.y.squares[column]).sqrt();
        let rounding = self.additions * lengths + 2.0 * DEVICE_UNIT * sum.abs();
        (-sum, if self.is_exact { 0.0 } else { rounding })
    }

    /// Rows with zeros behind them.
    fn padded(&self, values: &[f16], depth: usize) -> Vec<f16> {
        let behind = vec![f16::ZERO; depth - self.depth];
        values.chunks_exact(self.depth).flat_map(|row| [row, &behind].concat()).collect()
    }

    /// For each row a list with room for all columns, without a limit.
    fn lists(&self, gpu: &Gpu, tile: &MatrixTile, fault: &str) -> Result<Vec<u32>> {
        let depth = tile.padded_depth(self.depth);
        let x = gpu.filled("test rows", &self.padded(&self.x.halves, depth))?;
        let y = gpu.filled("test columns", &self.padded(&self.y.halves, depth))?;
        let terms = gpu.filled("test terms", &vec![[0.0_f32; 2]; self.columns])?;
        let zeros = gpu.filled("test norms", &vec![0.0_f32; self.rows.max(self.columns)])?;
        let limits = gpu.filled("test limits", &vec![ABSENT; self.rows])?;
        let lists = gpu.buffer("test lists", 4 * (self.rows * (3 * self.columns + 1)) as u64)?;
        let pipeline = gpu.pipeline(&collect_kernel(tile, fault)?)?;
        let params = CollectParams {
            rows: self.rows as u32,
            columns: self.columns as u32,
            depth: depth as u32,
            first_row: 0,
            first_column: 0,
            split_columns: self.columns as u32,
            room: self.columns as u32,
            unscale: 1.0,
            ratio: 0.0,
        };
        let arguments =
            [&x, &y, &terms, &zeros, &zeros, &zeros, &limits, &lists].map(|buffer| buffer.whole());
        let mut batch = gpu.batch("self-test of lists");
        batch.clear(&lists)?;
        batch.dispatch(&pipeline, &arguments, bytes_of(&params), [self.rows as u32 / tile.rows(), 1, 1])?;
        let read = batch.submit_and_read(&[(&lists, 0..lists.size_bytes())])?;
        Ok(pod_collect_to_vec(&read[0]))
    }

    /// For each pair of columns, half a table apart, the two least values of each row.
    fn run(&self, gpu: &Gpu, tile: &MatrixTile, fault: &str) -> Result<Vec<Partial>> {
        let depth = tile.padded_depth(self.depth);
        let pairs = self.columns / 2;
        let terms: Vec<[f32; 2]> = (0..pairs * self.columns)
            .map(|at| {
                let is_present = at % self.columns % pairs == at / self.columns;
                [if is_present { 0.0 } else { ABSENT }, 0.0]
            })
            .collect();
        let x = gpu.filled("test rows", &self.padded(&self.x.halves, depth))?;
        let y = gpu.filled("test columns", &self.padded(&self.y.halves, depth))?;
        let terms = gpu.filled("test terms", &terms)?;
        let zeros = gpu.filled("test norms", &vec![0.0_f32; self.rows])?;
        let partials = gpu.buffer("test partials", (pairs * self.rows * size_of::<Partial>()) as u64)?;
        let pipeline = gpu.pipeline(&nearest_kernel(tile, fault)?)?;
        let mut batch = gpu.batch("self-test");
        for pair in 0..pairs {
            let params = NearestParams {
                rows: self.rows as u32,
                columns: self.columns as u32,
                depth: depth as u32,
                first_row: 0,
                first_column: 0,
                split_columns: self.columns as u32,
                first_split: pair as u32,
                stride: self.rows as u32,
                unscale: 1.0,
                ratio: 0.0,
            };
            let bytes = 8 * self.columns as u64;
            let terms = terms.slice(pair as u64 * bytes, bytes);
            let arguments = [x.whole(), y.whole(), terms, zeros.whole(), zeros.whole(), partials.whole()];
            batch.dispatch(
                &pipeline,
                &arguments,
                bytes_of(&params),
                [self.rows as u32 / tile.rows(), 1, 1],
            )?;
        }
        let read = batch.submit_and_read(&[(&partials, 0..partials.size_bytes())])?;
        Ok(pod_collect_to_vec(&read[0]))
    }
}
