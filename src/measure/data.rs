//! Data sets by name, equal on every machine: each value depends on the seed and its place alone.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use half::{bf16, f16};
use ndarray::Array2;
use rayon::prelude::*;

use crate::data::{Points, Table, frame::raw_row};
use crate::error::{Error, Result};
use crate::random::Stream;

/// Distance between the centres of blobs in deviations of a cloud: clusters overlap a little.
const SEPARATION: f64 = 8.0;
/// Deviation of the coordinates of centres that lie far apart.
const FAR: f64 = 2.0;

/// Where rows come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataSet {
    /// Normal clouds of deviation 1 around as many centres as there are clusters. Coordinates of the centres are normal
    /// with deviation `8 / sqrt(2 d)`, so that centres lie about 8 deviations apart in any number of features `d`.
    Blobs,
    /// The same with deviation 2: centres lie about `sqrt(8 d)` deviations of a cloud apart, `sqrt(2 d)` of which are what
    /// two rows of one cloud lie apart. First centroids that are rows leave some clouds without any and others with
    /// several.
    Clusters,
    /// Uniform in [-1, 1): no structure, the hardest case for pruning.
    Uniform,
    /// The test images of MNIST (784 features) from `TILEFOLD_DATA`, repeated, with noise of half a grey level.
    Mnist,
    /// 5,000 SIFT descriptors (128 features) from `TILEFOLD_DATA`, repeated, with noise of half a unit.
    Sift,
}

impl DataSet {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Blobs, Self::Clusters, Self::Uniform, Self::Mnist, Self::Sift];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Clusters => "clusters",
            Self::Uniform => "uniform",
            Self::Mnist => "mnist",
            Self::Sift => "sift",
        }
    }

    /// Features that the set has; `None` for any number.
    pub fn features(self) -> Option<usize> {
        match self {
            Self::Blobs | Self::Clusters | Self::Uniform => None,
            Self::Mnist => Some(784),
            Self::Sift => Some(128),
        }
    }

    /// Its file, if it has one.
    fn path(self) -> Option<PathBuf> {
        let name = match self {
            Self::Blobs | Self::Clusters | Self::Uniform => return None,
            Self::Mnist => "mnist-t10k-images-idx3-ubyte.gz",
            Self::Sift => "sift-5k.tsv",
        };
        Some(PathBuf::from(std::env::var_os("TILEFOLD_DATA").unwrap_or_default()).join(name))
    }

    /// Whether its file is there, if it needs one.
    pub fn is_there(self) -> bool {
        self.path().is_none_or(|path| path.is_file())
    }

    /// Refuses a number of features that it does not have, and a set whose file is not there.
    pub(super) fn check(self, d: usize) -> Result<()> {
        if let Some(features) = self.features()
            && features != d
        {
            return Err(Error::parameter("d", format!("{features}, as {self} has"), d));
        }
        if self.is_there() {
            return Ok(());
        }
        let rule = "a set whose file is in the folder TILEFOLD_DATA names, or blobs, clusters and uniform";
        Err(Error::parameter("data", rule, self))
    }

    /// `n` rows of `d` features around `k` centres.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a number of features that the set does not have; those of the reader.
    pub fn rows(self, n: usize, d: usize, k: usize) -> Result<Array2<f32>> {
        self.check(d)?;
        match self.path() {
            None if self == Self::Blobs => Ok(blobs(n, d, k, SEPARATION / (2.0 * d as f64).sqrt())),
            None if self == Self::Clusters => Ok(blobs(n, d, k, FAR)),
            None => Ok(uniform(n, d, 3)),
            Some(path) => repeated(&Table::open(path)?, n, d),
        }
    }
}

impl fmt::Display for DataSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for DataSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|set| set.name() == text);
        known.ok_or_else(|| {
            Error::parameter(
                "data",
                format!("one of {}", Self::ALL.map(Self::name).join(", ")),
                format!("{text:?}"),
            )
        })
    }
}

/// Fills rows in parallel.
fn each_row(n: usize, d: usize, fill: impl Fn(usize, &mut [f32]) + Sync) -> Array2<f32> {
    let mut values = Array2::zeros((n, d));
    if let Some(values) = values.as_slice_mut() {
        values.par_chunks_mut(d.max(1)).enumerate().for_each(|(row, out)| fill(row, out));
    }
    values
}

/// Uniform in [-1, 1).
pub(super) fn uniform(n: usize, d: usize, stream: u64) -> Array2<f32> {
    let draws = Stream::new(7, stream);
    each_row(n, d, |row, out| {
        for (column, out) in out.iter_mut().enumerate() {
            *out = (2.0 * draws.unit((row * d + column) as u64) - 1.0) as f32;
        }
    })
}

/// Two independent normal numbers, by Box and Muller.
fn normals(draws: &Stream, pair: u64) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - draws.unit(2 * pair)).ln()).sqrt();
    let (sine, cosine) = (std::f64::consts::TAU * draws.unit(2 * pair + 1)).sin_cos();
    [radius * cosine, radius * sine]
}

