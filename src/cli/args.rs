//! The command line's grammar.

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bench::Bench;
use super::compare::Compare;
use super::kmedoids::Kmedoids;
use super::lora::Lora;
use super::metric::MetricParameters;
use super::neighbours::Neighbours;
use super::report::Report;
#[cfg(feature = "gpu")]
use super::tune::Tune;
use super::verify::Verify;

pub(super) const EXIT_CODES: &str = "\
Data goes to stdout, everything else to stderr. Files appear when all is done, or not at all.

Exit codes:
  0    success (also when the reader of stdout closed it)
  1    a device or the file system failed while working
  2    bad input or usage
  130  interrupted by Ctrl-C";

/// Clusters vectors on any GPU and on the CPU: labels equal to f64, the same bits on every device.
#[derive(Debug, Parser)]
#[command(name = "tilefold", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 100)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Lists the devices that work can run on.
    Devices(Devices),
    /// Clusters the rows of a file with k-means.
    Kmeans(Box<Kmeans>),
    /// Clusters the rows of a file, or the objects of a matrix of dissimilarities, around k of them.
    Kmedoids(Box<Kmedoids>),
    /// Labels the rows of a file with a model that kmeans saved.
    Predict(Box<Predict>),
    /// Writes the matrix of all distances between the rows of two files, or of one.
    Distance(Box<Distance>),
    /// Finds the nearest rows of a file, or all within a radius.
    Neighbours(Box<Neighbours>),
    /// Works with LoRA adapters.
    Lora(Lora),
    /// Verifies and times workloads on one or more devices.
    Bench(Box<Bench>),
    /// Compares two files of results.
    Compare(Compare),
    /// Checks that a device computes what is promised.
    Verify(Verify),
    /// Draws results as one HTML page that needs no network.
    Report(Report),
    /// Measures which kernels are fastest on a GPU, and remembers them.
    #[cfg(feature = "gpu")]
    Tune(Box<Tune>),
}

#[derive(Debug, Args)]
pub(super) struct Devices {
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
}

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

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Predict {
    /// Rows to label, in the formats of kmeans.
    pub input: PathBuf,

    /// A model that kmeans saved.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,

    /// Where the label of each row goes: .npy (u32) or .csv, or - for stdout [default: - without --json].
    #[arg(long, value_name = "OUT")]
    pub labels: Option<PathBuf>,

    #[command(flatten)]
    pub top: Top,

    #[command(flatten)]
    pub read: Read,

    #[command(flatten)]
    pub run: Run,
}

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

/// How input files are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(super) struct Read {
    /// Columns to use, counted from 0: A..B is A to B-1.
    #[arg(long, value_name = "A..B", value_parser = column_range)]
    pub columns: Option<Range<usize>>,

    /// What separates the fields of a text file: one character, or tab [default: found in the first line].
    #[arg(long, value_name = "C", value_parser = delimiter)]
    pub delimiter: Option<u8>,

    /// Whether the first line of a text file holds names [default: if it holds no number].
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    pub header: Option<YesNo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum YesNo {
    Yes,
    No,
}

/// Where work runs and what is said.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(super) struct Run {
    /// auto, cpu, cpu:THREADS, reference, gpu, or an adapter: index, vulkan:0, PCI bus id, part of its name.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,

    /// Threads of the CPU path and of the host's part of GPU work [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<usize>,

    /// Largest window of rows that a GPU sees at once; K, M, G are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub window_bytes: Option<u64>,

    /// GPU memory to use at most; K, M, G are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub memory_budget: Option<u64>,

    /// Prints the result as JSON on stdout instead of a summary on stderr.
    #[arg(long)]
    pub json: bool,

    /// Prints no summary, progress or warnings.
    #[arg(long, short)]
    pub quiet: bool,
}

fn column_range(text: &str) -> Result<Range<usize>, String> {
    let bounds = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    bounds.ok_or_else(|| "expected A..B, such as 0..128".to_owned())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        b"space" => Ok(b' '),
        [byte] => Ok(*byte),
        _ => Err("expected one ASCII character, tab or space".to_owned()),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 10),
        Some(b'm') => (&text[..text.len() - 1], 20),
        Some(b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "expected a number of bytes such as 64M".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn values_are_parsed_or_refused() {
        assert_eq!(column_range("3..10"), Ok(3..10));
        assert!(["3", "..", "3..", "-1..3", "3-4", "a..b"].iter().all(|text| column_range(text).is_err()));
        assert_eq!((delimiter(";"), delimiter("tab"), delimiter("\\t")), (Ok(b';'), Ok(9), Ok(9)));
        assert!(["", ";;", "é"].iter().all(|text| delimiter(text).is_err()));
        assert_eq!((size("5"), size("2k"), size("1G")), (Ok(5), Ok(2048), Ok(1 << 30)));
        assert!(["", "0", "-1", "k", "1T", "99999999999G"].iter().all(|text| size(text).is_err()));
    }
}
