//! A fitted model: centroids and the frame they live in. It labels new points, and it is what a file holds.

use std::path::Path;

use ndarray::{Array1, Array2, ArrayView2};
use rayon::prelude::*;

use super::codec::{Decoder, Encoder, Kind, LARGEST_CENTROID};
use super::cpu::label::{self, Rows, Top};
use super::lloyd::Pass;
use super::problem::{SUM_BLOCK, check_weights, in_frame};
use super::reference;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::{Frame, scan};
#[cfg(feature = "gpu")]
use crate::device::Gpu;
use crate::device::{Backend, Device, Prediction};
use crate::error::{Error, Result};
use crate::memory::{self, area, scratch, zeros};
use crate::simd::widest;
use crate::tile::operands::columns::Columns;

const KIND: Kind = Kind { tag: b"KMNS", name: "k-means model", version: 1, cure: "fit and save it again" };

/// Rows that are handed out between two looks at the cancel token.
const ROWS_PER_LOOK: usize = 1 << 12;

/// Centroids in `f64`, relative to the offset of the training data.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub(super) frame: Frame,
    pub(super) centroids: Vec<f64>,
    pub(super) inertia: f64,
    pub(super) n_iter: u64,
    pub(super) converged: bool,
}

impl Model {
    /// A model with given centroids, one per row, in input units. Their frame is chosen around the centroids, as a fit
    /// chooses one around its points.
    ///
    /// Errors: no centroids, values that are not finite or beyond 1e300.
    ///
    /// ```
    /// use ndarray::array;
    /// use tilefold::{Device, kmeans::Model};
    ///
    /// let model = Model::from_centroids(&Device::cpu(), array![[0.0, 0.0], [9.0, 9.0]].view())?;
    /// let labels = model.predict(&Device::cpu(), array![[1.0_f32, 0.0], [9.0, 8.0]].view())?.labels;
    /// assert_eq!(labels, array![0, 1]);
    /// # Ok::<(), tilefold::Error>(())
    /// ```
    pub fn from_centroids(device: &Device, centroids: ArrayView2<f64>) -> Result<Self> {
        let points = Points::from(centroids);
        memory::ask("centroids", &[area::<f64>(centroids.nrows(), centroids.ncols().saturating_mul(2))])?;
        let scan = device.host_pool()?.install(|| scan("centroids", &points, &Cancel::new()))?;
        let framed = in_frame(&scan.frame, centroids.outer_iter().map(|row| row.to_vec()))?;
        Ok(Self { frame: scan.frame, centroids: framed, inertia: 0.0, n_iter: 0, converged: false })
    }

    /// Number of centroids.
    pub fn n_clusters(&self) -> usize {
        self.centroids.len() / self.columns()
    }

    /// Number of features.
    pub fn columns(&self) -> usize {
        self.frame.offset.len()
    }

    /// Sum of weighted squared distances of the training data, in input units.
    pub fn inertia(&self) -> f64 {
        self.inertia
    }

    /// Number of iterations of the run that was kept.
    pub fn n_iter(&self) -> u64 {
        self.n_iter
    }

    /// Whether that run converged.
    pub fn converged(&self) -> bool {
        self.converged
    }

    /// Whether rows are scaled to length 1.
    pub fn spherical(&self) -> bool {
        self.frame.unit_rows
    }

    /// Centroids in input units, one per row. Far from the origin they carry fewer digits than the model itself.
    pub fn centroids(&self) -> Array2<f64> {
        let columns = self.columns();
        Array2::from_shape_fn((self.n_clusters(), columns), |(cluster, column)| {
            self.centroids[cluster * columns + column] / self.frame.scale + self.frame.offset[column]
        })
    }
}

/// Labels of points under a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Labels {
    /// Index of the nearest centroid of each point, ties to the lowest.
    pub labels: Array1<u32>,
    /// Share of points that `f16` products on matrix units certified, or products of bytes on processors with VNNI; 0
    /// without.
    pub screened: f64,
    /// Share of points that the tile's error bound did not certify and that were decided in `f64`.
    pub rechecked: f64,
    /// What labelled them.
    pub device: String,
}

/// The `m` nearest centroids of each point, nearest first.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Nearest {
    /// Their indices, one row per point.
    pub indices: Array2<u32>,
    /// Their Euclidean distances in input units.
    pub distances: Array2<f64>,
    /// What found them.
    pub device: String,
}

/// Most centroids per point that [`Model::nearest`] returns.
pub const LARGEST_TOP: usize = 64;

widest! {
    /// Squared distance, summed in eight interleaved parts and those in order.
    fn wide_square(x: &[f64], c: &[f64]) -> f64 = wide_square_body;
}

