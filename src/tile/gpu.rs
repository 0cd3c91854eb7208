//! Certified labels on the GPU: the nearest tile, its certificate, and the cascade for rows that are not certified.
//!
//! 1. `nearest` leaves, for each row and each split of the columns, the best value, its column and the second best.
//! 2. `certify` merges the splits, writes labels, and lists the rows whose gap is inside the error bound.
//! 3. `candidates` runs the same tile on the listed rows and collects the columns inside the band.
//! 4. The host decides those few in `f64`, in the reference's order, and `relabel` writes the decisions.

use std::sync::Arc;

use bytemuck::{bytes_of, cast_slice, pod_collect_to_vec};
use rayon::prelude::*;

use super::codebook::Codebook;
use super::exact;
use super::gpu_book::DeviceBook;
use super::kernels::{
    CandidatesParams, CertifyParams, Listed, NearestParams, Partial, ROOM, RelabelParams, candidates_kernel,
    certify_kernel, nearest_kernel, relabel_kernel,
};
use super::shape::TileShape;
use crate::cancel::Cancel;
use crate::device::{Batch, DeviceBuffer, Gpu, Pacer, Pipeline};
use crate::error::Result;

/// Listed rows per dispatch of `candidates`.
const LISTED_ROWS: u32 = 4096;
/// Row tiles below which columns are split, so that a small batch still fills the device.
pub(super) const FEW_ROW_TILES: u32 = 128;
/// Most rows per dispatch.
const MOST_ROWS: u64 = 1 << 20;
/// Rows listed, and certified rows that changed.
const COUNTERS_BYTES: u64 = 8;

/// Rows that lie on the device.
pub(crate) struct Window {
    /// Index of the first row in the data.
    pub start: usize,
    /// Number of rows.
    pub rows: usize,
    /// `[rows, depth]`.
    pub x: DeviceBuffer,
    /// Upper bounds on the rows' lengths.
    pub norms: DeviceBuffer,
}

impl Window {
    /// Room for `rows` rows of `depth`.
    pub fn new(gpu: &Gpu, rows: usize, depth: usize) -> Result<Self> {
        let x = gpu.buffer("rows", 4 * rows as u64 * depth as u64)?;
        let norms = gpu.buffer("norms", 4 * rows as u64)?;
        Ok(Self { start: 0, rows, x, norms })
    }
}

/// Reads a row of the window being labelled as x', on the host.
pub(crate) type LoadRow<'a> = &'a (dyn Fn(usize, &mut [f32]) -> Result<()> + Sync);

/// What labels windows of one problem.
pub(crate) struct Labeller {
    gpu: Gpu,
    shape: TileShape,
    listed_shape: TileShape,
    column_window: usize,
    nearest: Arc<Pipeline>,
    certify: Arc<Pipeline>,
    candidates: Arc<Pipeline>,
    relabel: Arc<Pipeline>,
    partials: DeviceBuffer,
    list: DeviceBuffer,
    counters: DeviceBuffer,
    found: DeviceBuffer,
    most_rows: u64,
    most_splits: u64,
    pacer: Pacer,
    cancel: Cancel,
    recheck: bool,
}

/// Rows that changed their label and rows that were decided on the host.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Labelled {
    pub changed: u64,
    pub rechecked: u64,
}

/// Sizes that decide the buffers of a [`Labeller`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LabellerSizes {
    /// The tile.
    pub shape: TileShape,
    /// Rows of the largest window.
    pub window_rows: usize,
    /// Columns per window of centroids, a multiple of the widest tile's.
    pub column_window: usize,
    /// Number of centroids.
    pub columns: usize,
}

impl LabellerSizes {
    /// Windows of centroids at most: fewer where some are equal.
    fn column_windows(&self) -> u64 {
        self.columns.div_ceil(self.column_window) as u64
    }

    /// Rows per dispatch at most: fewer where many windows of centroids leave a partial result for each row.
    fn most_rows(&self) -> u64 {
        let most = (MOST_ROWS / self.column_windows()).max(1).min(self.window_rows as u64);
        most.next_multiple_of(u64::from(self.shape.rows))
    }

