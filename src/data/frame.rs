//! The frame: how raw values become the centred, scaled `f32` rows that every tile works on.
//!
//! `x'[i, d] = f32((x[i, d] - offset[d]) * scale)`, computed in `f64`, with `scale` a power of two.
//! Distances are unchanged up to the scale, and small enough in `f32`: the largest |x'| of the training data lies in
//! [1/2, 1]. Whenever a column allows it the offset is chosen so that `x'` holds the value without any rounding:
//! if all values are multiples of 2^e and differ from the offset, itself such a multiple, by at most 2^(24+e), the
//! difference fits the 24 bits of an `f32`. That covers integers, images, and data far from the origin.

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::columns::{NO_BIT, add_extents, add_sums};
use super::points::Element;
use super::points::{Points, each_element};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::memory::{self, area, scratch};
use crate::simd::widest;

/// Rows per block of the passes below; sums are taken per block, then over blocks in order.
const BLOCK_ROWS: usize = 1024;
/// Elements that are widened at a time: they stay in the nearest cache.
const GROUP_ELEMENTS: usize = 1024;
/// Largest |x'| that a tile accepts: new points may lie this many times farther out than the training data.
const LARGEST: f32 = (1_u64 << 40) as f32;
/// Largest magnitude of an input value; beyond it sums and differences of `f64` could overflow.
pub(crate) const LARGEST_INPUT: f64 = 1.0e300;
/// Widest column whose squares are summed as they are. Beyond it sums of squares could leave the range of `f64`, and the
/// data is scanned again in a unit that brings it back.
const SQUARES_FIT: std::ops::RangeInclusive<f64> = 1.0e-140..=1.0e140;

/// Offset, scale and normalisation of a data set. Part of every saved model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// One per column, in input units.
    pub offset: Vec<f64>,
    /// A power of two.
    pub scale: f64,
    /// Rows are divided by their Euclidean length first (spherical mode); offset is 0 and scale 1 then.
    pub unit_rows: bool,
}

/// What one pass over the data finds out.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    /// The frame chosen for this data.
    pub frame: Frame,
    /// Largest |x'| of each column.
    pub largest: Vec<f64>,
    /// Mean over the columns of the variance of x' (divided by the number of rows), as scikit-learn's `tol` uses it.
    pub mean_variance: f64,
}

#[derive(Clone)]
struct Column {
    min: f64,
    max: f64,
    /// Sum of the differences to the first row, times the unit of the scan.
    sum: f64,
    /// Sum of the squares of those.
    sum_squares: f64,
    lowest_bit: i32,
}

impl Frame {
    /// The frame of spherical mode: rows of unit length, around the origin.
    pub fn unit_rows(columns: usize) -> Self {
        Self { offset: vec![0.0; columns], scale: 1.0, unit_rows: true }
    }

    /// Reads rows `start .. start + out.len() / columns` as x'.
    ///
    /// Fails with the first element that is not finite, too far out for this frame, or in a zero row where rows are
    /// to be normalised.
    pub fn load(&self, argument: &'static str, points: &Points, start: usize, out: &mut [f32]) -> Result<()> {
        let columns = points.columns();
        let count = out.len() / columns;
        let largest = match points.slice_rows(start, count) {
            rows if self.unit_rows => load_unit_rows(&rows, out),
            rows => self.load_any(&rows, out),
        };
        if largest < LARGEST.to_bits() { Ok(()) } else { Err(self.offender(argument, points, start, out)) }
    }

    /// Reads one row as x': [`Self::load`], short where the rows are `f32` one after the other.
    #[inline]
    pub fn load_one(
        &self,
        argument: &'static str,
        points: &Points,
        row: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let columns = out.len();
        if let (false, Points::F32(view)) = (self.unit_rows, points)
            && let Some(flat) = view.as_slice()
            && load_flat(&flat[row * columns..(row + 1) * columns], &self.offset, self.scale, out)
                < LARGEST.to_bits()
        {
            return Ok(());
        }
        self.load(argument, points, row, out)
    }

