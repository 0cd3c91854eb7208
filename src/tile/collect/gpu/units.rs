//! The collecting fold on matrix units: each row's list of the columns that may be among its `count` least.
//!
//! What [`crate::tile::collect::gpu`] does with products of `f32`, this does with products of `f16` under the bound of
//! [`crate::tile::bound::f16`]: the value `v = h - k - w A' - sum` of a pair is at most T + S and `v + 2 (w A' + k)` at least T - S, each a
//! number that an entry of a list holds. So the lists are the same to whoever lowers their limits: an entry that is left out
//! is worse than `count` others, whatever the tile was. Weights, constants and residuals are a thousandth larger than the
//! bound says (`with_slack`), more than the roundings of `w`, of `w A'` and of the sums that they go into.
//!
//! Rows and columns are rounded on the host, where they are prepared; the device holds no `f32` of them.

use std::sync::Arc;

use bytemuck::bytes_of;
use half::f16;

use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Pacer, Pipeline};
use crate::error::Result;
use crate::tile::bound::constants::{ABSENT, with_slack};
use crate::tile::bound::f16::{Column, ratio};
use crate::tile::choice::turns::{Meeting, in_turns};
use crate::tile::collect::gpu::{CollectSizes, Lister, Lists, Operands};
use crate::tile::product::units::kernels::{MatrixCollectParams, collect_kernel};
use crate::tile::product::units::shape::MatrixTile;

/// Entries that a list may keep beyond twice as many as are wanted: the bound lets more columns in than that of `f32`.
const SPARE: usize = 256;

impl MatrixTile {
    /// What rows and columns of `depth` features take: lengths and residuals of rows; half norms, weights and constants of
    /// columns.
    pub fn operands(&self, depth: usize) -> Operands {
        Operands {
            features: 2 * self.padded_depth(depth) as u64,
            beside: (8, 12),
            rows: self.rows() as usize,
            pads_columns: true,
            spare: SPARE,
        }
    }
}

/// What collects for rows of one search.
pub(crate) struct MatrixCollector {
    gpu: Gpu,
    tile: MatrixTile,
    sizes: CollectSizes,
    /// Rows and columns were multiplied by these powers of two together.
    exponent: i32,
    collect: Arc<Pipeline>,
    lister: Lister,
    pacer: Pacer,
    cancel: Cancel,
}

/// Rows as they are rounded on the host.
pub(crate) struct HalfRows {
    /// `[padded rows, padded depth]`, zeros behind.
    pub halves: Vec<f16>,
    /// Upper bounds on the rows' lengths.
    pub norms: Vec<f32>,
    /// Upper bounds on the lengths of what the rounding took away.
    pub residuals: Vec<f32>,
    /// The share 2 S of each row.
    pub gaps: Vec<f32>,
}

/// Columns as they are rounded on the host.
pub(crate) struct HalfColumns {
    /// `[padded columns, padded depth]`, zeros behind.
    pub halves: Vec<f16>,
    /// Half norm of each, and what the bound knows of it.
    pub columns: Vec<(f64, Column)>,
}

/// Rows on the device with their lists.
pub(crate) struct Rows {
    x: DeviceBuffer,
    norms: DeviceBuffer,
    residuals: DeviceBuffer,
    lists: Lists,
}

/// Columns on the device.
pub(crate) struct Columns {
    first: usize,
    count: usize,
    ratio: f32,
    y: DeviceBuffer,
    /// Half norm less the constant, and weight.
    terms: DeviceBuffer,
    constants: DeviceBuffer,
}

impl Columns {
    /// Brings columns from number `first` on to the device.
    pub fn upload(gpu: &Gpu, first: usize, host: &HalfColumns) -> Result<Self> {
        let columns: Vec<Column> = host.columns.iter().map(|&(_, column)| column).collect();
        let ratio = ratio(&columns);
        let padded = MatrixTile::padded_columns(columns.len());
        let mut constants: Vec<f32> = columns.iter().map(|column| with_slack(column.constant)).collect();
        let terms = host.columns.iter().zip(&constants);
        let mut terms: Vec<[f32; 2]> = terms
            .map(|((half, column), &constant)| [(half - f64::from(constant)) as f32, column.weight(ratio)])
            .collect();
        terms.resize(padded, [ABSENT, 0.0]);
        constants.resize(padded, 0.0);
        Ok(Self {
            first,
            count: columns.len(),
            ratio,
            y: gpu.filled("half columns", &host.halves)?,
            terms: gpu.filled("half terms", &terms)?,
            constants: gpu.filled("half constants", &constants)?,
        })
    }
}

