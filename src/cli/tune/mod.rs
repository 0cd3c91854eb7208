//! `tilefold tune`: measures the kernels that could perform a problem on a GPU, and remembers which was fastest.

mod show;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::args::{EXIT_CODES, Run};
use super::failure::Failure;
use super::{input, output};
use crate::cancel::Cancel;
use crate::device::{Backend, Device, Gpu, Limits, Prediction};
use crate::measure::{Roofs, roofs};
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::Fold;
use crate::tile::choice::model::{Costs, Speeds};
use crate::tile::choice::tune::cache;
use crate::tile::choice::tune::search::{self, Quality, Swept};
use crate::tile::choice::tune::trial::Trial;

/// Seconds that one run of a problem of `--shapes` should take at a tenth of the roof.
const RUN_SECONDS: f64 = 0.02;
/// Largest `--d`: sums of deeper rows are not exact in `f32`, so that results could not be compared by their bits.
const MOST_DEPTH: usize = 1 << 22;

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Tune {
    /// nearest (labels of k-means), store (distances, nearest centroids), or all.
    #[arg(long, value_name = "W", default_value = "all", hide_possible_values = true)]
    pub workload: Workload,

    /// quick (some common problems) or full (many); their rows follow from the speed of the device.
    #[arg(long, value_name = "S", default_value = "quick", hide_possible_values = true, conflicts_with_all = ["n", "d", "k"])]
    pub shapes: Shapes,

    /// Rows of the problem, or several with commas.
    #[arg(long, value_name = "N", value_delimiter = ',', requires_all = ["d", "k"], allow_negative_numbers = true)]
    pub n: Vec<usize>,

    /// Features.
    #[arg(long, value_name = "D", value_delimiter = ',', requires_all = ["n", "k"], allow_negative_numbers = true)]
    pub d: Vec<usize>,

    /// Clusters, or columns of the matrix.
    #[arg(long, value_name = "K", value_delimiter = ',', requires_all = ["n", "d"], allow_negative_numbers = true)]
    pub k: Vec<usize>,

    /// Time for all problems together; candidates that come too late are left out.
    #[arg(long, value_name = "S", default_value_t = 60.0, allow_negative_numbers = true)]
    pub seconds: f64,

    /// Writes all measurements with the model's predictions, as JSON.
    #[arg(short, long, value_name = "OUT.json")]
    pub output: Option<PathBuf>,

    #[command(flatten)]
    pub run: Run,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    Nearest,
    Store,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shapes {
    Quick,
    Full,
}

/// All that is shown.
struct Outcome {
    device: Device,
    gpu: Gpu,
    roofs: Roofs,
    swept: Vec<Swept>,
    /// Of the predictions that were made before.
    before: Option<Quality>,
    /// Of those that the same measurements were fitted to.
    after: Option<Quality>,
    /// The cache file, where it was written.
    file: Option<PathBuf>,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Tune, cancel: &Cancel) -> Result<(), Failure> {
    if !(arguments.seconds > 0.0 && arguments.seconds <= 1e6) {
        return Err(Failure::usage("--seconds", "more than 0, at most 1000000", arguments.seconds));
    }
    let device = input::device(&arguments.run)?;
    let gpu = gpu(&device)?;
    let file = match &arguments.output {
        Some(path) => Some(output::create("--output", path, "json")?),
        None => None,
    };
    let given = given_tasks(arguments, &gpu.limits())?;
    let talk = |line: &str| {
        if !arguments.run.quiet {
            eprintln!("{line}");
        }
    };
    talk(&format!("measuring what {} can do at most", gpu.name()));
    let roofs = roofs(&device)?;
    let threads = gpu.is_software().then(|| device.host_pool()).transpose()?.map(|pool| pool.threads());
    let speeds =
        Speeds::new(roofs.fma_flops_per_second, roofs.copy_bytes_per_second, roofs.launch_seconds, threads);
    let tasks = match given {
        Some(tasks) => tasks,
        None => usual_tasks(arguments, &speeds, &gpu.limits()),
    };
    let known: Costs = cache::table_of(&gpu).costs;
    let swept = search::tune(&gpu, &tasks, &speeds, &known, arguments.seconds, cancel, |swept| {
        talk(&show::progress(swept));
    })?;
    let learnt = search::learnt(&swept, &speeds, &known);
    let outcome = Outcome {
        before: search::quality(&gpu, &swept, &speeds, &known),
        after: search::quality(&gpu, &swept, &speeds, &learnt.costs),
        file: cache::remember(&gpu, &learnt),
        device: device.clone(),
        gpu: gpu.clone(),
        roofs,
        swept,
    };
    let json = show::as_json(&outcome)?;
    if let Some(file) = file {
        output::finish_text("--output", file, &format!("{json:#}\n"))?;
    }
    output::print(|stdout| {
        if arguments.run.json { writeln!(stdout, "{json:#}") } else { show::print(stdout, &outcome) }
    })
}

/// The GPU that a device works with.
fn gpu(device: &Device) -> Result<Gpu, Failure> {
    match device.resolve(&Prediction { flops: 1e15, upload_bytes: 0.0 }) {
        Backend::Gpu(gpu) => Ok(gpu.clone()),
        other => {
            let expected = "a GPU, such as gpu or vulkan:0 (see tilefold devices)";
            Err(Failure::usage("--device", expected, other.name()))
        }
    }
}

fn folds(workload: Workload) -> &'static [Fold] {
    match workload {
        Workload::Nearest => &[Fold::Nearest],
        Workload::Store => &[Fold::Store],
        Workload::All => &[Fold::Nearest, Fold::Store],
    }
}