    /// One row in the frame, in `f64` throughout: for distances that are handed out.
    pub fn load_row(&self, argument: &'static str, points: &Points, row: usize) -> Result<Vec<f64>> {
        let mut narrow = vec![0.0; points.columns()];
        self.load(argument, points, row, &mut narrow)?;
        if self.unit_rows {
            return Ok(narrow.into_iter().map(f64::from).collect());
        }
        let raw = raw_row(points, row);
        Ok(raw.iter().zip(&self.offset).map(|(value, offset)| (value - offset) * self.scale).collect())
    }

    fn load_any(&self, rows: &Points, out: &mut [f32]) -> u32 {
        macro_rules! load {
            ($($variant:ident($type:ty, $name:literal)),* $(,)?) => {
                match rows {
                    Points::F32(view) if view.is_standard_layout() => match view.as_slice() {
                        Some(flat) => load_flat(flat, &self.offset, self.scale, out),
                        None => load_strided(view, &self.offset, self.scale, out),
                    },
                    Points::Sparse(rows) => rows.load(&self.offset, self.scale, out),
                    $(Points::$variant(view) => load_strided(view, &self.offset, self.scale, out),)*
                }
            };
        }
        each_element!(load)
    }

    fn offender(&self, argument: &'static str, points: &Points, start: usize, out: &[f32]) -> Error {
        let columns = points.columns();
        let at = out.iter().position(|v| !(v.abs() < LARGEST)).unwrap_or(0);
        let row = start + at / columns;
        // Normalising spreads NaN over its row: the input says where it stands.
        let raw = raw_row(points, row);
        let column = raw.iter().position(|v| !v.is_finite()).unwrap_or(at % columns);
        let got = raw[column];
        let expected = if !got.is_finite() {
            "a finite number"
        } else if self.unit_rows {
            "a row that is not all zeros"
        } else {
            "a magnitude within 2^40 times the spread of the training data"
        };
        Error::Value { argument, row, column, expected, got }
    }
}

/// One element in `f64`.
pub(crate) fn value_at(points: &Points, row: usize, column: usize) -> f64 {
    macro_rules! value {
        ($($variant:ident($type:ty, $name:literal)),* $(,)?) => {
            match points {
                Points::Sparse(rows) => rows.value_at(row, column),
                $(Points::$variant(view) => view[[row, column]].widen(),)*
            }
        };
    }
    each_element!(value)
}

/// One row in `f64`, as it stands in the input.
pub(crate) fn raw_row(points: &Points, row: usize) -> Vec<f64> {
    let mut out = vec![0.0; points.columns()];
    widen_row(points, row, &mut out);
    out
}

widest! {
    fn load_flat<T: Element>(values: &[T], offset: &[f64], scale: f64, out: &mut [f32]) -> u32 = load_flat_body;
}

#[inline(always)]
fn load_flat_body<T: Element>(values: &[T], offset: &[f64], scale: f64, out: &mut [f32]) -> u32 {
    let mut largest = 0_u32;
    for (row, out) in values.chunks_exact(offset.len()).zip(out.chunks_exact_mut(offset.len())) {
        for ((value, offset), out) in row.iter().zip(offset).zip(out) {
            *out = ((value.widen() - offset) * scale) as f32;
            largest = largest.max(out.to_bits() & 0x7fff_ffff);
        }
    }
    largest
}

fn load_strided<T: Element>(view: &ArrayView2<T>, offset: &[f64], scale: f64, out: &mut [f32]) -> u32 {
    let mut largest = 0;
    for (row, out) in view.outer_iter().zip(out.chunks_exact_mut(offset.len())) {
        match row.as_slice() {
            Some(row) => largest = largest.max(load_flat(row, offset, scale, out)),
            None => {
                for ((value, offset), out) in row.iter().zip(offset).zip(out) {
                    *out = ((value.widen() - offset) * scale) as f32;
                    largest = largest.max(out.to_bits() & 0x7fff_ffff);
                }
            }
        }
    }
    largest
}

