//! Lists of values that another kernel computed: row-major blocks on the device are compared with the limits.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::lists::{ListSizes, Lister, Lists};
use crate::cancel::Cancel;
use crate::device::{DeviceBuffer, Gpu, Limits, Pipeline};
use crate::error::{Error, Result};
use crate::tile::collect::gpu::kernels::{KeepParams, keep_kernel};

/// Columns of a step.
const STEP: usize = 1024;
/// Rows whose lists are on the device at once, at most.
const MOST_ROWS: u64 = 4096;
/// Columns that a workgroup compares.
const COMPARED: u32 = 256;

/// A block of values: all of its columns for some of its rows.
pub(crate) struct Values<'a> {
    /// Row-major.
    pub buffer: &'a DeviceBuffer,
    /// The number of the first row among those that have lists or limits, and how many rows there are.
    pub rows: (usize, usize),
    /// The number of the first column, and how many columns there are.
    pub columns: (usize, usize),
}

/// What keeps values for rows of one search.
pub(crate) struct Keeper {
    gpu: Gpu,
    lister: Lister,
    keep: Arc<Pipeline>,
    /// -1 where the largest values are wanted.
    sign: f32,
    /// Rows whose lists are on the device at once.
    pub rows: usize,
    cancel: Cancel,
}

/// Lists of some rows.
pub(crate) struct Kept(Lists);

impl Keeper {
    /// Keeps the `count` least values, or the largest, of so many rows and columns.
    pub fn new(
        gpu: &Gpu,
        (rows, columns): (usize, usize),
        (count, is_farthest): (usize, bool),
        limits: &Limits,
        cancel: Cancel,
    ) -> Result<Self> {
        let sizes = ListSizes { count, step: STEP.min(columns), spare: ListSizes::SPARE };
        let bytes = limits.max_binding_bytes.min(limits.budget_bytes / 4);
        if sizes.row_bytes() > bytes {
            let what = format!("the list of {count} neighbours of a row");
            return Err(Error::TooLarge { what, needed_bytes: sizes.row_bytes(), limit_bytes: bytes });
        }
        Ok(Self {
            gpu: gpu.clone(),
            lister: Lister::new(gpu, sizes)?,
            keep: gpu.pipeline(&keep_kernel()?)?,
            sign: if is_farthest { -1.0 } else { 1.0 },
            rows: ((bytes / sizes.row_bytes()).min(MOST_ROWS) as usize).min(rows),
            cancel,
        })
    }

    /// Empty lists of rows.
    pub fn lists(&self, rows: usize, slope: f32, gap: f32) -> Result<Kept> {
        Ok(Kept(self.lister.lists_with_slope(&vec![gap; rows], slope)?))
    }

    /// Lists meet a block of values.
    pub fn meet(&self, kept: &Kept, values: &Values) -> Result<()> {
        let Values { buffer, rows: (first_list, rows), columns: (first_column, columns) } = *values;
        let ListSizes { step, .. } = self.lister.sizes;
        self.cancel.check()?;
        let mut batch = self.gpu.batch("keep");
        for start in (0..columns).step_by(step) {
            let here = step.min(columns - start);
            let params = KeepParams {
                first_list: first_list as u32,
                stride: columns as u32,
                start: start as u32,
                columns: here as u32,
                first_column: (first_column + start) as u32,
                room: self.lister.sizes.room() as u32,
                sign: self.sign,
            };
            let bindings = [buffer.whole(), kept.0.limits.whole(), kept.0.lists.whole()];
            let workgroups = [rows as u32, (here as u32).div_ceil(COMPARED), 1];
            batch.dispatch(&self.keep, &bindings, bytes_of(&params), workgroups)?;
            self.lister.tighten(&mut batch, &kept.0, (first_list, rows))?;
        }
        batch.submit_and_wait()?;
        Ok(())
    }

    /// For each row its columns, or `None` for a row that is lost.
    pub fn deliver(&self, kept: &Kept) -> Result<Vec<Option<Vec<u32>>>> {
        self.lister.deliver(&kept.0)
    }
}