    /// Partial results at most: all rows once per column window, or few rows and many splits.
    fn partials(&self) -> u64 {
        let windows = self.column_windows();
        let few = u64::from(FEW_ROW_TILES * self.shape.rows);
        // A split has at least one tile of columns.
        let columns = self.columns.min(self.column_window) as u64;
        let splits = columns.div_ceil(u64::from(self.shape.columns)).min(u64::from(FEW_ROW_TILES));
        windows * self.most_rows().max(few.min(self.most_rows() * splits))
    }

    fn partials_bytes(&self) -> u64 {
        size_of::<Partial>() as u64 * self.partials()
    }

    fn list_bytes(&self) -> u64 {
        size_of::<Listed>() as u64 * self.window_rows as u64
    }

    fn found_bytes(&self) -> u64 {
        u64::from(LISTED_ROWS.min(self.window_rows as u32) * (ROOM + 1)) * 4
    }

    /// Bytes of device memory that the labeller takes.
    pub fn bytes(&self) -> u64 {
        self.partials_bytes() + self.list_bytes() + self.found_bytes() + COUNTERS_BYTES
    }
}

impl Labeller {
    pub fn new(gpu: &Gpu, sizes: &LabellerSizes, cancel: Cancel, recheck: bool) -> Result<Self> {
        let shape = sizes.shape;
        let listed_shape = TileShape::for_listed(sizes.columns, &gpu.limits());
        Ok(Self {
            gpu: gpu.clone(),
            shape,
            listed_shape,
            column_window: sizes.column_window,
            nearest: gpu.pipeline(&nearest_kernel(&shape)?)?,
            certify: gpu.pipeline(&certify_kernel()?)?,
            candidates: gpu.pipeline(&candidates_kernel(&listed_shape)?)?,
            relabel: gpu.pipeline(&relabel_kernel()?)?,
            partials: gpu.buffer("partials", sizes.partials_bytes())?,
            list: gpu.buffer("list", sizes.list_bytes())?,
            counters: gpu.buffer("counters", COUNTERS_BYTES)?,
            found: gpu.buffer("found", sizes.found_bytes())?,
            most_rows: sizes.most_rows(),
            most_splits: sizes.partials(),
            pacer: Pacer::new(),
            cancel,
            recheck,
        })
    }

