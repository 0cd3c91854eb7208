//! A metric and its parameters, as several subcommands take them.

use std::path::{Path, PathBuf};

use clap::Args;
use ndarray::Array2;

use super::args::Read;
use super::failure::Failure;
use super::input;
use crate::distance::{Metric, Params};

/// What some metrics need besides their name.
#[derive(Debug, Args)]
pub(super) struct MetricParameters {
    /// Power of minkowski [default: 2].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub p: Option<f64>,

    /// One weight for each column, for minkowski [default: 1].
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// One variance for each column, for seuclidean.
    #[arg(long, value_name = "FILE")]
    pub variances: Option<PathBuf>,

    /// Inverse of the covariance, for mahalanobis: a square matrix.
    #[arg(long, value_name = "FILE")]
    pub inverse_covariance: Option<PathBuf>,
}

impl MetricParameters {
    /// The files that are read.
    pub fn files(&self) -> [(&'static str, Option<&PathBuf>); 3] {
        [
            ("--weights", self.weights.as_ref()),
            ("--variances", self.variances.as_ref()),
            ("--inverse-covariance", self.inverse_covariance.as_ref()),
        ]
    }

    /// A metric with these parameters.
    pub fn read(&self, metric: &str) -> Result<Params, Failure> {
        let mut params = Params::new(metric.parse::<Metric>()?);
        if let Some(p) = self.p {
            params = params.p(p);
        }
        if let Some(path) = &self.weights {
            params = params.weights(numbers("--weights", path)?.into_raw_vec_and_offset().0);
        }
        if let Some(path) = &self.variances {
            params = params.variances(numbers("--variances", path)?.into_raw_vec_and_offset().0);
        }
        if let Some(path) = &self.inverse_covariance {
            params = params.inverse_covariance(numbers("--inverse-covariance", path)?);
        }
        Ok(params)
    }
}

/// All of a table in `f64`.
fn numbers(argument: &'static str, path: &Path) -> Result<Array2<f64>, Failure> {
    let plain = Read { columns: None, delimiter: None, header: None };
    let table = input::table(argument, path, &plain)?;
    let rows: Vec<usize> = (0..table.rows()).collect();
    Ok(input::rows_as_f64(&table.points(), &rows)?)
}
