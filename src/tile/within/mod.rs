//! The fold that keeps all columns within a limit, on the GPU.
//!
//! One kernel counts and lists at once. A list has room for so many pairs; where there are more, their number per row is
//! known all the same, and the rows go through the kernel again in groups whose pairs fit. One row's always do. So no
//! result is too large for the device, and no pair is lost.

pub(crate) mod kernels;

use std::sync::Arc;

use bytemuck::{bytes_of, cast_slice, pod_collect_to_vec};

use super::choice::shape::{TileShape, WIDEST};
use super::choice::turns::{Meeting, in_turns};
use super::collect::gpu::{Columns, STEP_UNIT, Values, window_of};
use super::windows::{next_rows, windows};
use super::within::kernels::{Limits as RowLimits, SiftParams, WithinParams, sift_kernel, within_kernel};
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Limits, Pacer, Pipeline};
use crate::error::{Error, Result};

/// Columns of a dispatch at most.
const STEP: usize = 8192;
/// Pairs that are listed at once, at most: 32 MiB of them.
const MOST_PAIRS: u64 = 1 << 22;
/// Columns that a workgroup compares, of values that were computed already.
const COMPARED: u32 = 256;
/// Rows that meet such values at once, at most.
const MOST_ROWS: u64 = 4096;
/// Pairs of rows and columns that one list may be about, so that 32 bits count them.
const COUNTED: u64 = 1 << 31;

/// How a search is cut for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WithinSizes {
    /// The tile: its shape changes no decision.
    pub shape: TileShape,
    /// Number of features.
    pub depth: usize,
    /// Rows that are on the device at once, at most.
    pub rows: usize,
    /// Columns that are on the device at once, at most.
    pub window: usize,
    /// Columns of one dispatch.
    pub step: usize,
    /// Pairs that a list has room for: at least a window's columns.
    pub room: usize,
}

impl WithinSizes {
    /// Sizes within the limits for so many rows and columns.
    pub fn new(
        shape: TileShape,
        (rows, columns, depth): (usize, usize, usize),
        limits: &Limits,
    ) -> Result<Self> {
        let (row_bytes, pair_bytes) = (4 * depth as u64, size_of::<[u32; 2]>() as u64);
        let bytes = limits.share_bytes();
        let (window, step) = window_of(bytes / row_bytes.max(pair_bytes), columns, STEP);
        let of_row = row_bytes.max(size_of::<RowLimits>() as u64);
        let most_rows = (bytes / of_row).clamp(1, 1 << 15).min(COUNTED / window as u64);
        let rows = next_rows(rows, most_rows as usize, 1);
        let most_pairs = (bytes / pair_bytes).min(MOST_PAIRS).max(window as u64);
        let room = most_pairs.min(rows as u64 * window as u64) as usize;
        let sizes = Self { shape, depth, rows, window, step, room };
        let largest = (window as u64 * row_bytes).max(room as u64 * pair_bytes);
        limits.check(sizes.bytes(), largest, || {
            format!("neighbours of one row and {STEP_UNIT} rows of {depth} features")
        })?;
        Ok(sizes)
    }

    /// First row and number of rows of each block of so many rows, which differ by one at most.
    pub fn blocks(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        windows(rows, self.rows, 1)
    }

    /// Device memory of it all.
    fn bytes(&self) -> u64 {
        let of_row = 4 * self.depth as u64 + size_of::<RowLimits>() as u64 + 8;
        let of_column = 4 * self.depth as u64 + 8;
        self.rows as u64 * of_row
            + (self.window as u64 + u64::from(WIDEST)) * of_column
            + 8 * self.room as u64
            + 4
    }
}

/// What counts and lists for rows of one search, whatever compares their columns with the limits.
struct Survey {
    gpu: Gpu,
    /// Pairs that there is room for.
    room: usize,
    pairs: DeviceBuffer,
}

/// What finds all columns within the limits of the rows of one search.
pub(crate) struct Surveyor {
    survey: Survey,
    sizes: WithinSizes,
    within: Arc<Pipeline>,
    pacer: Pacer,
    cancel: Cancel,
}

/// The same among values that another kernel computed.
pub(crate) struct Sifter {
    survey: Survey,
    sift: Arc<Pipeline>,
    /// Rows whose limits are on the device at once.
    pub rows: usize,
    cancel: Cancel,
}

/// Limits of rows on the device, and what was counted.
pub(crate) struct Marks {
    count: usize,
    limits: DeviceBuffer,
    counts: DeviceBuffer,
}

/// Rows on the device.
pub(crate) struct Rows {
    x: DeviceBuffer,
    marks: Marks,
}

/// What rows found in one window.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rows and numbers of columns, in any order.
    pub pairs: Vec<[u32; 2]>,
    /// For each row how many pairs were listed, and how many columns are surely within the limit.
    pub counts: Vec<[u32; 2]>,
}

