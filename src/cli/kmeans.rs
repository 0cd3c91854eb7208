//! `tilefold kmeans`: reads, fits, writes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::{EXIT_CODES, Read, Run};
use super::failure::{CANCELLED, Failure};
use super::output::{self, ArrayFile};
use super::top::{Top, TopFiles};
use super::{input, plot, process, summary};
use crate::cancel::Cancel;
use crate::data::{AtomicFile, Table, read_vector_f64_with};
use crate::device::Device;
use crate::kmeans::{Control, Fit, Init, Params, Prune, fit};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Kmeans {
    /// Rows to cluster: .npy, .csv, .tsv, .txt, .fvecs, .bvecs, .ivecs, or IDX (also gzipped).
    pub input: PathBuf,

    /// Number of clusters, 1 to the number of rows.
    #[arg(short = 'k', long, value_name = "K", allow_negative_numbers = true)]
    pub n_clusters: usize,

    /// First centroids: k-means++, random, k-means-parallel, or a file that holds K rows.
    #[arg(long, value_name = "INIT", default_value = "k-means++")]
    pub init: String,

    /// Runs from different first centroids; the best is kept [default: 10 for random, else 1].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub n_init: Option<usize>,

    /// Most iterations of one run.
    #[arg(long, value_name = "N", default_value_t = 300, allow_negative_numbers = true)]
    pub max_iter: usize,

    /// Ends a run once the centroids move by at most T times the mean variance; 0: once no label changes.
    #[arg(long, value_name = "T", default_value_t = 1e-4, allow_negative_numbers = true)]
    pub tol: f64,

    /// Seed of all random draws.
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,

    /// One weight per row: .npy or text with one column.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,

    /// Clusters directions: rows and centroids are scaled to length 1.
    #[arg(long)]
    pub spherical: bool,

    /// Whether to skip rows whose label cannot have changed; this changes the time, not the results.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = PruneWhen::Auto)]
    pub prune: PruneWhen,

    /// Writes the label of each row: .npy (u32) or .csv, or - for stdout.
    #[arg(long, value_name = "OUT")]
    pub labels: Option<PathBuf>,

    /// Writes the centroids, one per row: .npy (f64) or .csv.
    #[arg(long, value_name = "OUT")]
    pub centroids: Option<PathBuf>,

    /// Writes the model, for predict.
    #[arg(long, value_name = "OUT")]
    pub model: Option<PathBuf>,

    /// Draws the clusters and the inertia per iteration.
    #[arg(long, value_name = "OUT.svg")]
    pub plot: Option<PathBuf>,

    /// Saves the state after each iteration; if FILE exists, goes on from it.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,

    #[command(flatten)]
    pub top: Top,

    #[command(flatten)]
    pub read: Read,

    #[command(flatten)]
    pub run: Run,
}

/// When rows are pruned.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PruneWhen {
    /// In passes where a trial shows that it saves time.
    Auto,
    /// In no pass.
    Never,
    /// In every pass but the first.
    Always,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Kmeans, cancel: &Cancel) -> Result<(), Failure> {
    check_files(arguments)?;
    let device = input::device(&arguments.run)?;
    let begin = Instant::now();
    let table = input::table("INPUT", &arguments.input, &arguments.read)?;
    let params = params(arguments)?.cancel(cancel.clone());
    let read_seconds = begin.elapsed().as_secs_f64();

    let outputs = Outputs::create(arguments)?;
    let bar = progress(arguments);
    let told = bar.clone();
    let params = params.callback(move |progress| {
        told.set_position(progress.iteration as u64);
        told.set_message(format!("run {}, inertia {:.6e}", progress.run + 1, progress.inertia));
        Control::Continue
    });
    let fitted = fit(&device, table.points(), &params);
    bar.finish_and_clear();
    let fit = fitted.map_err(|error| {
        let mut failure = Failure::from(error);
        if let (CANCELLED, Some(path)) = (failure.code, &arguments.checkpoint) {
            failure.message.push_str(&format!("; the same command goes on from {}", path.display()));
        }
        failure
    })?;
    outputs.finish(arguments, &device, &fit, &table, read_seconds)
}

fn check_files(arguments: &Kmeans) -> Result<(), Failure> {
    let init = init_file(&arguments.init).map(Path::to_path_buf);
    let labels = arguments.labels.as_ref().filter(|path| !output::is_stdout(Some(path)));
    if arguments.run.json && output::is_stdout(arguments.labels.as_ref()) {
        return Err(Failure::usage("--labels", "a file beside --json, which takes stdout", "-"));
    }
    output::check_distinct(
        &[
            ("INPUT", Some(&arguments.input)),
            ("--weights", arguments.weights.as_ref()),
            ("--init", init.as_ref()),
        ],
        &[
            ("--labels", labels),
            ("--centroids", arguments.centroids.as_ref()),
            ("--model", arguments.model.as_ref()),
            ("--top-out", arguments.top.top_out.as_ref()),
            ("--top-distances", arguments.top.top_distances.as_ref()),
            ("--plot", arguments.plot.as_ref()),
            ("--checkpoint", arguments.checkpoint.as_ref()),
        ],
    )
}

