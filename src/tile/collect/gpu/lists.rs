//! Lists on the GPU of the columns that may be among the least of a row, whatever adds to them.
//!
//! What adds does so for one step of columns at a time; then `tighten` lowers the limits and drops what is above them. A list
//! has room for what it may keep and for all columns of a step; a row that would keep more is lost.

use std::sync::Arc;

use bytemuck::{bytes_of, pod_collect_to_vec};

use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::bound::f32::NO_LIMIT;
use crate::tile::collect::gpu::kernels::{DeliverParams, TightenParams, deliver_kernel, tighten_kernel};

/// How long lists are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListSizes {
    /// Columns wanted.
    pub count: usize,
    /// Columns between two lowerings of the limits.
    pub step: usize,
    /// Entries that a list may keep beyond twice as many as are wanted.
    pub spare: usize,
}

impl ListSizes {
    /// `spare` of lists of products of `f32`.
    pub(crate) const SPARE: usize = 64;

    /// Entries that a list may keep.
    pub(crate) fn most(&self) -> usize {
        2 * self.count + self.spare
    }

    /// Entries that a list has room for.
    pub(crate) fn room(&self) -> usize {
        self.most() + self.step
    }

    /// Columns of a row that are handed out.
    pub(crate) fn kept(&self) -> usize {
        self.count + self.count / 2 + self.spare / 4 * 3
    }

    /// Bytes of a list.
    pub(crate) fn bytes(&self) -> u64 {
        4 * (3 * self.room() as u64 + 1)
    }

    /// Bytes of a row's list, limit and gap, and of what is handed out.
    pub(crate) fn row_bytes(&self) -> u64 {
        8 + self.bytes() + 4 * (self.kept() as u64 + 1)
    }
}

/// Lists of some rows.
pub(crate) struct Lists {
    pub count: usize,
    gaps: DeviceBuffer,
    pub limits: DeviceBuffer,
    pub lists: DeviceBuffer,
    /// What of a value's magnitude belongs to it too.
    slope: f32,
}

/// What keeps lists.
pub(crate) struct Lister {
    gpu: Gpu,
    pub sizes: ListSizes,
    tighten: Arc<Pipeline>,
    deliver: Arc<Pipeline>,
}

impl Lister {
    pub fn new(gpu: &Gpu, sizes: ListSizes) -> Result<Self> {
        let (tighten, deliver) = (gpu.pipeline(&tighten_kernel()?)?, gpu.pipeline(&deliver_kernel()?)?);
        Ok(Self { gpu: gpu.clone(), sizes, tighten, deliver })
    }

    /// Empty lists of rows with the share 2 S of each.
    pub fn lists(&self, gaps: &[f32]) -> Result<Lists> {
        self.lists_with_slope(gaps, 0.0)
    }

    /// The same where a share of a value's magnitude belongs to it too.
    pub fn lists_with_slope(&self, gaps: &[f32], slope: f32) -> Result<Lists> {
        let lists = self.gpu.buffer("lists", gaps.len() as u64 * self.sizes.bytes())?;
        let mut batch = self.gpu.batch("clear lists");
        batch.clear(&lists)?;
        batch.submit()?;
        let limits = self.gpu.filled("limits", &vec![NO_LIMIT; gaps.len()])?;
        Ok(Lists { count: gaps.len(), gaps: self.gpu.filled("gaps", gaps)?, limits, lists, slope })
    }

    /// Lowers the limits of `count` rows from `first_row` on.
    pub fn tighten<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        lists: &'a Lists,
        (first_row, count): (usize, usize),
    ) -> Result<()> {
        let params = TightenParams {
            first_row: first_row as u32,
            count: self.sizes.count as u32,
            room: self.sizes.room() as u32,
            most: self.sizes.most() as u32,
            slope: lists.slope,
        };
        let bindings = [lists.gaps.whole(), lists.limits.whole(), lists.lists.whole()];
        batch.dispatch(&self.tighten, &bindings, bytes_of(&params), [count as u32, 1, 1])
    }

    /// For each row its columns, or `None` for a row that is lost.
    pub fn deliver(&self, lists: &Lists) -> Result<Vec<Option<Vec<u32>>>> {
        let kept = self.sizes.kept();
        let bytes = 4 * (lists.count * (kept + 1)) as u64;
        let delivered = self.gpu.buffer("delivered", bytes)?;
        let params = DeliverParams {
            first_row: 0,
            rows: lists.count as u32,
            room: self.sizes.room() as u32,
            kept: kept as u32,
        };
        let mut batch = self.gpu.batch("deliver");
        let workgroups = [lists.count as u32, (params.kept + 1).div_ceil(64), 1];
        batch.dispatch(
            &self.deliver,
            &[lists.lists.whole(), delivered.whole()],
            bytes_of(&params),
            workgroups,
        )?;
        let read = batch.submit_and_read(&[(&delivered, 0..bytes)])?;
        let words: Vec<u32> = pod_collect_to_vec(&read[0]);
        let list = |row: &[u32]| row.get(1..=row[0] as usize).map(<[u32]>::to_vec);
        Ok(words.chunks_exact(kept + 1).map(list).collect())
    }
}