    /// Copies centroids to the device.
    pub fn book<'b>(&self, book: &'b Codebook) -> Result<DeviceBook<'b>> {
        DeviceBook::shifted(&self.gpu, self.chain(book.depth), self.column_window, book)
    }

    /// Longest chain of additions of either tile: the bound holds for both.
    fn chain(&self, depth: usize) -> usize {
        let chain = |shape: &TileShape| shape.chain(depth, self.gpu.keeps_order());
        chain(&self.shape).max(chain(&self.listed_shape))
    }

    /// Device memory that nothing is kept in between two calls: at least 4 bytes for each row of a small window, and
    /// for a million rows of a large one.
    pub fn scratch(&self) -> &DeviceBuffer {
        &self.partials
    }

    /// Labels a window: `labels` holds the old labels and gets the new ones.
    pub fn label(
        &mut self,
        book: &DeviceBook,
        largest_norm: f32,
        window: &Window,
        labels: &DeviceBuffer,
        load: LoadRow,
    ) -> Result<Labelled> {
        let counters = self.tiles(book, largest_norm, window, labels)?;
        let mut labelled = Labelled { changed: u64::from(counters[1]), rechecked: u64::from(counters[0]) };
        let mut done = 0;
        while done < counters[0] {
            self.cancel.check()?;
            let count = LISTED_ROWS.min(counters[0] - done);
            labelled.changed += self.decide(book, window, labels, done, count, load)?;
            done += count;
        }
        Ok(labelled)
    }

    /// Runs the tile and its certificate over the window, a paced number of rows at a time. Returns how many rows
    /// were listed and how many certified rows changed.
    fn tiles(
        &mut self,
        book: &DeviceBook,
        largest_norm: f32,
        window: &Window,
        labels: &DeviceBuffer,
    ) -> Result<[u32; 2]> {
        let chain = self.chain(book.book.depth);
        let bound = book.book.device_bound(chain, largest_norm);
        let units_per_row = 2.0 * book.book.depth as f64 * book.book.len() as f64;
        let mut first = 0_u64;
        loop {
            self.cancel.check()?;
            let remaining = window.rows as u64 - first;
            let paced =
                self.pacer.rows(remaining, units_per_row).next_multiple_of(u64::from(self.shape.rows));
            let rows = paced.min(self.most_rows).min(remaining);
            let mut batch = self.gpu.batch("nearest");
            if first == 0 {
                batch.clear(&self.counters)?;
            }
            let splits = self.dispatch_tiles(&mut batch, book, window, first as u32, rows as u32)?;
            let params = CertifyParams {
                rows: rows as u32,
                splits,
                stride: rows as u32,
                first_row: first as u32,
                slope: bound.slope,
                constant: bound.constant,
                square: bound.square,
            };
            batch.dispatch(
                &self.certify,
                &[
                    self.partials.whole(),
                    window.norms.whole(),
                    book.given.whole(),
                    book.errors.whole(),
                    labels.whole(),
                    self.list.whole(),
                    self.counters.whole(),
                ],
                bytes_of(&params),
                [(rows as u32).div_ceil(256), 1, 1],
            )?;
            first += rows;
            if first == window.rows as u64 {
                let read = batch.submit_and_read(&[(&self.counters, 0..COUNTERS_BYTES)])?;
                let counters: Vec<u32> = pod_collect_to_vec(&read[0]);
                return Ok([counters[0], counters[1]]);
            }
            let elapsed = batch.submit_and_wait()?;
            self.pacer.record(rows as f64 * units_per_row, elapsed);
        }
    }

    /// Records the tiles of some rows with all columns; returns the number of splits.
    fn dispatch_tiles<'a>(
        &'a self,
        batch: &mut Batch<'a>,
        book: &'a DeviceBook,
        window: &'a Window,
        first_row: u32,
        rows: u32,
    ) -> Result<u32> {
        let row_tiles = rows.div_ceil(self.shape.rows);
        let mut first_split = 0;
        for part in book.parts(self.shape.columns) {
            let room = self.most_splits / book.windows() as u64 / u64::from(rows);
            let split_columns = split_columns(&self.shape, row_tiles, part.columns, room);
            let splits = part.columns.div_ceil(split_columns);
            let params = NearestParams {
                rows,
                columns: part.columns,
                depth: book.book.depth as u32,
                first_row,
                first_column: part.first,
                split_columns,
                first_split,
                stride: rows,
            };
            batch.dispatch(
                &self.nearest,
                &[window.x.whole(), part.y, part.half_norms, self.partials.whole()],
                bytes_of(&params),
                [row_tiles, splits, 1],
            )?;
            first_split += splits;
        }
        Ok(first_split)
    }

    /// Decides `count` listed rows from `first` on; returns how many of them changed their label.
    fn decide(
        &self,
        book: &DeviceBook,
        window: &Window,
        labels: &DeviceBuffer,
        first: u32,
        count: u32,
        load: LoadRow,
    ) -> Result<u64> {
        let bytes = size_of::<Listed>() as u64;
        let range = u64::from(first) * bytes..u64::from(first + count) * bytes;
        if !self.recheck {
            let listed: Vec<Listed> = pod_collect_to_vec(&self.gpu.read(&[(&self.list, range)])?[0]);
            return Ok(listed.iter().filter(|listed| listed.label != listed.before).count() as u64);
        }
        let mut batch = self.gpu.batch("candidates");
        batch.clear(&self.found)?;
        let row_tiles = count.div_ceil(self.listed_shape.rows);
        for part in book.parts(self.listed_shape.columns) {
            let split_columns = split_columns(&self.listed_shape, row_tiles, part.columns, u64::MAX);
            let params = CandidatesParams {
                rows: count,
                columns: part.columns,
                depth: book.book.depth as u32,
                first_listed: first,
                first_column: part.first,
                split_columns,
            };
            batch.dispatch(
                &self.candidates,
                &[window.x.whole(), part.y, part.half_norms, self.list.whole(), self.found.whole()],
                bytes_of(&params),
                [row_tiles, part.columns.div_ceil(split_columns), 1],
            )?;
        }
        let found_bytes = u64::from(count * (ROOM + 1)) * 4;
        let read = batch.submit_and_read(&[(&self.list, range), (&self.found, 0..found_bytes)])?;
        let listed: Vec<Listed> = pod_collect_to_vec(&read[0]);
        let found: Vec<u32> = pod_collect_to_vec(&read[1]);
        let pairs = decisions(book.book, &listed, &found, load)?;
        self.write_decisions(labels, &pairs)?;
        Ok(listed.iter().zip(&pairs).filter(|(listed, pair)| listed.before != pair[1]).count() as u64)
    }

    fn write_decisions(&self, labels: &DeviceBuffer, pairs: &[[u32; 2]]) -> Result<()> {
        let buffer = self.gpu.buffer("pairs", 8 * pairs.len() as u64)?;
        self.gpu.write(&buffer, 0, cast_slice(pairs))?;
        let mut batch = self.gpu.batch("relabel");
        let params = RelabelParams { pairs: pairs.len() as u32 };
        let workgroups = [params.pairs.div_ceil(256), 1, 1];
        batch.dispatch(&self.relabel, &[buffer.whole(), labels.whole()], bytes_of(&params), workgroups)?;
        batch.submit()
    }
}