/// `d` normal numbers, those of row number `row`.
fn normal_row(draws: &Stream, row: usize, d: usize) -> impl Iterator<Item = f64> {
    let pairs = d.div_ceil(2);
    let first = (row * pairs) as u64;
    (first..first + pairs as u64).flat_map(|pair| normals(draws, pair)).take(d)
}

/// Clouds of deviation 1 around `k` centres whose coordinates have the given deviation.
fn blobs(n: usize, d: usize, k: usize, deviation: f64) -> Array2<f32> {
    let k = k.max(1);
    let (of_centres, of_points, of_labels) = (Stream::new(7, 0), Stream::new(7, 1), Stream::new(7, 2));
    let centres = each_row(k, d, |row, out| {
        out.iter_mut()
            .zip(normal_row(&of_centres, row, d))
            .for_each(|(out, x)| *out = (deviation * x) as f32);
    });
    each_row(n, d, |row, out| {
        let centre = centres.row((of_labels.unit(row as u64) * k as f64) as usize);
        for ((out, x), centre) in out.iter_mut().zip(normal_row(&of_points, row, d)).zip(centre) {
            *out = centre + x as f32;
        }
    })
}

/// Rows of a table, again and again, each repetition with its own noise within half a unit.
fn repeated(table: &Table, n: usize, d: usize) -> Result<Array2<f32>> {
    let points = table.points();
    // The file of SIFT has a column of numbers behind the features.
    if points.columns() < d || points.rows() == 0 {
        return Err(Error::shape("data", format!("rows of {d} features"), points.columns()));
    }
    let base = points.rows();
    let draws = Stream::new(7, 4);
    Ok(each_row(n, d, |row, out| {
        for (column, (out, value)) in out.iter_mut().zip(raw_row(&points, row % base)).enumerate() {
            let noise = if row < base { 0.0 } else { draws.unit((row * d + column) as u64) - 0.5 };
            *out = (value + noise) as f32;
        }
    }))
}

/// `k` different rows of `n`, in order.
pub(super) fn choose_rows(n: usize, k: usize) -> Vec<usize> {
    let draws = Stream::new(7, 5);
    // Floyd's sampling: each row of the last k has its chance, and its place where the drawn one is taken.
    let mut chosen = std::collections::BTreeSet::new();
    for last in n - k.min(n)..n {
        let drawn = (draws.unit(last as u64) * (last + 1) as f64) as usize;
        if !chosen.insert(drawn) {
            chosen.insert(last);
        }
    }
    chosen.into_iter().collect()
}

/// Rows in the element type that a measurement asks for.
pub(super) enum Rows {
    F32(Array2<f32>),
    F64(Array2<f64>),
    F16(Array2<f16>),
    Bf16(Array2<bf16>),
}

impl Rows {
    /// Names of the element types.
    pub(super) const NAMES: [&'static str; 4] = ["f32", "f64", "f16", "bf16"];

    /// Refuses other names.
    pub(super) fn check_name(dtype: &str) -> Result<()> {
        if Self::NAMES.contains(&dtype) {
            return Ok(());
        }
        Err(Error::parameter("dtype", format!("one of {}", Self::NAMES.join(", ")), format!("{dtype:?}")))
    }

    /// Rows rounded to the type of this name.
    pub(super) fn new(values: Array2<f32>, dtype: &str) -> Result<Self> {
        Self::check_name(dtype)?;
        Ok(match dtype {
            "f64" => Self::F64(values.mapv(f64::from)),
            "f16" => Self::F16(values.mapv(f16::from_f32)),
            "bf16" => Self::Bf16(values.mapv(bf16::from_f32)),
            _ => Self::F32(values),
        })
    }

    pub(super) fn points(&self) -> Points<'_> {
        match self {
            Self::F32(rows) => rows.view().into(),
            Self::F64(rows) => rows.view().into(),
            Self::F16(rows) => rows.view().into(),
            Self::Bf16(rows) => rows.view().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_lie_as_far_apart_as_they_say() {
        let (n, d, k) = (400, 64, 4);
        let rows = DataSet::Blobs.rows(n, d, k).expect("no file");
        assert_eq!(rows, DataSet::Blobs.rows(n, d, k).expect("no file"));
        let square = |a: usize, b: usize| {
            rows.row(a).iter().zip(rows.row(b)).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
        };
        // Rows of one cloud: 2 d. Of two: 2 d + 64, on average. The gap between must show.
        let mut all: Vec<f64> = (1..n).map(|row| square(0, row)).collect();
        all.sort_unstable_by(f64::total_cmp);
        let (near, far) = (all[n / 16], all[n * 3 / 4]);
        assert!((80.0..150.0).contains(&near) && (140.0..300.0).contains(&far), "{near} {far}");
    }

    #[test]
    fn chosen_rows_are_different_and_named_sets_are_checked() {
        for (n, k) in [(1, 1), (10, 10), (1000, 17)] {
            let chosen = choose_rows(n, k);
            assert!(
                chosen.len() == k && chosen.windows(2).all(|pair| pair[0] < pair[1]) && chosen[k - 1] < n
            );
        }
        assert!("digits".parse::<DataSet>().is_err());
        assert!(DataSet::Mnist.rows(10, 64, 1).unwrap_err().to_string().contains("784"));
        assert!(Rows::new(uniform(2, 3, 0), "f8").is_err());
    }
}