/// Rows divided by their length, in `f64`. A zero row becomes NaN and is reported by the caller.
fn load_unit_rows(rows: &Points, out: &mut [f32]) -> u32 {
    let mut largest = 0;
    let columns = rows.columns();
    for (index, out) in out.chunks_exact_mut(columns).enumerate() {
        let row = raw_row(rows, index);
        // Dividing by the largest element first keeps the squares inside the range of f64.
        let peak =
            row.iter().fold(0.0_f64, |peak, v| if v.is_finite() { peak.max(v.abs()) } else { f64::NAN });
        let length = row.iter().map(|v| (v / peak) * (v / peak)).sum::<f64>().sqrt();
        for (value, out) in row.iter().zip(out) {
            *out = (value / peak / length) as f32;
            largest = largest.max(out.to_bits() & 0x7fff_ffff);
        }
    }
    largest
}

/// Scans the training data: refuses NaN and infinity, chooses offset and scale.
pub(crate) fn scan(argument: &'static str, points: &Points, cancel: &Cancel) -> Result<Scan> {
    scan_all(&[(argument, points)], cancel)
}

/// Scans several tables of equally many columns, each with its argument's name, for one frame that serves all.
pub(crate) fn scan_all(tables: &[(&'static str, &Points)], cancel: &Cancel) -> Result<Scan> {
    for (argument, points) in tables {
        points.check_not_empty(argument)?;
    }
    ask_for_scan(tables)?;
    let pivot = tables.first().map_or(Vec::new(), |(_, points)| raw_row(points, 0));
    let rows = tables.iter().map(|(_, points)| points.rows()).sum::<usize>() as f64;
    let total = scan_in_unit(tables, &pivot, 1.0, cancel)?;
    let widest = total.iter().fold(0.0_f64, |widest, column| widest.max(column.max - column.min));
    if widest == 0.0 || SQUARES_FIT.contains(&widest) {
        return Ok(choose(&total, &pivot, rows, 1.0));
    }
    let unit = power_of_two((-exponent_above(widest)).clamp(-1000, 1000));
    let total = scan_in_unit(tables, &pivot, unit, cancel)?;
    Ok(choose(&total, &pivot, rows, unit))
}

/// What a scan holds: a summary of each column for each block of rows, and some rows in `f64` per thread.
fn ask_for_scan(tables: &[(&'static str, &Points)]) -> Result<()> {
    let columns = tables.first().map_or(0, |(_, points)| points.columns());
    let blocks = tables.iter().map(|(_, points)| points.rows().div_ceil(BLOCK_ROWS)).max().unwrap_or(0);
    let threads = rayon::current_num_threads().min(blocks);
    let summaries = area::<Column>(blocks.saturating_add(2), columns);
    let parts = [summaries, scratch::<f64>(threads, 12, columns), area::<f64>(4, columns)];
    memory::ask(&format!("the scan of rows with {columns} columns"), &parts)
}

fn scan_in_unit(
    tables: &[(&'static str, &Points)],
    pivot: &[f64],
    unit: f64,
    cancel: &Cancel,
) -> Result<Vec<Column>> {
    let mut total = vec![Column::EMPTY; pivot.len()];
    for (argument, points) in tables {
        let rows = points.rows();
        let blocks: Vec<Result<Vec<Column>>> = (0..rows.div_ceil(BLOCK_ROWS))
            .into_par_iter()
            .map(|block| {
                cancel.check()?;
                let start = block * BLOCK_ROWS;
                let rows = points.slice_rows(start, BLOCK_ROWS.min(rows - start));
                scan_block(argument, &rows, start, pivot, unit)
            })
            .collect();
        for block in blocks {
            total.iter_mut().zip(&block?).for_each(|(total, block)| total.merge(block));
        }
    }
    Ok(total)
}

/// Scans `rows`, the first of which is row `start` of the input.
fn scan_block(
    argument: &'static str,
    rows: &Points,
    start: usize,
    pivot: &[f64],
    unit: f64,
) -> Result<Vec<Column>> {
    let count = pivot.len();
    // One vector per quantity, so that a row is added with vectors as wide as the processor has.
    let (mut min, mut max) = (vec![f64::INFINITY; count], vec![f64::NEG_INFINITY; count]);
    let mut lowest_bit = vec![NO_BIT; count];
    let (mut sum, mut sum_squares) = (vec![0.0; count], vec![0.0; count]);
    let group = (GROUP_ELEMENTS / count).clamp(1, BLOCK_ROWS);
    let mut wide = vec![0.0_f64; group * count];
    for first in (0..rows.rows()).step_by(group) {
        let wide = &mut wide[..group.min(rows.rows() - first) * count];
        for (row, wide) in wide.chunks_exact_mut(count).enumerate() {
            widen_row(rows, first + row, wide);
        }
        let fits = wide.iter().fold(true, |fits, value| fits & (value.abs() <= LARGEST_INPUT));
        if !fits && let Some(at) = wide.iter().position(|value| !(value.abs() <= LARGEST_INPUT)) {
            let (row, column, got) = (start + first + at / count, at % count, wide[at]);
            let expected = if got.is_finite() { "a magnitude of at most 1e300" } else { "a finite number" };
            return Err(Error::Value { argument, row, column, expected, got });
        }
        add_extents(wide, &mut min, &mut max, &mut lowest_bit);
        add_sums(wide, pivot, unit, &mut sum, &mut sum_squares);
    }
    let column = |at: usize| Column {
        min: min[at],
        max: max[at],
        sum: sum[at],
        sum_squares: sum_squares[at],
        lowest_bit: lowest_bit[at] as i32,
    };
    Ok((0..count).map(column).collect())
}

/// One row in `f64`, as it stands in the input, into `out`.
pub(crate) fn widen_row(points: &Points, row: usize, out: &mut [f64]) {
    macro_rules! widen {
        ($($variant:ident($type:ty, $name:literal)),* $(,)?) => {
            match points {
                Points::Sparse(rows) => rows.widen_row(row, out),
                $(Points::$variant(view) => {
                    for (value, out) in view.row(row).iter().zip(out) { *out = value.widen(); }
                })*
            }
        };
    }
    each_element!(widen);
}

impl Column {
    const EMPTY: Self = Self {
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        sum: 0.0,
        sum_squares: 0.0,
        lowest_bit: NO_BIT as i32,
    };

    fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.sum_squares += other.sum_squares;
        self.lowest_bit = self.lowest_bit.min(other.lowest_bit);
    }

    /// The offset, and whether every x - offset is exact in 24 bits.
    fn offset(&self, pivot: f64, rows: f64, unit: f64) -> f64 {
        let mean = (pivot + self.sum / rows / unit).clamp(self.min, self.max);
        if self.min == self.max {
            return self.min;
        }
        let spacing = power_of_two(self.lowest_bit.clamp(-1022, 1000));
        let on_grid = (mean / spacing).round_ties_even() * spacing;
        let reach = (self.max - on_grid).max(on_grid - self.min);
        if reach / spacing <= (1_u64 << 24) as f64 {
            return on_grid;
        }
        // Not exact around the mean. Values of 24 bits stay exact around the origin, which costs little when the
        // mean is within two standard deviations of it; otherwise the rounding of x - mean to f32 is the smaller evil.
        let shift = self.sum / rows;
        let variance = (self.sum_squares / rows - shift * shift).max(0.0);
        if (mean * unit).powi(2) <= 4.0 * variance { 0.0 } else { mean }
    }
}

fn choose(columns: &[Column], pivot: &[f64], rows: f64, unit: f64) -> Scan {
    let offset: Vec<f64> =
        columns.iter().zip(pivot).map(|(column, &pivot)| column.offset(pivot, rows, unit)).collect();
    let reach: Vec<f64> = columns
        .iter()
        .zip(&offset)
        .map(|(c, offset)| (c.max - offset).abs().max((offset - c.min).abs()))
        .collect();
    let widest = reach.iter().fold(0.0_f64, |widest, &reach| widest.max(reach));
    let exponent = if widest == 0.0 { 0 } else { -exponent_above(widest) };
    // Beyond 2^1000 the scale itself would overflow; values that small keep a smaller range, which is harmless.
    let scale = power_of_two(exponent.clamp(-1000, 1000));
    let largest = reach.iter().map(|reach| f64::from((reach * scale) as f32)).collect();
    let rescale = scale / unit;
    let variance = columns.iter().map(|column| {
        let (sum, squares) = (column.sum * rescale / rows, rescale * (column.sum_squares / rows) * rescale);
        (squares - sum * sum).max(0.0)
    });
    let mean_variance = variance.sum::<f64>() / columns.len() as f64;
    Scan { frame: Frame { offset, scale, unit_rows: false }, largest, mean_variance }
}

/// Smallest e with |value| <= 2^e, for a positive finite value.
pub(crate) fn exponent_above(value: f64) -> i32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    if exponent == 0 {
        return exponent_above(value * power_of_two(100)) - 100;
    }
    exponent - 1023 + i32::from(bits & ((1 << 52) - 1) != 0)
}

/// 2^exponent, for exponents of normal numbers.
pub(crate) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn scanned(array: &Array2<f32>) -> (Scan, Vec<f32>) {
        let points = Points::from(array.view());
        let scan = scan("points", &points, &Cancel::new()).unwrap();
        let mut out = vec![f32::NAN; array.len()];
        scan.frame.load("points", &points, 0, &mut out).unwrap();
        (scan, out)
    }

    #[test]
    fn centring_is_exact_far_from_the_origin() {
        for offset in [0.0_f32, 1e4, 1e6, -1e6, 16_000_000.0] {
            let array =
                Array2::from_shape_fn((50, 3), |(i, j)| offset + (i as f32 * 0.37 + j as f32).sin() * 5.0);
            let (scan, out) = scanned(&array);
            for ((row, column), &value) in array.indexed_iter() {
                let back = f64::from(out[row * 3 + column]) / scan.frame.scale + scan.frame.offset[column];
                assert_eq!(back, f64::from(value), "offset {offset}");
            }
        }
    }

    #[test]
    fn largest_value_is_scaled_to_one() {
        for factor in [1e-38_f32, 1e-30, 1.0, 1e20, 3e38] {
            let array = Array2::from_shape_fn((9, 2), |(i, j)| {
                factor * (i as f32 / 9.0 - 0.4) * (j as f32 + 0.5) / 1.5
            });
            let (scan, out) = scanned(&array);
            let largest = out.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!((0.5..=1.0).contains(&largest), "factor {factor}: {largest}");
            assert_eq!(f64::from(largest), scan.largest.iter().fold(0.0_f64, |m, &v| m.max(v)));
        }
    }

    #[test]
    fn non_finite_values_are_named() {
        let mut array = Array2::<f32>::zeros((2000, 3));
        array[[1500, 2]] = f32::NAN;
        let error = scan("points", &Points::from(array.view()), &Cancel::new()).unwrap_err();
        assert_eq!(error.to_string(), "points[1500, 2]: expected a finite number, got NaN");
    }

    #[test]
    fn exponents() {
        assert_eq!(exponent_above(1.0), 0);
        assert_eq!(exponent_above(1.5), 1);
        assert_eq!(exponent_above(2.0), 1);
        assert_eq!(exponent_above(5e-324), -1074);
    }
}
