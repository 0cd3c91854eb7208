//! `--top`: the nearest centroids of each row, into files of their own.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::output::ArrayFile;
use crate::cancel::Cancel;
use crate::data::{AtomicFile, Points};
use crate::device::Device;
use crate::kmeans::{LARGEST_TOP, Model};

/// The nearest centroids of each row.
#[derive(Debug, Args)]
#[command(next_help_heading = "Nearest centroids")]
pub(super) struct Top {
    /// Finds the M nearest centroids of each row, nearest first; at most 64.
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    pub top: Option<usize>,

    /// Writes their indices, one row of M per row: .npy (u32) or .csv.
    #[arg(long, value_name = "OUT", requires = "top")]
    pub top_out: Option<PathBuf>,

    /// Writes their Euclidean distances: .npy (f64) or .csv.
    #[arg(long, value_name = "OUT", requires = "top")]
    pub top_distances: Option<PathBuf>,
}

/// The files, created before the work.
pub(super) struct TopFiles {
    count: usize,
    indices: Option<ArrayFile>,
    distances: Option<ArrayFile>,
}

impl TopFiles {
    /// Checks the number and creates the files.
    pub fn create(arguments: &Top, n_clusters: usize) -> Result<Option<Self>, Failure> {
        let Some(count) = arguments.top else { return Ok(None) };
        let most = LARGEST_TOP.min(n_clusters);
        if count == 0 || count > most {
            return Err(Failure::usage("--top", &format!("1 to {most}"), count));
        }
        if arguments.top_out.is_none() && arguments.top_distances.is_none() {
            return Err(Failure::usage("--top", "--top-out or --top-distances beside it", "neither"));
        }
        Ok(Some(Self {
            count,
            indices: ArrayFile::create("--top-out", arguments.top_out.as_ref())?,
            distances: ArrayFile::create("--top-distances", arguments.top_distances.as_ref())?,
        }))
    }

    /// Finds the centroids and writes them; the files still wait for their names.
    pub fn write(
        self,
        model: &Model,
        device: &Device,
        points: Points,
        cancel: &Cancel,
    ) -> Result<Vec<AtomicFile>, Failure> {
        let nearest = model.nearest_with(device, points, self.count, cancel)?;
        let mut files = Vec::new();
        if let Some(file) = self.indices {
            files.push(file.write(nearest.indices.view())?);
        }
        if let Some(file) = self.distances {
            files.push(file.write(nearest.distances.view())?);
        }
        Ok(files)
    }
}