/// Columns per split: all, or fewer where there are few row tiles and room for the results of several splits.
pub(super) fn split_columns(shape: &TileShape, row_tiles: u32, columns: u32, room: u64) -> u32 {
    let tiles = columns.div_ceil(shape.columns);
    let splits = (FEW_ROW_TILES / row_tiles).clamp(1, tiles);
    let splits = u32::try_from(room).map_or(splits, |room| splits.min(room.max(1)));
    tiles.div_ceil(splits) * shape.columns
}

/// The label of each listed row, decided in `f64` among its candidates.
fn decisions(book: &Codebook, listed: &[Listed], found: &[u32], load: LoadRow) -> Result<Vec<[u32; 2]>> {
    listed
        .par_iter()
        .zip(found.par_chunks_exact(ROOM as usize + 1))
        .map_init(
            || vec![0.0; book.depth],
            |x, (listed, found)| {
                load(listed.row as usize, x)?;
                let count = found[0] as usize;
                // The tile's own choice is always a candidate: a device that reports none, or one that does not
                // exist, is not believed.
                let known = |columns: &[u32]| columns.iter().all(|&column| (column as usize) < book.len());
                let (column, _) = if (1..=ROOM as usize).contains(&count) && known(&found[1..=count]) {
                    exact::nearest(x, found[1..=count].iter().copied(), &book.exact)
                } else {
                    exact::nearest(x, 0..book.len() as u32, &book.exact)
                };
                Ok([listed.row, book.given[column as usize]])
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tile::family::{Fold, candidates};
    use proptest::prelude::*;

    proptest! {
        /// Every split of every window of columns has room for its results, whatever number of rows the pacer gives.
        #[test]
        fn partial_results_have_room(
            shape in proptest::sample::select(candidates(Fold::Nearest)), window_rows in 1_usize..3_000_000, columns in 1_usize..2_000_000,
            column_window in 1_usize..400, kept in 1..=100_usize, paced in 1_u64..2_000_000,
        ) {
            let sizes = LabellerSizes { shape, window_rows, column_window: 128 * column_window, columns };
            // Equal centroids are merged: the codebook may have fewer windows than were planned for.
            let columns = (columns * kept / 100).max(1);
            let windows = columns.div_ceil(sizes.column_window);
            let rows = paced.next_multiple_of(u64::from(shape.rows)).min(sizes.most_rows()).min(window_rows as u64);
            let row_tiles = (rows as u32).div_ceil(shape.rows);
            let room = sizes.partials() / windows as u64 / rows;
            let mut splits = 0;
            for window in 0..windows {
                let here = sizes.column_window.min(columns - window * sizes.column_window) as u32;
                let step = split_columns(&shape, row_tiles, here, room);
                prop_assert!(step.is_multiple_of(shape.columns) && step > 0);
                prop_assert!(here.div_ceil(step) <= FEW_ROW_TILES);
                splits += u64::from(here.div_ceil(step));
            }
            prop_assert!(splits * rows <= sizes.partials(), "{splits} splits of {rows} rows, room {}", sizes.partials());
            let few = u64::from(FEW_ROW_TILES * shape.rows) * sizes.column_windows();
            prop_assert!(sizes.partials() <= (MOST_ROWS + u64::from(shape.rows) * sizes.column_windows()).max(few));
        }
    }
}
