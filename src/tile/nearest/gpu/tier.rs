//! One tier of the cascade: the nearest tile of one product with its certificate, over a window's rows or over a list of
//! them.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::kernels::{
    CertifyParams, NearestParams, Reached, approach_kernel, certify_kernel, nearest_kernel, reach_kernel,
};
use super::sizes::{CascadeSizes, most_splits};
use super::task::{Outputs, Reach, Span, Task};
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::bound::f32::Bound;
use crate::tile::choice::cut::Cut;
use crate::tile::choice::shape::TileShape;
use crate::tile::operands::gpu::windows::ColumnWindows;
use crate::tile::product::units::kernels as units;
use crate::tile::product::units::shape::MatrixTile;

/// The kernels of one tier.
pub(crate) struct Tier {
    cut: Cut,
    window: Kernels,
    /// The same for rows of a list, where lists come to this tier.
    list: Option<Kernels>,
    /// What brings bounds on distances up to a subset of the columns.
    approach: Option<Arc<Pipeline>>,
}

struct Kernels {
    nearest: Arc<Pipeline>,
    certify: Arc<Pipeline>,
    /// What keeps bounds on distances.
    reach: Option<Arc<Pipeline>>,
}

/// What one product reads of a task, and how far its values may be off.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    pub x: &'a DeviceBuffer,
    pub columns: &'a ColumnWindows,
    /// Numbers of a row or a column, with those behind its features.
    pub depth: u32,
    /// What a sum of products is multiplied with.
    pub unscale: f32,
    pub bound: Bound,
    /// What rounding took from each row, where the product's bound needs it.
    pub residuals: Option<&'a DeviceBuffer>,
    /// See [`crate::tile::bound::f16`].
    pub ratio: f32,
}

impl Tier {
    /// Products in `f32`.
    pub fn single(gpu: &Gpu, sizes: &CascadeSizes) -> Result<Self> {
        let shape = &sizes.shape;
        let kernels = |is_listed| -> Result<_> {
            let of = if is_listed { Reached::Listed } else { Reached::Window };
            let nearest = gpu.pipeline(&nearest_kernel(shape, is_listed)?)?;
            let certify = gpu.pipeline(&certify_kernel(of)?)?;
            let reach = || gpu.pipeline(&reach_kernel(of)?);
            Ok(Kernels { nearest, certify, reach: sizes.keeps_reach.then(reach).transpose()? })
        };
        let list = sizes.has_listed().then(|| kernels(true)).transpose()?;
        let approach = || gpu.pipeline(&approach_kernel(false)?);
        let approach = sizes.keeps_reach.then(approach).transpose()?;
        Ok(Self { cut: shape.cut(), window: kernels(false)?, list, approach })
    }

    /// Products of `f16` on matrix units.
    pub fn halves(gpu: &Gpu, tile: &MatrixTile, keeps_reach: bool) -> Result<Self> {
        let nearest = gpu.pipeline(&units::nearest_kernel(tile, "")?)?;
        let certify = gpu.pipeline(&certify_kernel(Reached::Halves)?)?;
        let reach = || gpu.pipeline(&reach_kernel(Reached::Halves)?);
        let approach = || gpu.pipeline(&approach_kernel(true)?);
        let window = Kernels { nearest, certify, reach: keeps_reach.then(reach).transpose()? };
        Ok(Self { cut: tile.cut(), window, list: None, approach: keeps_reach.then(approach).transpose()? })
    }

    /// Rows of its tile, which the first row of a dispatch over a window is a multiple of.
    pub fn rows(&self) -> u64 {
        u64::from(self.cut.rows)
    }