#[inline(always)]
fn wide_square_body(x: &[f64], c: &[f64]) -> f64 {
    let mut parts = [0.0_f64; 8];
    let (xs, cs) = (x.chunks_exact(8), c.chunks_exact(8));
    let rest = xs.remainder().iter().zip(cs.remainder());
    for (x, c) in xs.zip(cs) {
        for ((part, x), c) in parts.iter_mut().zip(x).zip(c) {
            *part += (x - c) * (x - c);
        }
    }
    for (part, (x, c)) in parts.iter_mut().zip(rest) {
        *part += (x - c) * (x - c);
    }
    parts.iter().sum()
}

impl Model {
    fn check(&self, points: &Points) -> Result<()> {
        points.check_not_empty("points")?;
        if points.columns() != self.columns() {
            let expected = format!("{} columns, as the model has", self.columns());
            return Err(Error::shape("points", expected, format!("{} columns", points.columns())));
        }
        Ok(())
    }

    /// What results of so many bytes take beside the centroids' operands and some rows in `f64` per thread.
    fn ask_for_rows(&self, rows: usize, result_bytes: u64, threads: usize) -> Result<()> {
        let (count, columns) = (self.n_clusters(), self.columns());
        let at_work = scratch::<f64>(threads, 8, columns);
        let operands = area::<f64>(count, columns.saturating_add(16)).saturating_mul(2);
        memory::ask(
            &format!("the work on {rows} rows with {count} centroids of {columns} columns"),
            &[result_bytes, operands, at_work],
        )
    }

    fn rows<'a, 'd>(&'a self, points: &'a Points<'d>, cancel: &'a Cancel) -> Rows<'a, 'd> {
        Rows { argument: "points", points, frame: &self.frame, cancel }
    }

    fn predicted(&self, points: &Points) -> Prediction {
        let (rows, columns) = (points.rows() as f64, points.columns() as f64);
        Prediction {
            flops: 2.0 * rows * columns * self.n_clusters() as f64,
            upload_bytes: 4.0 * rows * columns,
        }
    }