/// The problems that the user named, if any; each has to fit the device.
fn given_tasks(arguments: &Tune, limits: &Limits) -> Result<Option<Vec<Task>>, Failure> {
    let Tune { n, d, k, .. } = arguments;
    for (name, values, most) in
        [("--n", n, u32::MAX as usize), ("--d", d, MOST_DEPTH), ("--k", k, u32::MAX as usize)]
    {
        if let Some(wrong) = values.iter().find(|value| !(1..=most).contains(*value)) {
            return Err(Failure::usage(name, &format!("1 to {most}"), wrong));
        }
    }
    let mut tasks = Vec::new();
    for &fold in folds(arguments.workload) {
        for &columns in k {
            for &depth in d {
                for &rows in n {
                    let task = Task { fold, rows, columns, depth };
                    Trial::bytes(&task, limits)?;
                    tasks.push(task);
                }
            }
        }
    }
    Ok((!tasks.is_empty()).then_some(tasks))
}

/// Common problems, with as many rows as the device works on in a moment; those that do not fit it are left out.
fn usual_tasks(arguments: &Tune, speeds: &Speeds, limits: &Limits) -> Vec<Task> {
    let (columns, depths): (&[usize], &[usize]) = match arguments.shapes {
        Shapes::Quick => (&[16, 256], &[16, 128, 768]),
        Shapes::Full => (&[8, 16, 64, 256, 1024, 4096], &[3, 16, 32, 64, 99, 128, 384, 768, 1536]),
    };
    let units = 0.1 * RUN_SECONDS * speeds.fma_flops_per_second / 2.0;
    let mut tasks = Vec::new();
    for &fold in folds(arguments.workload) {
        // A matrix is square: its side takes the place of the columns.
        let columns = if fold == Fold::Store { &columns[..1] } else { columns };
        for &columns in columns {
            for &depth in depths {
                let least = 1 << 10;
                let (rows, columns) = if fold == Fold::Store {
                    let side =
                        ((units / depth as f64).sqrt() as usize).clamp(256, 1 << 14).next_power_of_two();
                    (side, side)
                } else {
                    let rows = (units / (columns * depth) as f64) as usize;
                    (rows.clamp(least, 1 << 20).next_power_of_two(), columns)
                };
                let task = Task { fold, rows, columns, depth };
                if Trial::bytes(&task, limits).is_ok() {
                    tasks.push(task);
                }
            }
        }
    }
    tasks
}
