//! Columns that the device makes itself, of `f64` that lie there: what [`Columns`](crate::tile::operands::columns::Columns) and the
//! uploads do with those of the host. Equal columns stay apart.

use std::sync::Arc;

use bytemuck::bytes_of;

use super::columns::DeviceColumns;
use super::kernels::{ColumnsParams, HalfColumnsParams, columns_kernel, half_columns_kernel};
use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::bound::f16::Factors;
use crate::tile::bound::f32::{DEVICE_UNIT, Extent};

/// What makes columns.
pub(crate) struct Maker {
    columns: Arc<Pipeline>,
    halves: Option<Arc<Pipeline>>,
    squares: DeviceBuffer,
    params: ColumnsParams,
    half_params: HalfColumnsParams,
    count: u32,
}

impl Maker {
    /// For columns like `model`, whose products go through `chain` additions and whose halves have `words` words.
    pub fn new(gpu: &Gpu, model: &DeviceColumns, chain: usize, words: u32) -> Result<Self> {
        let (count, depth) = (model.host.len(), model.host.depth);
        let extent =
            Extent { depth, chain, unit: DEVICE_UNIT, row_norm: 0.0, column_norm: 0.0, column_residual: 0.0 };
        let [quadratic, linear, constant] = extent.column_error_by_length();
        let params = ColumnsParams { depth: depth as u32, quadratic, linear, constant };
        let [relative, quadratic, underflow] = Factors::of(depth).on_device();
        let mut half_params = HalfColumnsParams { depth: depth as u32, words, ..Default::default() };
        if let Some(halves) = &model.halves {
            half_params = HalfColumnsParams {
                exponent: halves.exponent,
                unscale: 2.0_f32.powi(-halves.exponent),
                ratio: halves.ratio,
                relative,
                quadratic,
                underflow,
                // As those of rows: the sum of squares goes through depth + 16 roundings, its root through a few more.
                slack: 1.0 + (depth + 64) as f32 * 2.0_f32.powi(-23),
                least: (depth as f32).sqrt() * 2.0_f32.powi(-60),
                ..half_params
            };
        }
        let half_columns = || gpu.pipeline(&half_columns_kernel()?);
        Ok(Self {
            columns: gpu.pipeline(&columns_kernel()?)?,
            halves: model.halves.as_ref().map(|_| half_columns()).transpose()?,
            squares: gpu.buffer("squares", 8 * count as u64)?,
            params,
            half_params,
            count: count as u32,
        })
    }

    /// Records what makes `to` of `exact`. All columns lie in one window.
    pub fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        exact: &'a DeviceBuffer,
        to: &'a DeviceColumns<'_>,
    ) -> Result<()> {
        let (exact, squares, workgroups) = (exact.whole(), self.squares.whole(), [self.count, 1, 1]);
        for window in to.single.iter(1) {
            let (terms, errors) = (to.single.terms().whole(), to.single.errors.whole());
            let arguments = [exact, window.y, terms, errors, squares];
            batch.dispatch(&self.columns, &arguments, bytes_of(&self.params), workgroups)?;
        }
        let Some((pipeline, halves)) = self.halves.as_ref().zip(to.halves.as_ref()) else { return Ok(()) };
        for window in halves.windows.iter(1) {
            let (terms, errors) = (halves.windows.terms().whole(), halves.windows.errors.whole());
            let arguments = [exact, squares, window.y, terms, errors];
            batch.dispatch(pipeline, &arguments, bytes_of(&self.half_params), workgroups)?;
        }
        Ok(())
    }
}
