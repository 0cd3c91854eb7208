//! `tilefold kmedoids`: reads points or dissimilarities, clusters, writes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;

use super::args::{EXIT_CODES, Read, Run, size};
use super::failure::Failure;
use super::metric::MetricParameters;
use super::output::{self, ArrayFile};
use super::{input, kmedoids_summary, process};
use crate::cancel::Cancel;
use crate::data::exact::check_exact;
use crate::data::{Table, read_vector_f64_with};
use crate::kmedoids::{Dissimilarities, Fit, Init, Method, Params, fit, fit_points};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Kmedoids {
    /// Rows to cluster, or with --precomputed a square matrix: .npy, .csv, .tsv, .txt, .fvecs, .bvecs, .ivecs, or IDX (also
    /// gzipped).
    pub input: PathBuf,

    /// Number of medoids, 1 to the number of rows; for dynmsc the largest one that is tried.
    #[arg(short = 'k', long, value_name = "K", allow_negative_numbers = true)]
    pub n_clusters: usize,

    /// Dissimilarity of two rows: any metric of distance but inner_product.
    #[arg(long, value_name = "M", default_value = "euclidean")]
    pub metric: String,

    /// INPUT is a matrix: row i, column j holds what object i costs where object j is its medoid.
    #[arg(long, conflicts_with_all = ["metric", "p", "weights", "variances", "inverse_covariance"])]
    pub precomputed: bool,

    #[command(flatten)]
    pub parameters: MetricParameters,

    /// How medoids are improved.
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = MethodName::Fasterpam)]
    pub method: MethodName,

    /// First medoids: random, build, lab, k-means++, heuristic, or a file that holds K row numbers, counted from 0.
    #[arg(long, value_name = "INIT", default_value = "random")]
    pub init: String,

    /// Most passes over all candidates, or best swaps of pam and pammedsil; 0 keeps the first medoids.
    #[arg(long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    pub max_iter: usize,

    /// Seed of all random draws.
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,

    /// Samples of clara [default: 5].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub samples: Option<usize>,

    /// Rows of a sample of clara [default: 40 + 2 K] or onebatch [default: 100 ln(K rows)].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub sample_size: Option<usize>,

    /// Searches of clarans from other first medoids [default: 2].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub searches: Option<usize>,

    /// Draws without improvement that end a search of clarans [default: 1.25 % of K (rows - K), at least 250].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub patience: Option<u64>,

    /// Fewest medoids that dynmsc tries [default: 2].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub fewest: Option<usize>,

    /// Most memory for the matrix of distances: beyond it they are made anew in each pass [default: half of what is free].
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub max_bytes: Option<u64>,

    /// Writes the label of each row: .npy (u32) or .csv, or - for stdout.
    #[arg(long, value_name = "OUT")]
    pub labels: Option<PathBuf>,

    /// Writes the row numbers of the medoids, one per cluster: .npy (u32) or .csv.
    #[arg(long, value_name = "OUT")]
    pub medoids: Option<PathBuf>,

    #[command(flatten)]
    pub read: Read,

    #[command(flatten)]
    pub run: Run,
}

/// The methods by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum MethodName {
    /// Takes every swap that lowers the loss at once; ends where none does.
    Fasterpam,
    /// Takes the best swap of all in each iteration; also fastpam1.
    #[value(alias = "fastpam1")]
    Pam,
    /// Labels, then the best medoid within each cluster, in turns.
    Alternating,
    /// pam on samples, the best of which is kept.
    Clara,
    /// Swaps drawn at random.
    Clarans,
    /// fasterpam whose loss is measured on a sample: memory for rows x sample.
    Onebatch,
    /// fasterpam for the medoid silhouette.
    Fastermsc,
    /// pam for the medoid silhouette; also fastmsc.
    #[value(alias = "fastmsc")]
    Pammedsil,
    /// fastermsc from K medoids down to the fewest: chooses their number.
    Dynmsc,
}

impl MethodName {
    /// The name as it is typed.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Kmedoids, cancel: &Cancel) -> Result<(), Failure> {
    check_files(arguments)?;
    let method = method(arguments)?;
    let device = input::device(&arguments.run)?;
    let begin = Instant::now();
    let table = input::table("INPUT", &arguments.input, &arguments.read)?;
    let mut params = Params::new(arguments.n_clusters)
        .method(method)
        .init(init(&arguments.init)?)
        .max_iter(arguments.max_iter)
        .seed(arguments.seed)
        .metric(arguments.parameters.read(&arguments.metric)?)
        .cancel(cancel.clone());
    params.max_bytes = arguments.max_bytes;
    let read_seconds = begin.elapsed().as_secs_f64();

    let labels = arguments.labels.as_ref().filter(|path| !output::is_stdout(Some(path)));
    let labels = ArrayFile::create("--labels", labels)?;
    let medoids = ArrayFile::create("--medoids", arguments.medoids.as_ref())?;
    let bar = progress(arguments);
    if arguments.precomputed {
        check_exact("dissimilarities", &table.points())?;
    }
    let fitted = if arguments.precomputed {
        fit(&device, Dissimilarities::from(table.points()), &params)
    } else {
        fit_points(&device, table.points(), &params)
    };
    bar.finish_and_clear();
    let fit = fitted?;
    finish(arguments, (labels, medoids), &fit, &table, read_seconds)
}