impl MatrixCollector {
    /// `exponent` is the sum of those of rows and columns.
    pub fn new(
        gpu: &Gpu,
        tile: MatrixTile,
        sizes: CollectSizes,
        exponent: i32,
        cancel: Cancel,
    ) -> Result<Self> {
        let collect = gpu.pipeline(&collect_kernel(&tile, "")?)?;
        let lister = Lister::new(gpu, sizes.lists)?;
        Ok(Self { gpu: gpu.clone(), tile, sizes, exponent, collect, lister, pacer: Pacer::new(), cancel })
    }

    /// Brings rows to the device.
    pub fn rows(&self, host: &HalfRows) -> Result<Rows> {
        Ok(Rows {
            lists: self.lister.lists(&host.gaps)?,
            x: self.gpu.filled("half rows", &host.halves)?,
            norms: self.gpu.filled("norms", &host.norms)?,
            residuals: self.gpu.filled("residuals", &host.residuals)?,
        })
    }

    /// All rows meet all columns.
    pub fn meet(&mut self, rows: &Rows, columns: &Columns) -> Result<()> {
        let meeting = Meeting {
            rows: (0, rows.lists.count),
            tile_rows: self.tile.rows(),
            columns: (columns.count, self.sizes.lists.step),
            depth: self.sizes.depth,
        };
        let mut pacer = self.pacer.clone();
        in_turns(&self.gpu, "collect in halves", meeting, &mut pacer, &self.cancel, |batch, own, start| {
            self.record(batch, rows, columns, own, start)
        })?;
        self.pacer = pacer;
        Ok(())
    }