    /// Records the tiles of some rows with all columns, and their certificate.
    pub fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        task: &Task<'a>,
        operands: &Operands<'a>,
        outputs: Outputs<'a>,
        Span { list, first, rows }: Span<'a>,
    ) -> Result<()> {
        let Operands { x, columns, depth, unscale, bound, residuals, ratio } = *operands;
        let Bound { slope, constant, square } = bound;
        let kernels = list.and(self.list.as_ref()).unwrap_or(&self.window);
        let (norms, partials) = (task.window.norms.whole(), outputs.partials.whole());
        let residuals = residuals.map(DeviceBuffer::whole);
        let counted = list.map(|list| [list.whole(), outputs.counters.whole()]);
        let most_splits = most_splits(outputs.most_partials, columns.len(), rows);
        let mut splits = 0;
        for window in columns.iter(self.cut.columns) {
            let split_columns = self.cut.split_columns(rows, window.columns, most_splits);
            let params = NearestParams {
                rows,
                columns: window.columns,
                depth,
                first_row: first,
                first_column: window.first,
                split_columns,
                first_split: splits,
                stride: rows,
                unscale,
                ratio,
            };
            let mut arguments = vec![x.whole(), window.y, window.terms];
            arguments.extend(residuals.iter().flat_map(|&residuals| [norms, residuals]));
            arguments.push(partials);
            arguments.extend(counted.into_iter().flatten());
            let across = window.columns.div_ceil(split_columns);
            let workgroups = [rows.div_ceil(self.cut.rows), across, 1];
            batch.dispatch(&kernels.nearest, &arguments, bytes_of(&params), workgroups)?;
            splits += across;
        }
        let params =
            CertifyParams { rows, splits, stride: rows, first_row: first, slope, constant, square, ratio };
        let (params, workgroups) = (bytes_of(&params), [rows.div_ceil(256), 1, 1]);
        let (errors, nearest) = (columns.errors.whole(), task.nearest.whole());
        if let (Some(approach), Some(Reach { bounds, subset: Some(subset) })) = (&self.approach, task.reach) {
            let mut arguments = vec![partials, norms, errors, bounds.whole(), nearest, subset.whole()];
            arguments.extend(residuals);
            return batch.dispatch(approach, &arguments, params, workgroups);
        }
        let (given, left) = (task.columns.given.whole(), outputs.left.whole());
        let mut arguments = vec![partials, norms, given, errors, nearest, left, outputs.counters.whole()];
        arguments.extend(residuals.into_iter().chain(list.map(DeviceBuffer::whole)));
        batch.dispatch(&kernels.certify, &arguments, params, workgroups)?;
        if let (Some(reach), Some(Reach { bounds, .. })) = (&kernels.reach, task.reach) {
            let mut arguments = vec![partials, norms, errors, bounds.whole()];
            arguments.extend(residuals.into_iter().chain(counted.into_iter().flatten()));
            batch.dispatch(reach, &arguments, params, workgroups)?;
        }
        Ok(())
    }
}

/// The tier in `f32`, which any task can go through.
pub(crate) struct SingleTier {
    pub tier: Tier,
    shape: TileShape,
    /// The tile that collects candidates: one bound holds for both.
    listed_shape: TileShape,
    keeps_order: bool,
}

impl SingleTier {
    /// The tier of these sizes, beside a tile of `listed_shape` that collects candidates.
    pub fn new(gpu: &Gpu, sizes: &CascadeSizes, listed_shape: TileShape) -> Result<Self> {
        let (tier, shape, keeps_order) = (Tier::single(gpu, sizes)?, sizes.shape, gpu.keeps_order());
        Ok(Self { tier, shape, listed_shape, keeps_order })
    }

    /// Longest chain of additions of either tile.
    pub fn chain(&self, depth: usize) -> usize {
        let chain = |shape: &TileShape| shape.chain(depth, self.keeps_order);
        chain(&self.shape).max(chain(&self.listed_shape))
    }

    /// What it reads of a task.
    pub fn operands<'a>(&self, task: &Task<'a>) -> Operands<'a> {
        let host = task.columns.host;
        let chain = self.chain(host.depth);
        let bound = match task.columns.longest {
            Some(longest) => host.device_bound_up_to(longest, chain, task.largest_norm),
            None => host.device_bound(chain, task.largest_norm),
        };
        Operands {
            x: &task.window.x,
            columns: &task.columns.single,
            depth: host.depth as u32,
            unscale: 1.0,
            bound,
            residuals: None,
            ratio: 0.0,
        }
    }
}