impl Survey {
    fn new(gpu: &Gpu, room: usize) -> Result<Self> {
        Ok(Self { gpu: gpu.clone(), room, pairs: gpu.buffer("pairs", 8 * room as u64)? })
    }

    fn marks(&self, limits: &[RowLimits]) -> Result<Marks> {
        let count = limits.len();
        let limits = self.gpu.filled("limits", limits)?;
        Ok(Marks { count, limits, counts: self.gpu.buffer("counts", 4 * (1 + 2 * count as u64))? })
    }

    /// What some rows find; `run` counts and lists for a part of them. Pairs that a device did not list, against its own
    /// count, are missing.
    fn find(
        &self,
        marks: &Marks,
        rows: (usize, usize),
        mut run: impl FnMut(&Self, (usize, usize)) -> Result<()>,
    ) -> Result<Found> {
        let mut found = Found { pairs: Vec::new(), counts: vec![[0; 2]; marks.count] };
        let mut groups = vec![rows];
        while let Some((first, count)) = groups.pop() {
            let mut batch = self.gpu.batch("clear counts");
            batch.clear(&marks.counts)?;
            batch.submit()?;
            run(self, (first, count))?;
            let bytes = 4 * (1 + 2 * marks.count as u64);
            let counts: Vec<u32> = pod_collect_to_vec(&self.gpu.read(&[(&marks.counts, 0..bytes)])?[0]);
            let total = counts[0] as usize;
            let counts: &[[u32; 2]] = cast_slice(&counts[1..]);
            let own = &counts[first..first + count];
            let parts = groups_within(own, first, self.room);
            if parts.len() > 1 {
                groups.extend(parts);
                continue;
            }
            found.counts[first..first + count].copy_from_slice(own);
            let total = total.min(self.room);
            if total > 0 {
                let read = self.gpu.read(&[(&self.pairs, 0..8 * total as u64)])?;
                found.pairs.extend(pod_collect_to_vec::<u8, [u32; 2]>(&read[0]));
            }
        }
        Ok(found)
    }
}

impl Surveyor {
    pub fn new(gpu: &Gpu, sizes: WithinSizes, cancel: Cancel) -> Result<Self> {
        let within = gpu.pipeline(&within_kernel(&sizes.shape)?)?;
        let pacer = gpu.pacer("within", [sizes.depth, sizes.step]);
        Ok(Self { survey: Survey::new(gpu, sizes.room)?, sizes, within, pacer, cancel })
    }

    /// Longest chain of additions of its products.
    pub fn chain(&self) -> usize {
        self.sizes.shape.chain(self.sizes.depth, self.survey.gpu.keeps_order())
    }

    /// Brings rows to the device, with the limits of each.
    pub fn rows(&self, x: &[f32], limits: &[RowLimits]) -> Result<Rows> {
        Ok(Rows { x: self.survey.gpu.filled("rows", x)?, marks: self.survey.marks(limits)? })
    }

    /// All rows meet all columns.
    pub fn meet(&mut self, rows: &Rows, columns: &Columns) -> Result<Found> {
        let Self { survey, sizes, within, pacer, cancel } = self;
        let WithinSizes { depth, step, shape, .. } = *sizes;
        survey.find(&rows.marks, (0, rows.marks.count), |survey, own| {
            let meeting = Meeting { rows: own, tile_rows: shape.rows, columns: (columns.count, step), depth };
            in_turns(&survey.gpu, "within", meeting, pacer, cancel, |batch, own, start| {
                record(batch, (survey, within, sizes), rows, columns, own, start)
            })
        })
    }
}

/// One step of columns, from `start` of the window on, for some rows.
fn record<'a>(
    batch: &mut Batch<'a>,
    (survey, within, sizes): (&'a Survey, &'a Arc<Pipeline>, &WithinSizes),
    rows: &'a Rows,
    columns: &'a Columns,
    (first_row, count): (usize, usize),
    start: usize,
) -> Result<()> {
    let WithinSizes { shape, depth, step, room, .. } = *sizes;
    let here = step.min(columns.count - start);
    let params = WithinParams {
        rows: count as u32,
        columns: here as u32,
        depth: depth as u32,
        first_row: first_row as u32,
        first_column: (columns.first + start) as u32,
        room: room as u32,
    };
    let padded = (here as u32).next_multiple_of(shape.columns);
    let bindings = [
        rows.x.whole(),
        columns.y.slice(4 * (start * depth) as u64, 4 * (here * depth) as u64),
        columns.terms.slice(8 * start as u64, 8 * u64::from(padded)),
        rows.marks.limits.whole(),
        rows.marks.counts.whole(),
        survey.pairs.whole(),
    ];
    let workgroups = [params.rows.div_ceil(shape.rows), params.columns.div_ceil(shape.columns), 1];
    batch.dispatch(within, &bindings, bytes_of(&params), workgroups)
}