    /// One step of columns, from `start` of the window on, for some rows.
    fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        rows: &'a Rows,
        columns: &'a Columns,
        (first_row, count): (usize, usize),
        start: usize,
    ) -> Result<()> {
        let (tile, lists) = (&self.tile, self.sizes.lists);
        let depth = tile.padded_depth(self.sizes.depth);
        // Whole tiles: a step that is not, is the last of its window, with columns behind that nothing keeps.
        let here = lists.step.min(columns.count - start);
        let padded = here.next_multiple_of(tile.columns() as usize) as u64;
        let split_columns = tile.cut().split_columns(count as u32, here as u32, u64::MAX);
        let params = MatrixCollectParams {
            rows: count as u32,
            columns: here as u32,
            depth: depth as u32,
            first_row: first_row as u32,
            first_column: (columns.first + start) as u32,
            split_columns,
            room: lists.room() as u32,
            unscale: 2.0_f32.powi(-self.exponent),
            ratio: columns.ratio,
        };
        let arguments = [
            rows.x.whole(),
            columns.y.slice(2 * (start * depth) as u64, 2 * padded * depth as u64),
            columns.terms.slice(8 * start as u64, 8 * padded),
            rows.norms.whole(),
            rows.residuals.whole(),
            columns.constants.slice(4 * start as u64, 4 * padded),
            rows.lists.limits.whole(),
            rows.lists.lists.whole(),
        ];
        let workgroups = [params.rows.div_ceil(tile.rows()), params.columns.div_ceil(split_columns), 1];
        batch.dispatch(&self.collect, &arguments, bytes_of(&params), workgroups)?;
        self.lister.tighten(batch, &rows.lists, (first_row, count))
    }

    /// For each row its columns, or `None` for a row that is lost.
    pub fn deliver(&self, rows: &Rows) -> Result<Vec<Option<Vec<u32>>>> {
        self.lister.deliver(&rows.lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend, Device, Prediction};
    use crate::random::Stream;
    use crate::tile::bound::f16::Factors;
    use crate::tile::bound::f32::{DEVICE_UNIT, norm_above};
    use crate::tile::operands::gpu::half_columns::narrow;
    use crate::tile::operands::gpu::half_rows::exponent_for;

    /// Values over so many powers of two below `scale`.
    fn values(count: usize, seed: u64, scale: f64, spread: u64) -> Vec<f64> {
        let draws = Stream::new(seed, 9);
        let power = |at: u64| 2.0_f64.powi(-((draws.bits(2 * at + 1) % (spread + 1)) as i32));
        (0..count as u64).map(|at| (2.0 * draws.unit(2 * at) - 1.0) * scale * power(at)).collect()
    }

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// How many entries of all lists do not hold the exact value between their own; every column is in every list.
    fn wrong(device: &Device, depth: usize, [x, c]: [&[f64]; 2], has_bound: bool) -> usize {
        let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
        let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
        let units = gpu.limits().matrix.expect("matrix units, or plain ones");
        let tile = MatrixTile::choose(&units, depth, &gpu.limits()).unwrap();
        let (factors, padded) = (Factors::of(depth), tile.padded_depth(depth));
        let rounded = |rows: &[f64], room: usize| {
            let largest = rows.chunks_exact(depth).map(|row| dot(row, row).sqrt()).fold(0.0, f64::max);
            let exponent = exponent_for(largest * 1.001);
            let scales = [2.0_f64.powi(exponent), 2.0_f64.powi(-exponent)];
            let mut halves = vec![f16::ZERO; room * padded];
            let sizes: Vec<[f32; 2]> = rows
                .chunks_exact(depth)
                .zip(halves.chunks_exact_mut(padded))
                .map(|(row, out)| {
                    let (norm, lost) = (norm_above(dot(row, row)), narrow(row, scales, out).sqrt());
                    let residual = with_slack(lost + DEVICE_UNIT * f64::from(norm));
                    if has_bound { [norm, residual] } else { [0.0, 0.0] }
                })
                .collect();
            (exponent, halves, sizes)
        };
        let (rows, columns) = (x.len() / depth, c.len() / depth);
        let (x_exponent, halves, sizes) = rounded(x, rows.next_multiple_of(tile.rows() as usize));
        let host = HalfRows {
            halves,
            norms: sizes.iter().map(|size| size[0]).collect(),
            residuals: sizes.iter().map(|size| size[1]).collect(),
            gaps: vec![0.0; rows],
        };
        let (c_exponent, halves, sizes) = rounded(c, MatrixTile::padded_columns(columns));
        let none = Column { per_residual: 0.0, per_norm: 0.0, constant: 0.0 };
        let of = |(c, size): (&[f64], &[f32; 2])| {
            let column = factors.column(f64::from(size[0]), f64::from(size[1]));
            (0.5 * dot(c, c), if has_bound { column } else { none })
        };
        let columns_on_host =
            HalfColumns { halves, columns: c.chunks_exact(depth).zip(&sizes).map(of).collect() };
        // More are wanted than there are: nothing is dropped.
        let sizes =
            CollectSizes::new(tile.operands(depth), (rows, columns, depth), columns + 1, &gpu.limits());
        let (sizes, exponent) = (sizes.unwrap(), x_exponent + c_exponent);
        let mut collector = MatrixCollector::new(gpu, tile, sizes, exponent, Cancel::new()).unwrap();
        let on_device = collector.rows(&host).unwrap();
        collector.meet(&on_device, &Columns::upload(gpu, 0, &columns_on_host).unwrap()).unwrap();
        let lists = &on_device.lists.lists;
        let read = gpu.read(&[(lists, 0..lists.size_bytes())]).unwrap();
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&read[0]);
        let mut wrong = 0;
        for (list, x) in words.chunks_exact(3 * sizes.lists.room() + 1).zip(x.chunks_exact(depth)) {
            assert_eq!(list[0] as usize, columns, "every column is listed once");
            let mut found = vec![false; columns];
            let share = f64::from(factors.square()) * dot(x, x);
            for entry in list[1..].chunks_exact(3).take(columns) {
                let [value, upper] = [0, 1].map(|at| f64::from(f32::from_bits(entry[at])));
                let column = entry[2] as usize;
                assert!(!std::mem::replace(&mut found[column], true), "column {column} twice");
                let c = &c[column * depth..(column + 1) * depth];
                let exact = 0.5 * dot(c, c) - dot(x, c);
                // What `upper` itself rounds is added where limits are lowered.
                let upper = upper + upper.abs() * DEVICE_UNIT;
                wrong += usize::from(!(value <= exact + share && exact <= upper + share));
            }
        }
        wrong
    }

    #[test]
    #[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
    fn entries_hold_the_exact_value() {
        let device =
            Device::gpu("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1");
        let plain = device.clone().with_plain_matrices(16);
        let forced = device.with_matrix_units(true);
        for device in [&plain, &forced] {
            for (seed, scale) in (0_u64..).zip([1.0, 1e-30, 1e13, 1e6]) {
                for (depth, columns, spread) in [(16, 130, 0), (40, 65, 12), (130, 33, 3), (100, 64, 40)] {
                    let x = values(70 * depth, seed, scale, spread);
                    let c = values(columns * depth, 100 + seed, scale, spread);
                    assert_eq!(wrong(device, depth, [&x, &c], true), 0, "{scale:e} {depth} {spread}");
                    if spread == 0 && scale > 1e-9 {
                        let wrong = wrong(device, depth, [&x, &c], false);
                        assert!(wrong > 1000, "without the bound only {wrong} are wrong");
                    }
                }
            }
        }
    }
}
