//! `tilefold distance`: the matrix of all distances, streamed to a file.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use ndarray::ArrayView2;
use serde_json::json;

use super::args::{EXIT_CODES, Read, Run};
use super::failure::Failure;
use super::input;
use super::metric::MetricParameters;
use super::output;
use super::summary::grouped;
use crate::cancel::Cancel;
use crate::data::{AtomicFile, NpyElement, NpyRowWriter};
use crate::distance::{MatrixView, needs_f64, stream};
use crate::error::{Error, Result};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Distance {
    /// One row of the matrix for each row of this file, in the formats of kmeans.
    pub x: PathBuf,

    /// One column of the matrix for each row of this file [default: X].
    pub y: Option<PathBuf>,

    /// sqeuclidean, euclidean, cosine, inner_product, manhattan (cityblock), chebyshev, minkowski, seuclidean, mahalanobis,
    /// correlation, canberra, braycurtis, multiset_jaccard, hamming, nan_euclidean, haversine, hellinger, jensenshannon or
    /// kldivergence; of rows of 0 and 1 jaccard, dice, rogerstanimoto, russellrao, sokalsneath, yule or matching; of
    /// packed bits (u8, u32) bit_hamming or bit_jaccard.
    #[arg(long, value_name = "M")]
    pub metric: String,

    #[command(flatten)]
    pub parameters: MetricParameters,

    /// Where the matrix goes: .npy, f32, or f64 if an input needs it.
    #[arg(short, long, value_name = "OUT.npy")]
    pub output: PathBuf,

    #[command(flatten)]
    pub read: Read,

    #[command(flatten)]
    pub run: Run,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Distance, cancel: &Cancel) -> std::result::Result<(), Failure> {
    let mut inputs = vec![("X", Some(&arguments.x)), ("Y", arguments.y.as_ref())];
    inputs.extend(arguments.parameters.files());
    // The same file twice is no conflict: both are only read.
    output::check_distinct(&inputs, &[("--output", Some(&arguments.output))])?;
    let params = arguments.parameters.read(&arguments.metric)?.cancel(cancel.clone());
    let metric = params.metric;
    let device = input::device(&arguments.run)?;
    let begin = Instant::now();
    let x = input::table("X", &arguments.x, &arguments.read)?;
    let y = match &arguments.y {
        Some(path) => Some(input::table("Y", path, &arguments.read)?),
        None => None,
    };
    let read = begin.elapsed().as_secs_f64();
    let file = output::create("--output", &arguments.output, "npy")?;

    let begin = Instant::now();
    let (x_points, y_points) = (x.points(), y.as_ref().map(|table| table.points()));
    let columns = y.as_ref().map_or(x.rows(), |table| table.rows());
    let is_f64 = needs_f64(metric, &x_points, y_points.as_ref());
    let mut writer = Writer::new(file, is_f64, x.rows(), columns)?;
    let bar = if arguments.run.json || arguments.run.quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(x.rows() as u64)
    };
    let filled = stream(&device, x_points, y_points, &params, |block| {
        writer.write(&block.values)?;
        bar.set_position((block.first_row + block.values.dim().0) as u64);
        Ok(())
    });
    bar.finish_and_clear();
    let filled = filled?;
    let compute = begin.elapsed().as_secs_f64();
    let element = if is_f64 { "f64" } else { "f32" };
    if arguments.run.json {
        let object = json!({
            "rows": filled.rows,
            "columns": filled.columns,
            "element_type": element,
            "metric": metric.name(),
            "device": filled.device,
            "seconds": { "read": read, "compute": compute },
        });
        output::print(|stdout| writeln!(stdout, "{object:#}"))?;
    }
    writer.commit()?;
    if !arguments.run.json && !arguments.run.quiet {
        let [rows, columns] = [filled.rows, filled.columns].map(|count| grouped(count as u64));
        let text = format!(
            "matrix      {rows} x {columns} {element}, {metric}\ndevice      {}\nseconds     read {read:.3}, compute {compute:.3}\n",
            filled.device
        );
        // Where stderr is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    Ok(())
}

/// The output in the element type of the results.
enum Writer {
    F32(NpyRowWriter<f32>),
    F64(NpyRowWriter<f64>),
}

impl Writer {
    fn new(file: AtomicFile, is_f64: bool, rows: usize, columns: usize) -> Result<Self> {
        Ok(if is_f64 {
            Self::F64(NpyRowWriter::new(file, rows, columns)?)
        } else {
            Self::F32(NpyRowWriter::new(file, rows, columns)?)
        })
    }

    fn write(&mut self, values: &MatrixView) -> Result<()> {
        match (self, values) {
            (Self::F32(writer), MatrixView::F32(rows)) => write_rows(writer, rows.view()),
            (Self::F64(writer), MatrixView::F64(rows)) => write_rows(writer, rows.view()),
            (writer, _) => {
                let expected = if matches!(writer, Self::F64(_)) { "f64" } else { "f32" };
                Err(Error::shape("block", expected, "the other type"))
            }
        }
    }

    fn commit(self) -> Result<()> {
        match self {
            Self::F32(writer) => writer.commit(),
            Self::F64(writer) => writer.commit(),
        }
    }
}

fn write_rows<T: NpyElement>(writer: &mut NpyRowWriter<T>, rows: ArrayView2<T>) -> Result<()> {
    match rows.as_slice() {
        Some(values) => writer.write_rows(values),
        None => rows.outer_iter().try_for_each(|row| writer.write_rows(&row.to_vec())),
    }
}