/// The file of first centroids, if that is what `--init` names.
fn init_file(text: &str) -> Option<&Path> {
    (!matches!(text, "k-means++" | "random" | "k-means-parallel")).then(|| Path::new(text))
}

fn params(arguments: &Kmeans) -> Result<Params, Failure> {
    let init = match (arguments.init.as_str(), init_file(&arguments.init)) {
        (_, Some(path)) => Init::Centroids(first_centroids(path)?),
        ("random", None) => Init::Random,
        ("k-means-parallel", None) => Init::Parallel,
        _ => Init::PlusPlus,
    };
    let mut params = Params::new(arguments.n_clusters)
        .init(init)
        .max_iter(arguments.max_iter)
        .tol(arguments.tol)
        .seed(arguments.seed)
        .spherical(arguments.spherical)
        .prune(match arguments.prune {
            PruneWhen::Auto => Prune::Auto,
            PruneWhen::Never => Prune::Never,
            PruneWhen::Always => Prune::Always,
        });
    if let Some(n_init) = arguments.n_init {
        params = params.n_init(n_init);
    }
    if let Some(path) = &arguments.weights {
        params = params
            .weights(read_vector_f64_with(path, &process::interrupt()).map_err(Failure::about("--weights"))?);
    }
    if let Some(path) = &arguments.checkpoint {
        params = params.checkpoint(path);
    }
    Ok(params)
}

fn first_centroids(path: &Path) -> Result<ndarray::Array2<f64>, Failure> {
    if !path.exists() {
        let expected = "k-means++, random, k-means-parallel or a file of centroids";
        return Err(Failure::usage("--init", expected, format!("{:?}", path.display().to_string())));
    }
    let as_it_is = Read { columns: None, delimiter: None, header: None };
    let table = input::table("--init", path, &as_it_is)?;
    let all: Vec<usize> = (0..table.rows()).collect();
    Ok(input::rows_as_f64(&table.points(), &all)?)
}

/// A bar on stderr where that is a terminal, else nothing.
fn progress(arguments: &Kmeans) -> ProgressBar {
    if arguments.run.json || arguments.run.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(arguments.max_iter as u64);
    let template = "{spinner} iteration {pos} of at most {len} [{bar:24}] {msg} {elapsed}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message("preparing");
    process::turn(&bar);
    bar
}

/// The files of a fit, created before it begins.
struct Outputs {
    labels: Option<ArrayFile>,
    centroids: Option<ArrayFile>,
    model: Option<AtomicFile>,
    plot: Option<AtomicFile>,
    top: Option<TopFiles>,
}

impl Outputs {
    fn create(arguments: &Kmeans) -> Result<Self, Failure> {
        let labels = arguments.labels.as_ref().filter(|path| !output::is_stdout(Some(path)));
        output::probe("--checkpoint", arguments.checkpoint.as_ref())?;
        Ok(Self {
            labels: ArrayFile::create("--labels", labels)?,
            centroids: ArrayFile::create("--centroids", arguments.centroids.as_ref())?,
            model: match &arguments.model {
                Some(path) => Some(output::create_any("--model", path)?),
                None => None,
            },
            plot: arguments.plot.as_ref().map(|path| output::create("--plot", path, "svg")).transpose()?,
            top: TopFiles::create(&arguments.top, arguments.n_clusters)?,
        })
    }

    /// Writes everything, then lets all files appear.
    fn finish(
        self,
        arguments: &Kmeans,
        device: &Device,
        fit: &Fit,
        table: &Table,
        read_seconds: f64,
    ) -> Result<(), Failure> {
        let mut files = Vec::new();
        if let Some(top) = self.top {
            files.extend(top.write(&fit.model, device, table.points(), &process::interrupt())?);
        }
        if let Some(file) = self.labels {
            files.push(file.write(fit.labels.view())?);
        }
        if let Some(file) = self.centroids {
            files.push(file.write(fit.model.centroids().view())?);
        }
        if let Some(file) = self.model {
            fit.model.ask_for_bytes()?;
            files.push(output::write("--model", file, &fit.model.to_bytes())?);
        }
        if let Some(file) = self.plot {
            files.push(output::write("--plot", file, plot::draw(fit, &table.points())?.as_bytes())?);
        }
        output::flush(&mut files)?;
        if output::is_stdout(arguments.labels.as_ref()) {
            output::print(|stdout| fit.labels.iter().try_for_each(|label| writeln!(stdout, "{label}")))?;
        }
        if arguments.run.json {
            let object = summary::as_json(fit, table, read_seconds);
            output::print(|stdout| writeln!(stdout, "{object:#}"))?;
        }
        output::commit(files)?;
        if !arguments.run.json && !arguments.run.quiet {
            // Where stderr is closed there is nobody to tell.
            let _ = std::io::stderr().write_all(summary::as_text(fit, table, read_seconds).as_bytes());
        }
        Ok(())
    }
}
