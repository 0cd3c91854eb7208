//! `tilefold neighbours`: the nearest rows, or all within a radius, into files.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use super::args::{EXIT_CODES, Read, Run};
use super::failure::Failure;
use super::input;
use super::metric::MetricParameters;
use super::output::{self, ArrayFile};
use super::summary::grouped;
use crate::cancel::Cancel;
use crate::data::{AtomicFile, CompressedRows, Points, write_csr_npz_to};
use crate::device::Device;
use crate::distance::{self, Matrix};
use crate::error::Error;
use crate::memory;
use crate::neighbours::{
    Graph, Neighbours as Found, Params, RadiusParams, Symmetry, Values, nearest, nearest_of_each, within,
    within_of_each,
};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Neighbours {
    /// Rows among which neighbours are found: .npy, .csv, .tsv, .txt, .fvecs, .bvecs, .ivecs, or IDX (also gzipped).
    pub input: PathBuf,

    /// Rows whose neighbours are found, in the same formats [default: INPUT].
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,

    /// Neighbours of each query, 1 to 1024 and to the number of rows.
    #[arg(
        short = 'k',
        long,
        value_name = "K",
        allow_negative_numbers = true,
        required_unless_present = "radius"
    )]
    pub count: Option<usize>,

    /// Finds all rows within distance R instead; for inner_product, all whose product is at least R.
    #[arg(long, value_name = "R", allow_negative_numbers = true, conflicts_with_all = ["count", "farthest"])]
    pub radius: Option<f64>,

    /// Leaves out rows within distance R, so that a shell is left.
    #[arg(long, value_name = "R", allow_negative_numbers = true, requires = "radius", conflicts_with_all = ["count", "farthest"])]
    pub beyond: Option<f64>,

    /// sqeuclidean, euclidean, cosine, inner_product, or any metric of distance; those four are the fastest.
    #[arg(long, value_name = "M", default_value = "euclidean")]
    pub metric: String,

    #[command(flatten)]
    pub parameters: MetricParameters,

    /// Lengths of a box that repeats in every direction, one per column; all coordinates lie within it.
    #[arg(long, value_name = "L,L,...", value_delimiter = ',', allow_negative_numbers = true)]
    pub periodic: Option<Vec<f64>>,

    /// Finds the farthest rows instead of the nearest.
    #[arg(long)]
    pub farthest: bool,

    /// Leaves each row out of its own neighbours.
    #[arg(long, conflicts_with = "queries")]
    pub without_self: bool,

    /// Writes the indices of the neighbours, one row of K per query: .npy (u32) or .csv.
    #[arg(short, long = "output", value_name = "OUT", conflicts_with = "radius")]
    pub output: Option<PathBuf>,

    /// Writes their distances: .npy or .csv, f32, or f64 if an input needs it.
    #[arg(long, value_name = "OUT", conflicts_with = "radius")]
    pub distances: Option<PathBuf>,

    /// Writes queries x rows as a sparse matrix of distances, as scipy.sparse.load_npz reads it.
    #[arg(long, value_name = "OUT.npz")]
    pub graph: Option<PathBuf>,

    /// Adds the reverse of each edge to the graph.
    #[arg(long, requires = "graph", conflicts_with_all = ["queries", "radius"])]
    pub symmetric: bool,

    #[command(flatten)]
    pub read: Read,

    #[command(flatten)]
    pub run: Run,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Neighbours, cancel: &Cancel) -> Result<(), Failure> {
    let inputs = [("INPUT", Some(&arguments.input)), ("--queries", arguments.queries.as_ref())];
    let outputs = [
        ("--output", arguments.output.as_ref()),
        ("--distances", arguments.distances.as_ref()),
        ("--graph", arguments.graph.as_ref()),
    ];
    let mut inputs = inputs.to_vec();
    inputs.extend(arguments.parameters.files());
    output::check_distinct(&inputs, &outputs)?;
    let measure = arguments.parameters.read(&arguments.metric)?;
    let metric = measure.metric;
    let device = input::device(&arguments.run)?;
    let begin = Instant::now();
    let points = input::table("INPUT", &arguments.input, &arguments.read)?;
    let queries = match &arguments.queries {
        Some(path) => Some(input::table("--queries", path, &arguments.read)?),
        None => None,
    };
    let read = begin.elapsed().as_secs_f64();
    let mut files = Files {
        indices: ArrayFile::create("--output", arguments.output.as_ref())?,
        distances: ArrayFile::create("--distances", arguments.distances.as_ref())?,
        graph: match &arguments.graph {
            Some(path) => Some(output::create("--graph", path, "npz")?),
            None => None,
        },
        done: Vec::new(),
    };
    let begin = Instant::now();
    let rows = queries.as_ref().map_or(points.rows(), |queries| queries.rows());
    let tables = (points.points(), queries.as_ref().map(|queries| queries.points()));
    let (found, name) = match arguments.radius {
        None => near(arguments, measure, &device, tables, cancel, &mut files)?,
        Some(radius) => around(arguments, (measure, radius), &device, tables, cancel, &mut files)?,
    };
    let search = begin.elapsed().as_secs_f64();
    output::flush(&mut files.done)?;
    if arguments.run.json {
        let object = json!({
            "points": points.rows(),
            "columns": points.columns(),
            "queries": rows,
            "neighbours": found,
            "metric": metric.name(),
            "farthest": arguments.farthest,
            "device": name,
            "seconds": { "read": read, "search": search },
        });
        output::print(|stdout| writeln!(stdout, "{object:#}"))?;
    }
    output::commit(files.done)?;
    if !arguments.run.json && !arguments.run.quiet {
        let [queries, points, found] = [rows, points.rows(), found].map(|count| grouped(count as u64));
        let text = format!(
            "neighbours  {found} of {queries} queries among {points} rows, {metric}\ndevice      {name}\nseconds     read {read:.3}, search {search:.3}\n",
        );
        // Where stderr is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    Ok(())
}

/// The outputs, created before the work.
struct Files {
    indices: Option<ArrayFile>,
    distances: Option<ArrayFile>,
    graph: Option<AtomicFile>,
    /// Written, still without their names.
    done: Vec<AtomicFile>,
}

/// Finds the nearest and writes them. Returns how many, and the device.
fn near(
    arguments: &Neighbours,
    measure: distance::Params,
    device: &Device,
    (points, queries): (Points, Option<Points>),
    cancel: &Cancel,
    files: &mut Files,
) -> Result<(usize, String), Failure> {
    let mut params = Params::of(measure, arguments.count.unwrap_or_default())
        .farthest(arguments.farthest)
        .includes_self(!arguments.without_self)
        .cancel(cancel.clone());
    if let Some(lengths) = &arguments.periodic {
        params = params.periodic(lengths.clone());
    }
    let columns = points.rows();
    let found: Found = match queries {
        Some(queries) => nearest(device, points, queries, &params),
        None => nearest_of_each(device, points, &params),
    }
    .map_err(|error| match error {
        Error::Parameter { name: "count", rule, got } => Failure::usage("-k", &rule, got),
        other => other.into(),
    })?;
    if let Some(file) = files.indices.take() {
        files.done.push(file.write(found.indices.view())?);
    }
    if let Some(file) = files.distances.take() {
        files.done.push(match &found.distances {
            Matrix::F32(distances) => file.write(distances.view())?,
            Matrix::F64(distances) => file.write(distances.view())?,
        });
    }
    if let Some(file) = files.graph.take() {
        ask_for_graph(found.indices.len())?;
        let symmetry = if arguments.symmetric { Symmetry::Either } else { Symmetry::Directed };
        files.done.push(write_graph(file, &Graph::of_neighbours(&found, columns, symmetry))?);
    }
    Ok((found.indices.len(), found.device))
}

/// Finds all within a radius and writes them. Returns how many, and the device.
fn around(
    arguments: &Neighbours,
    (measure, radius): (distance::Params, f64),
    device: &Device,
    (points, queries): (Points, Option<Points>),
    cancel: &Cancel,
    files: &mut Files,
) -> Result<(usize, String), Failure> {
    let mut params =
        RadiusParams::of(measure, radius).includes_self(!arguments.without_self).cancel(cancel.clone());
    if let Some(beyond) = arguments.beyond {
        params = params.beyond(beyond);
    }
    if let Some(lengths) = &arguments.periodic {
        params = params.periodic(lengths.clone());
    }
    let columns = points.rows();
    let found = match queries {
        Some(queries) => within(device, points, queries, &params),
        None => within_of_each(device, points, &params),
    }?;
    if let Some(file) = files.graph.take() {
        ask_for_graph(found.indices.len())?;
        files.done.push(write_graph(file, &Graph::of_within(&found, columns))?);
    }
    Ok((found.indices.len(), found.device))
}

/// Asks for the edges of a graph, there and back, as they are sorted and written.
fn ask_for_graph(edges: usize) -> crate::Result<()> {
    memory::ask(&format!("a graph of {edges} neighbours"), &[memory::area::<u8>(edges, 96)])
}

fn write_graph(mut file: AtomicFile, graph: &Graph) -> Result<AtomicFile, Failure> {
    let Graph { rows, columns, offsets, indices, values, .. } = graph;
    let (rows, columns) = (*rows, *columns);
    match values {
        Values::F32(values) => {
            write_csr_npz_to(&mut file, CompressedRows { rows, columns, offsets, indices, values })
        }
        Values::F64(values) => {
            write_csr_npz_to(&mut file, CompressedRows { rows, columns, offsets, indices, values })
        }
    }
    .map_err(Failure::about("--graph"))?;
    Ok(file)
}
