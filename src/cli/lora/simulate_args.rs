//! Arguments of `tilefold lora simulate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::args::{EXIT_CODES, size};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(in crate::cli) struct Simulate {
    /// Policies to compare.
    #[arg(long, value_name = "P", value_enum, value_delimiter = ',', default_values_t = PolicyName::ALL)]
    pub policy: Vec<PolicyName>,

    /// Distinct adapters on a device at most, for few-adapters.
    #[arg(long, value_name = "N", default_value_t = 8, allow_negative_numbers = true)]
    pub most_adapters: usize,

    /// Milliseconds that a decode step may take, for rank-aware [default: 1.2 times the base model's full batch].
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    pub target: Option<f64>,

    /// Compares the workloads of Punica instead: segmented and loop, with the base model and without.
    #[arg(long, conflicts_with_all = ["trace", "workload", "policy", "plot"])]
    pub table: bool,

    /// Draws throughput and tail latency of each policy.
    #[arg(long, value_name = "OUT.svg")]
    pub plot: Option<PathBuf>,

    /// Prints JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub requests: Requests,

    #[command(flatten)]
    pub machine: Machine,

    #[command(flatten)]
    pub costs: Costs,
}

/// Who asks for what, and when.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requests")]
pub(in crate::cli) struct Requests {
    /// A trace: CSV with the columns adapter, prompt_tokens, decode_steps, arrival_seconds and, if wanted, priority.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "requests", "adapters", "arrivals", "rate", "cv", "lengths"])]
    pub trace: Option<PathBuf>,

    /// distinct, uniform, skewed, identical, hotset, or power:ALPHA.
    #[arg(long, value_name = "W", default_value = "uniform")]
    pub workload: String,

    /// Number of requests.
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true)]
    pub requests: usize,

    /// Number of adapters [default: the workload's own].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub adapters: Option<usize>,

    /// When requests come.
    #[arg(long, value_name = "A", value_enum, default_value_t = ArrivalsName::Poisson)]
    pub arrivals: ArrivalsName,

    /// Requests per second.
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    pub rate: f64,

    /// Standard deviation of the gaps over their mean, for gamma: above 1 requests come in bursts.
    #[arg(long, value_name = "CV", default_value_t = 2.0, allow_negative_numbers = true)]
    pub cv: f64,

    /// Tokens: punica:MOST (prompt and answer together), fixed:PROMPT,ANSWER, or uniform:A-B,C-D.
    #[arg(long, value_name = "L", default_value = "punica:2048")]
    pub lengths: String,

    /// Ranks, dealt out to the adapters in turn.
    #[arg(long, visible_alias = "rank", value_name = "R", value_delimiter = ',', default_value = "16")]
    pub ranks: Vec<u32>,

    /// Seed of all random draws.
    #[arg(long, value_name = "S", default_value_t = 0, allow_negative_numbers = true)]
    pub seed: u64,
}

/// What serves them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Devices")]
pub(in crate::cli) struct Machine {
    /// Number of devices.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub devices: usize,

    /// Requests at once on a device.
    #[arg(long, value_name = "N", default_value_t = 32, allow_negative_numbers = true)]
    pub batch: usize,

    /// Tokens in a device's key-value cache.
    #[arg(long, value_name = "N", default_value_t = 65_536, allow_negative_numbers = true)]
    pub kv_tokens: u64,

    /// Bytes for adapters on a device; K, M, G are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = size, default_value = "8G", allow_negative_numbers = true)]
    pub cache_bytes: u64,

    /// Bytes per second of a copy to a device.
    #[arg(long, value_name = "BYTES", default_value_t = 27e9, allow_negative_numbers = true)]
    pub copy_rate: f64,

    /// Copies no adapter before its request is placed.
    #[arg(long)]
    pub no_prefetch: bool,

    /// Seconds that a request may be overtaken because its adapter finds no room.
    #[arg(long, value_name = "S", default_value_t = 2.0, allow_negative_numbers = true)]
    pub patience: f64,
}

/// What a step takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Costs")]
pub(in crate::cli) struct Costs {
    /// Base model: a100-7b (figures of Punica's paper), zero, or milliseconds per step, prefilled token, decoding
    /// request and cached token.
    #[arg(long, value_name = "a100-7b|zero|S,P,D,C", default_value = "a100-7b")]
    pub base_cost: String,

    /// Adapters: a100 (figures of Punica's paper for one operator), none, or a CSV file of measured points with the
    /// columns rows, segments, total_rank_rows, total_rank, seconds.
    #[arg(long, value_name = "a100|none|FILE", default_value = "a100")]
    pub lora_cost: String,

    /// How often a step does what was measured: 7 projections of 32 layers.
    #[arg(long, value_name = "N", default_value_t = 224.0, allow_negative_numbers = true)]
    pub operators: f64,

    /// Runs one launch pair per adapter instead of one for all.
    #[arg(long = "loop", conflicts_with = "table")]
    pub is_loop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ArrivalsName {
    AtOnce,
    Poisson,
    Gamma,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum PolicyName {
    Fcfs,
    Punica,
    Fair,
    FewAdapters,
    RankAware,
}

impl PolicyName {
    const ALL: [Self; 5] = [Self::Fcfs, Self::Punica, Self::Fair, Self::FewAdapters, Self::RankAware];
}
