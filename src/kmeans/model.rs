//! A fitted model: centroids and the frame they live in. It labels new points, and it is what a file holds.

use std::path::Path;

use ndarray::{Array1, Array2};

use super::codec::{Decoder, Encoder, Kind, LARGEST_CENTROID};
use super::label::{self, Rows};
use super::reference;
use crate::cancel::Cancel;
use crate::data::Points;
use crate::data::frame::Frame;
use crate::device::{Backend, Device, Prediction};
use crate::error::{Error, Result};
use crate::tile::codebook::Codebook;

const KIND: Kind = Kind { tag: b"KMNS", name: "k-means model", version: 1 };

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
}

/// Most centroids per point that [`Model::nearest`] returns.
pub const LARGEST_TOP: usize = 64;

impl Model {
    fn check(&self, points: &Points) -> Result<()> {
        points.check_not_empty("points")?;
        if points.columns() != self.columns() {
            let expected = format!("{} columns, as the model has", self.columns());
            return Err(Error::shape("points", expected, format!("{} columns", points.columns())));
        }
        Ok(())
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
        let points = points.into();
        self.check(&points)?;
        let cancel = Cancel::new();
        let rows = self.rows(&points, &cancel);
        let backend = device.resolve(&self.predicted(&points));
        let (labels, rechecked) = match &backend {
            Backend::Reference => (self.predict_reference(&points)?, 0),
            Backend::Cpu(pool) => pool.install(|| self.predict_cpu(&rows))?,
            #[cfg(feature = "gpu")]
            Backend::Gpu(gpu) => super::gpu::predict(gpu, &rows, &self.codebook())?,
        };
        let rechecked = rechecked as f64 / points.rows() as f64;
        Ok(Labels { labels: labels.into(), rechecked, device: backend.name() })
    }

    fn codebook(&self) -> Codebook {
        Codebook::new(&self.centroids, self.columns())
    }

    fn predict_cpu(&self, rows: &Rows) -> Result<(Vec<u32>, u64)> {
        let blocks = label::blocks(rows, &self.codebook(), |block| (block.labels.to_vec(), block.rechecked))?;
        let rechecked = blocks.iter().map(|block| block.1).sum();
        Ok((blocks.into_iter().flat_map(|block| block.0).collect(), rechecked))
    }

    fn predict_reference(&self, points: &Points) -> Result<Vec<u32>> {
        (0..points.rows())
            .map(|row| Ok(reference::nearest(&self.row(points, row)?, &self.centroids).0))
            .collect()
    }

    /// One row in the frame, in `f64`.
    fn row(&self, points: &Points, row: usize) -> Result<Vec<f64>> {
        let mut x = vec![0.0; self.columns()];
        self.frame.load("points", points, row, &mut x)?;
        Ok(x.into_iter().map(f64::from).collect())
    }

    /// Writes the model: parameters, offset, `f64` centroids, version and checksum. The file appears whole or not at
    /// all, and its bytes do not depend on the device.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut encoder = Encoder::default();
        encoder.frame(&self.frame);
        encoder.f64s(&self.centroids);
        encoder.f64(self.inertia);
        encoder.u64(self.n_iter);
        encoder.u64(u64::from(self.converged));
        encoder.write(path.as_ref(), KIND)
    }

    /// Reads a model written by [`Model::save`]. A damaged file, or one of another version, is an error.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let mut decoder = Decoder::open(path.as_ref(), KIND)?;
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
            || model.centroids.len() % columns != 0
            || !usable
            || !(scale > 0.0 && scale.is_finite())
        {
            return Err(decoder.malformed("centroids that do not fit their frame"));
        }
        Ok(model)
    }
}