fn check_files(arguments: &Kmedoids) -> Result<(), Failure> {
    let labels = arguments.labels.as_ref().filter(|path| !output::is_stdout(Some(path)));
    if arguments.run.json && output::is_stdout(arguments.labels.as_ref()) {
        return Err(Failure::usage("--labels", "a file beside --json, which takes stdout", "-"));
    }
    let init = init_file(&arguments.init).map(Path::to_path_buf);
    let mut inputs = vec![("INPUT", Some(&arguments.input)), ("--init", init.as_ref())];
    inputs.extend(arguments.parameters.files());
    output::check_distinct(&inputs, &[("--labels", labels), ("--medoids", arguments.medoids.as_ref())])
}

/// The method with its own options; those of another one are refused.
fn method(arguments: &Kmedoids) -> Result<Method, Failure> {
    use MethodName::{Alternating, Clara, Clarans, Dynmsc, Fastermsc, Fasterpam, Onebatch, Pam, Pammedsil};
    let chosen = arguments.method;
    for (option, is_given, methods) in [
        ("--samples", arguments.samples.is_some(), &[Clara][..]),
        ("--sample-size", arguments.sample_size.is_some(), &[Clara, Onebatch]),
        ("--searches", arguments.searches.is_some(), &[Clarans]),
        ("--patience", arguments.patience.is_some(), &[Clarans]),
        ("--fewest", arguments.fewest.is_some(), &[Dynmsc]),
    ] {
        if is_given && !methods.contains(&chosen) {
            let names: Vec<String> = methods.iter().map(|method| method.name()).collect();
            let expected = format!("--method {} beside it", names.join(" or "));
            return Err(Failure::usage(option, &expected, chosen.name()));
        }
    }
    Ok(match chosen {
        Fasterpam => Method::FasterPam,
        Pam => Method::Pam,
        Alternating => Method::Alternating,
        Clara => Method::Clara { samples: arguments.samples.unwrap_or(5), size: arguments.sample_size },
        Clarans => {
            Method::Clarans { searches: arguments.searches.unwrap_or(2), patience: arguments.patience }
        }
        Onebatch => Method::OneBatch { size: arguments.sample_size },
        Fastermsc => Method::FasterMsc,
        Pammedsil => Method::PamMedSil,
        Dynmsc => Method::DynMsc { fewest: arguments.fewest.unwrap_or(2) },
    })
}

/// The file of first medoids, if that is what `--init` names.
fn init_file(text: &str) -> Option<&Path> {
    let names = ["random", "build", "lab", "k-means++", "heuristic"];
    (!names.contains(&text)).then(|| Path::new(text))
}

fn init(text: &str) -> Result<Init, Failure> {
    match text {
        "random" => return Ok(Init::Random),
        "build" => return Ok(Init::Build),
        "lab" => return Ok(Init::Lab),
        "k-means++" => return Ok(Init::PlusPlus),
        "heuristic" => return Ok(Init::Heuristic),
        _ => {}
    }
    if !Path::new(text).exists() {
        let expected = "random, build, lab, k-means++, heuristic or a file of row numbers";
        return Err(Failure::usage("--init", expected, format!("{text:?}")));
    }
    let numbers = read_vector_f64_with(text, &process::interrupt()).map_err(Failure::about("--init"))?;
    let whole = |&number: &f64| {
        // Up to here every whole number has an `f64`.
        let is_row = number >= 0.0 && number < 2.0_f64.powi(53) && number.fract() == 0.0;
        is_row.then_some(number as usize).ok_or_else(|| Failure::usage("--init", "whole row numbers", number))
    };
    Ok(Init::Given(numbers.iter().map(whole).collect::<Result<_, _>>()?))
}

/// A sign of life on stderr where that is a terminal, else nothing.
fn progress(arguments: &Kmedoids) -> ProgressBar {
    if arguments.run.json || arguments.run.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.set_message(format!("{} medoids, {}", arguments.n_clusters, arguments.method.name()));
    process::turn(&bar);
    bar
}

/// Writes everything, then lets all files appear.
fn finish(
    arguments: &Kmedoids,
    (labels, medoids): (Option<ArrayFile>, Option<ArrayFile>),
    fit: &Fit,
    table: &Table,
    read_seconds: f64,
) -> Result<(), Failure> {
    let mut files = Vec::new();
    if let Some(file) = labels {
        files.push(file.write(ndarray::aview1(&fit.labels))?);
    }
    if let Some(file) = medoids {
        // Rows are counted by labels of 32 bits.
        let rows: Vec<u32> = fit.medoids.iter().map(|&medoid| medoid as u32).collect();
        files.push(file.write(ndarray::aview1(&rows))?);
    }
    output::flush(&mut files)?;
    if output::is_stdout(arguments.labels.as_ref()) {
        output::print(|stdout| fit.labels.iter().try_for_each(|label| writeln!(stdout, "{label}")))?;
    }
    if arguments.run.json {
        let object = kmedoids_summary::as_json(arguments, fit, table, read_seconds);
        output::print(|stdout| writeln!(stdout, "{object:#}"))?;
    }
    output::commit(files)?;
    if !arguments.run.json && !arguments.run.quiet {
        let text = kmedoids_summary::as_text(arguments, fit, table, read_seconds);
        // Where stderr is closed there is nobody to tell.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    Ok(())
}
