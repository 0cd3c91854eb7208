//! The first tier of the cascade: the nearest tile on matrix units with its certificate.

use std::sync::Arc;

use bytemuck::bytes_of;

use crate::device::{Batch, DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::tile::nearest::gpu::kernels::{Reached, approach_kernel, reach_kernel};
use crate::tile::nearest::gpu::sizes::Room;
use crate::tile::nearest::gpu::{Reach, Task};
use crate::tile::operands::gpu::half_columns::DeviceHalfBook;
use crate::tile::operands::gpu::half_rows::Halves;
use crate::tile::product::units::kernels::{
    MatrixCertifyParams, MatrixNearestParams, certify_kernel, nearest_kernel,
};
use crate::tile::product::units::shape::MatrixTile;
use crate::tile::trials::Trials;

/// Share of the rows left uncertified above which a screen does not pay: matrix units are several times as fast as
/// plain tiles, but what they leave is done twice.
const MOST_LEFT: f64 = 0.25;

/// The screen of one problem.
pub(crate) struct Screen {
    tile: MatrixTile,
    nearest: Arc<Pipeline>,
    certify: Arc<Pipeline>,
    /// What keeps bounds on distances, and what brings them up to a few columns.
    reach: Option<[Arc<Pipeline>; 2]>,
    trials: Trials,
}

/// Where a pass finds its results and puts them.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a> {
    /// Partial results, and how many there is room for.
    pub partials: &'a DeviceBuffer,
    pub room: u64,
    /// Uncertified rows.
    pub list: &'a DeviceBuffer,
    /// How many of them, and certified rows that changed, by tier.
    pub counters: &'a DeviceBuffer,
}

impl Screen {
    /// On a tile; `keeps_reach`: bounds on distances are wanted too.
    pub fn new(gpu: &Gpu, tile: MatrixTile, keeps_reach: bool) -> Result<Self> {
        let kernels = || -> Result<_> {
            Ok([gpu.pipeline(&reach_kernel(Reached::Halves)?)?, gpu.pipeline(&approach_kernel(true)?)?])
        };
        let reach = keeps_reach.then(kernels).transpose()?;
        Ok(Self {
            tile,
            nearest: gpu.pipeline(&nearest_kernel(&tile, "")?)?,
            certify: gpu.pipeline(&certify_kernel()?)?,
            reach,
            trials: Trials::until_one_fails(),
        })
    }

    /// Rows of its tile.
    pub fn rows(&self) -> u32 {
        self.tile.rows()
    }

    /// Whether enough rows were certified so far.
    pub fn pays(&self) -> bool {
        self.trials.is_due()
    }

    /// Learns how many of `rows` rows were left.
    pub fn record_left(&mut self, left: u64, rows: u64) {
        if left as f64 > MOST_LEFT * rows as f64 {
            tracing::debug!(left, rows, "matrix units certify too few rows; the f32 tile goes on alone");
            self.trials.failed();
        }
    }

    /// Copies centroids to the device.
    pub fn book(
        &self,
        gpu: &Gpu,
        column_window: usize,
        book: &crate::tile::operands::columns::Codebook,
    ) -> Result<DeviceHalfBook> {
        DeviceHalfBook::new(gpu, &self.tile, column_window, book)
    }

    /// Records the tiles of some rows of the window with all columns, and their certificate. `first` is a multiple of
    /// a tile's rows.
    pub fn record<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        task: &Task<'a>,
        (book, halves): (&'a DeviceHalfBook, &'a Halves),
        outputs: Outputs<'a>,
        (first, rows): (u32, u32),
    ) -> Result<()> {
        let depth = task.book.book.depth;
        let room = Room { partials: outputs.room, windows: book.windows() as u64 };
        let mut splits = 0;
        for part in book.parts() {
            let split_columns = self.tile.cut().split_columns(rows, part.columns, room.splits(rows));
            let here = part.columns.div_ceil(split_columns);
            let params = MatrixNearestParams {
                rows,
                columns: part.columns,
                depth: self.tile.padded_depth(depth) as u32,
                first_row: first,
                first_column: part.first,
                split_columns,
                first_split: splits,
                stride: rows,
                unscale: 2.0_f32.powi(-halves.exponent - book.exponent),
                ratio: book.ratio,
            };
            let arguments = [
                halves.x.whole(),
                part.y,
                part.terms,
                task.window.norms.whole(),
                halves.residuals.whole(),
                outputs.partials.whole(),
            ];
            batch.dispatch(
                &self.nearest,
                &arguments,
                bytes_of(&params),
                [rows.div_ceil(self.rows()), here, 1],
            )?;
            splits += here;
        }
        let params = MatrixCertifyParams {
            rows,
            splits,
            stride: rows,
            first_row: first,
            ratio: book.ratio,
            square: book.square,
        };
        let workgroups = [rows.div_ceil(256), 1, 1];
        if let (Some([_, approach]), Some(Reach { bounds, few: Some(labels) })) = (&self.reach, task.reach) {
            let arguments = [
                outputs.partials.whole(),
                task.window.norms.whole(),
                book.errors.whole(),
                bounds.whole(),
                task.labels.whole(),
                labels.whole(),
                halves.residuals.whole(),
            ];
            return batch.dispatch(approach, &arguments, bytes_of(&params), workgroups);
        }
        let arguments = [
            outputs.partials.whole(),
            task.window.norms.whole(),
            task.book.given.whole(),
            book.errors.whole(),
            task.labels.whole(),
            outputs.list.whole(),
            outputs.counters.whole(),
            halves.residuals.whole(),
        ];
        batch.dispatch(&self.certify, &arguments, bytes_of(&params), workgroups)?;
        if let (Some([pipeline, _]), Some(Reach { bounds, .. })) = (&self.reach, task.reach) {
            let arguments = [
                outputs.partials.whole(),
                task.window.norms.whole(),
                book.errors.whole(),
                bounds.whole(),
                halves.residuals.whole(),
            ];
            batch.dispatch(pipeline, &arguments, bytes_of(&params), workgroups)?;
        }
        Ok(())
    }
}