    /// The nearest centroid of each point.
    ///
    /// Labels equal those of `f64`; the training data gets the labels of the fit. Ties go to the lowest index.
    /// Errors: no points, another number of columns, values that are not finite or lie more than 2^40 times the
    /// spread of the training data away.
    pub fn predict<'a>(&self, device: &Device, points: impl Into<Points<'a>>) -> Result<Labels> {
        self.predict_with(device, points, &Cancel::new())
    }

    /// [`Model::predict`] that another thread can stop.
    pub fn predict_with<'a>(
        &self,
        device: &Device,
        points: impl Into<Points<'a>>,
        cancel: &Cancel,
    ) -> Result<Labels> {
        let points = points.into();
        self.check(&points)?;
        let pool = device.host_pool()?;
        self.ask_for_rows(points.rows(), area::<u32>(points.rows(), 3), pool.threads())?;
        let rows = self.rows(&points, cancel);
        let backend = device.resolve(&self.predicted(&points));
        let ((labels, pass), ran_on) = pool.install(|| match &backend {
            Backend::Reference => Ok(((self.predict_reference(&rows)?, Pass::default()), backend.name())),
            Backend::Cpu(_) => Ok((self.predict_cpu(&rows)?, backend.name())),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => {
                let (book, n_clusters) = (self.codebook(), self.n_clusters());
                let on_gpu = |gpu: &Gpu, _| super::gpu::label::predict(gpu, &rows, &book, n_clusters);
                device.on_gpu_or_cpu(gpu, on_gpu, || self.predict_cpu(&rows))
            }
        })?;
        let [screened, rechecked] =
            [pass.screened, pass.rechecked].map(|count| count as f64 / points.rows() as f64);
        Ok(Labels { labels: labels.into(), screened, rechecked, device: ran_on })
    }

    /// The `count` nearest centroids of each point, nearest first, with their Euclidean distances in input units.
    ///
    /// Decided in `f64`, ties to the lowest index. Errors: as
    /// [`Model::predict`]; `count` of 0, above [`LARGEST_TOP`] or above the number of distinct centroids.
    pub fn nearest<'a>(
        &self,
        device: &Device,
        points: impl Into<Points<'a>>,
        count: usize,
    ) -> Result<Nearest> {
        self.nearest_with(device, points, count, &Cancel::new())
    }

    /// [`Model::nearest`] that another thread can stop.
    pub fn nearest_with<'a>(
        &self,
        device: &Device,
        points: impl Into<Points<'a>>,
        count: usize,
        cancel: &Cancel,
    ) -> Result<Nearest> {
        let points = points.into();
        self.check(&points)?;
        let pool = device.host_pool()?;
        let result_bytes = area::<[u32; 3]>(points.rows(), count.min(LARGEST_TOP));
        self.ask_for_rows(points.rows(), result_bytes, pool.threads())?;
        let book = pool.install(|| self.codebook());
        let most = LARGEST_TOP.min(book.len());
        if count == 0 || count > most {
            return Err(Error::parameter(
                "count",
                format!("1 to {most} (distinct centroids, at most {LARGEST_TOP})"),
                count,
            ));
        }
        let rows = self.rows(&points, cancel);
        let backend = device.resolve(&self.predicted(&points));
        let (top, ran_on) = pool.install(|| match &backend {
            Backend::Reference => Ok((self.nearest_reference(&rows, count)?, backend.name())),
            Backend::Cpu(_) => Ok((label::top(&rows, &book, count)?, backend.name())),
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => {
                let on_gpu = |gpu: &Gpu, _| super::gpu::label::top(gpu, &rows, &book, count);
                device.on_gpu_or_cpu(gpu, on_gpu, || label::top(&rows, &book, count))
            }
        })?;
        let shape = (points.rows(), count);
        let (mut indices, mut distances) =
            (zeros("nearest", shape.0, count)?, zeros("nearest", shape.0, count)?);
        for (row, top) in top.into_iter().enumerate() {
            if row % ROWS_PER_LOOK == 0 {
                cancel.check()?;
            }
            for (rank, (index, square)) in top.indices.into_iter().zip(top.squared).enumerate() {
                indices[[row, rank]] = index;
                distances[[row, rank]] = square.sqrt() / self.frame.scale;
            }
        }
        Ok(Nearest { indices, distances, device: ran_on })
    }

    /// Euclidean distances of each point to every centroid, `[points, centroids]`, in input units.
    ///
    /// Direct differences in `f64` of centred values, so `f64` points get `f64` accuracy and a point on a centroid
    /// gets 0. Runs on the host whatever the device. Errors: as [`Model::predict`].
    pub fn transform<'a>(&self, device: &Device, points: impl Into<Points<'a>>) -> Result<Array2<f64>> {
        self.transform_with(device, points, &Cancel::new())
    }

    /// [`Model::transform`] that another thread can stop.
    pub fn transform_with<'a>(
        &self,
        device: &Device,
        points: impl Into<Points<'a>>,
        cancel: &Cancel,
    ) -> Result<Array2<f64>> {
        let points = points.into();
        self.check(&points)?;
        let columns = self.columns();
        let pool = device.host_pool()?;
        self.ask_for_rows(points.rows(), 0, pool.threads())?;
        let mut distances = zeros("distances to centroids", points.rows(), self.n_clusters())?;
        pool.install(|| {
            distances.outer_iter_mut().into_par_iter().enumerate().try_for_each(|(row, mut distances)| {
                cancel.check()?;
                let x = self.frame.load_row("points", &points, row)?;
                for (distance, centroid) in distances.iter_mut().zip(self.centroids.chunks_exact(columns)) {
                    *distance = wide_square(&x, centroid).sqrt() / self.frame.scale;
                }
                Ok(())
            })
        })?;
        Ok(distances)
    }

    /// Minus the sum of weighted squared distances to the nearest centroids, in input units, as scikit-learn scores.
    ///
    /// Errors: as [`Model::predict`]; weights of another length, negative or not finite.
    pub fn score<'a>(
        &self,
        device: &Device,
        points: impl Into<Points<'a>>,
        weights: Option<&[f64]>,
    ) -> Result<f64> {
        self.score_with(device, points, weights, &Cancel::new())
    }

    /// [`Model::score`] that another thread can stop.
    pub fn score_with<'a>(
        &self,
        device: &Device,
        points: impl Into<Points<'a>>,
        weights: Option<&[f64]>,
        cancel: &Cancel,
    ) -> Result<f64> {
        let points = points.into();
        check_weights(weights, points.rows())?;
        let labels = self.predict_with(device, points.view(), cancel)?.labels;
        let columns = self.columns();
        let blocks: Vec<Result<f64>> = device.host_pool()?.install(|| {
            let starts: Vec<usize> = (0..points.rows()).step_by(SUM_BLOCK).collect();
            let block = |start: usize| {
                cancel.check()?;
                let mut sum = 0.0;
                for row in start..(start + SUM_BLOCK).min(points.rows()) {
                    let x = self.frame.load_row("points", &points, row)?;
                    let centroid = labels[row] as usize * columns;
                    let square = wide_square(&x, &self.centroids[centroid..centroid + columns]);
                    sum += weights.map_or(1.0, |weights| weights[row]) * square;
                }
                Ok(sum)
            };
            starts.into_par_iter().map(block).collect()
        });
        let mut sum = 0.0;
        for block in blocks {
            sum += block?;
        }
        Ok(-(sum / self.frame.scale / self.frame.scale))
    }

    /// Index of the nearest centroid of one row by the definition in `f64`, without any tile.
    pub(crate) fn nearest_by_definition(&self, points: &Points, row: usize) -> Result<u32> {
        let mut x = vec![0.0_f32; self.columns()];
        self.frame.load("points", points, row, &mut x)?;
        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        Ok(reference::nearest(&x, &self.centroids).0)
    }

    fn codebook(&self) -> Columns<'_> {
        Columns::new(&self.centroids, self.columns())
    }

    fn predict_cpu(&self, rows: &Rows) -> Result<(Vec<u32>, Pass)> {
        let blocks = label::blocks(rows, &self.codebook(), |block| (block.labels.to_vec(), block.labelled))?;
        let pass = blocks.iter().fold(Pass::default(), |pass, (_, labelled)| {
            let (screened, rechecked) = (labelled.screened as u64, labelled.rechecked as u64);
            pass.plus(Pass { screened, rechecked, ..Pass::default() })
        });
        let mut labels = memory::room("labels", rows.points.rows())?;
        blocks.into_iter().for_each(|block| labels.extend(block.0));
        Ok((labels, pass))
    }

    fn predict_reference(&self, rows: &Rows) -> Result<Vec<u32>> {
        let mut x = vec![0.0_f32; self.columns()];
        (0..rows.points.rows())
            .map(|row| {
                rows.cancel.check()?;
                self.frame.load("points", rows.points, row, &mut x)?;
                let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                Ok(reference::nearest(&x, &self.centroids).0)
            })
            .collect()
    }

    fn nearest_reference(&self, rows: &Rows, count: usize) -> Result<Vec<Top>> {
        let mut x = vec![0.0_f32; self.columns()];
        let book = self.codebook();
        (0..rows.points.rows())
            .map(|row| {
                rows.cancel.check()?;
                self.frame.load(rows.argument, rows.points, row, &mut x)?;
                Ok(label::decide(&x, 0..book.len(), &book, count))
            })
            .collect()
    }

    /// Writes the model: parameters, offset, `f64` centroids, version and checksum. The file appears whole or not at
    /// all, and its bytes do not depend on the device.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.ask_for_bytes()?;
        self.encoder().write(path.as_ref(), KIND)
    }

    /// What [`Model::save`] writes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encoder().finish(KIND)
    }

    /// Asks for what [`Model::to_bytes`] gives, twice, as it is put together.
    pub(crate) fn ask_for_bytes(&self) -> Result<()> {
        let bytes = area::<f64>(self.n_clusters().saturating_add(1), self.columns());
        memory::ask("the bytes of a model", &[bytes.saturating_mul(3)])
    }

    fn encoder(&self) -> Encoder {
        let mut encoder = Encoder::default();
        encoder.frame(&self.frame);
        encoder.f64s(&self.centroids);
        encoder.f64(self.inertia);
        encoder.u64(self.n_iter);
        encoder.u64(u64::from(self.converged));
        encoder
    }

    /// Reads a model written by [`Model::save`]. A damaged file, or one of another version, is an error.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(path, &Cancel::new())
    }

    /// [`Model::load`] that another thread can stop, from a pipe that stays silent too. Errors: also [`Error::Cancelled`].
    pub fn load_with(path: impl AsRef<Path>, cancel: &Cancel) -> Result<Self> {
        Self::decode(Decoder::open(path.as_ref(), KIND, cancel)?)
    }

    /// A model from the bytes that [`Model::to_bytes`] gave. Errors: as [`Model::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::decode(Decoder::of(Path::new("model"), bytes.to_owned(), KIND)?)
    }

    fn decode(mut decoder: Decoder) -> Result<Self> {
        let model = Self {
            frame: decoder.frame()?,
            centroids: decoder.f64s()?,
            inertia: decoder.f64()?,
            n_iter: decoder.u64()?,
            converged: decoder.u64()? != 0,
        };
        let columns = model.frame.offset.len();
        let usable = model.frame.offset.iter().all(|value| value.is_finite())
            && model.centroids.iter().all(|value| value.abs() <= LARGEST_CENTROID);
        let scale = model.frame.scale;
        if columns == 0
            || model.centroids.is_empty()
            || !model.centroids.len().is_multiple_of(columns)
            || !usable
            || !(scale > 0.0 && scale.is_finite())
        {
            return Err(decoder.malformed("centroids that do not fit their frame"));
        }
        Ok(model)
    }
}