impl Sifter {
    /// For so many rows, and blocks of at most so many columns.
    pub fn new(gpu: &Gpu, (rows, columns): (usize, usize), limits: &Limits, cancel: Cancel) -> Result<Self> {
        let bytes = limits.max_binding_bytes.min(limits.budget_bytes / 4);
        let needed_bytes = 8 * columns as u64;
        if needed_bytes > bytes {
            let what = format!("pairs of a row with {columns} others");
            return Err(Error::TooLarge { what, needed_bytes, limit_bytes: bytes });
        }
        let rows = rows.min(MOST_ROWS as usize);
        let room = (bytes / 8).min(MOST_PAIRS).min(rows as u64 * columns as u64) as usize;
        let survey = Survey::new(gpu, room.max(columns))?;
        Ok(Self { survey, sift: gpu.pipeline(&sift_kernel()?)?, rows, cancel })
    }

    /// Brings the limits of rows to the device.
    pub fn marks(&self, limits: &[RowLimits]) -> Result<Marks> {
        self.survey.marks(limits)
    }

    /// Rows meet a block of values.
    pub fn meet(&self, marks: &Marks, values: &Values) -> Result<Found> {
        let Values { buffer, rows, columns: (first_column, columns) } = *values;
        self.survey.find(marks, rows, |survey, (first, count)| {
            self.cancel.check()?;
            let params = SiftParams {
                first_row: (first - rows.0) as u32,
                first_limit: first as u32,
                columns: columns as u32,
                first_column: first_column as u32,
                room: survey.room as u32,
            };
            let bindings = [buffer.whole(), marks.limits.whole(), marks.counts.whole(), survey.pairs.whole()];
            let mut batch = survey.gpu.batch("sift");
            let workgroups = [count as u32, params.columns.div_ceil(COMPARED), 1];
            batch.dispatch(&self.sift, &bindings, bytes_of(&params), workgroups)?;
            batch.submit_and_wait()?;
            Ok(())
        })
    }
}

/// Groups of neighbouring rows, each with at most `room` pairs; the first row is number `first`. No row has more.
fn groups_within(counts: &[[u32; 2]], first: usize, room: usize) -> Vec<(usize, usize)> {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut total = usize::MAX;
    for (row, [listed, _]) in counts.iter().enumerate() {
        let listed = *listed as usize;
        match groups.last_mut() {
            Some(group) if total + listed <= room => {
                group.1 += 1;
                total += listed;
            }
            _ => {
                groups.push((first + row, 1));
                total = listed;
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every binding is within the limits, every offset aligned, and one row's pairs have room.
        #[test]
        fn sizes_stay_within_every_limit(
            rows in 1_usize..3_000_000, columns in 1_usize..3_000_000, depth in 1_usize..3000,
            window in 256_u64..1 << 28, budget in 1_u64 << 20..1 << 34,
        ) {
            let limits = Limits { window_bytes: window, budget_bytes: budget, ..Limits::for_tests() };
            let Ok(sizes) = WithinSizes::new(TileShape::SMALLEST, (rows, columns, depth), &limits) else {
                prop_assert!(budget < 1 << 24 || limits.max_binding_bytes < 1 << 24);
                return Ok(());
            };
            prop_assert!(sizes.step.is_multiple_of(STEP_UNIT) && sizes.step > 0 && sizes.step <= sizes.window);
            prop_assert!(sizes.window.is_multiple_of(sizes.step), "{sizes:?}");
            prop_assert!(sizes.rows >= 1 && sizes.rows <= rows && sizes.rows < 65_536);
            prop_assert!(sizes.rows as u64 * (sizes.window as u64) <= COUNTED);
            prop_assert!(sizes.room >= sizes.window.min(columns), "{sizes:?}");
            prop_assert!(sizes.bytes() <= budget, "{sizes:?}");
            prop_assert!(sizes.room as u64 * 8 <= limits.max_binding_bytes);
        }

        /// Rows are grouped in order, each once, and a group that is larger than the room has one row.
        #[test]
        fn groups_hold_every_row_once(listed in prop::collection::vec(0_u32..50, 1..40), room in 50_usize..200) {
            let counts: Vec<[u32; 2]> = listed.iter().map(|&listed| [listed, 7]).collect();
            let groups = groups_within(&counts, 11, room);
            let mut next = 11;
            for (first, count) in groups {
                prop_assert_eq!(first, next);
                prop_assert!(count >= 1);
                next += count;
                let total: u32 = listed[first - 11..first - 11 + count].iter().sum();
                prop_assert!(total as usize <= room);
            }
            prop_assert_eq!(next, 11 + listed.len());
        }
    }
}
