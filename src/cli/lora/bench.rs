//! `tilefold lora bench`: what batches take on a device, with what its memory could do.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cancel::Cancel;
use crate::cli::args::Run;
use crate::cli::failure::Failure;
use crate::cli::{input, output};
use crate::lora::Precision;
use crate::measure::lora::{Measured, Measurement, Workload, measure};
use crate::measure::{Roofs, roofs};

/// Share of the measured copy rate that a batch is expected to reach.
const EXPECTED_SHARE: f64 = 0.6;

#[derive(Debug, Args)]
pub(in crate::cli) struct Bench {
    /// How rows spread over adapters: distinct, uniform, skewed, identical, hotset, power or power:ALPHA.
    #[arg(
        long,
        value_name = "W",
        value_delimiter = ',',
        default_value = "distinct,uniform,skewed,identical"
    )]
    pub workload: Vec<String>,

    /// Rows of a batch.
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32,64",
        allow_negative_numbers = true
    )]
    pub rows: Vec<usize>,

    /// Adapters of a batch, for workloads that have a choice [default: the workload's own].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub adapters: Option<usize>,

    /// Ranks, dealt out to the adapters in turn.
    #[arg(
        long,
        value_name = "R",
        value_delimiter = ',',
        default_value = "16",
        allow_negative_numbers = true
    )]
    pub rank: Vec<usize>,

    /// Features of x.
    #[arg(long, value_name = "N", default_value_t = 4096, allow_negative_numbers = true)]
    pub hidden: usize,

    /// Features of y.
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "4096,11008",
        allow_negative_numbers = true
    )]
    pub out: Vec<usize>,

    /// Type of weights and activations: f32, f16 or bf16.
    #[arg(long, value_name = "T", default_value = "f16")]
    pub dtype: String,

    /// How often each batch is timed.
    #[arg(long, value_name = "N", default_value_t = 9, allow_negative_numbers = true)]
    pub repetitions: usize,

    /// Writes the points for simulate --lora-cost: a CSV file with the columns rows, segments, total_rank_rows,
    /// total_rank, seconds.
    #[arg(long, value_name = "OUT.csv")]
    pub points: Option<PathBuf>,

    #[command(flatten)]
    pub run: Run,
}

/// One measured batch.
struct Line {
    workload: Workload,
    outputs: usize,
    measured: Measured,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Bench, cancel: &Cancel) -> Result<(), Failure> {
    let workloads =
        arguments.workload.iter().map(|text| text.parse()).collect::<Result<Vec<Workload>, _>>()?;
    let precision: Precision = arguments.dtype.parse()?;
    let device = input::device(&arguments.run)?;
    let points = match &arguments.points {
        Some(path) => Some(output::create("--points", path, "csv")?),
        None => None,
    };
    let roofs = roofs(&device)?;
    let mut lines = Vec::new();
    for &outputs in &arguments.out {
        for &workload in &workloads {
            for &rows in &arguments.rows {
                let batch = Measurement {
                    workload,
                    rows,
                    adapters: arguments.adapters,
                    ranks: arguments.rank.clone(),
                    inputs: arguments.hidden,
                    outputs,
                    precision,
                    repetitions: arguments.repetitions,
                };
                lines.push(Line { workload, outputs, measured: measure(&device, &batch, cancel)? });
            }
        }
    }
    if let Some(file) = points {
        output::finish_text("--points", file, &points_csv(&lines))?;
    }
    output::print(|stdout| {
        if arguments.run.json {
            return writeln!(stdout, "{:#}", as_json(arguments, &roofs, &lines));
        }
        print(stdout, arguments, &roofs, &lines)
    })
}

fn points_csv(lines: &[Line]) -> String {
    let mut text = String::from("rows,segments,total_rank_rows,total_rank,seconds\n");
    for line in lines {
        let Measured { rows, adapters, total_rank_rows, total_rank, seconds, .. } = line.measured;
        text.push_str(&format!("{rows},{adapters},{total_rank_rows},{total_rank},{seconds:e}\n"));
    }
    text
}

/// Seconds that reading and writing take at the expected share of the copy rate, and the launches.
fn allowed_seconds(roofs: &Roofs, measured: &Measured) -> f64 {
    let bytes = (measured.least_bytes + measured.written_bytes) as f64;
    bytes / (EXPECTED_SHARE * roofs.copy_bytes_per_second) + measured.launches as f64 * roofs.launch_seconds
}

fn as_json(arguments: &Bench, roofs: &Roofs, lines: &[Line]) -> Value {
    let line = |line: &Line| {
        let measured = &line.measured;
        json!({
            "workload": line.workload.name(),
            "out": line.outputs,
            "rows": measured.rows,
            "adapters": measured.adapters,
            "total_rank": measured.total_rank,
            "total_rank_rows": measured.total_rank_rows,
            "seconds": measured.seconds,
            "fastest_seconds": measured.range[0],
            "slowest_seconds": measured.range[1],
            "launches": measured.launches,
            "least_bytes": measured.least_bytes,
            "written_bytes": measured.written_bytes,
            "read_bytes": measured.read.map(|read| json!({
                "activations": read.activations,
                "weights": read.weights,
                "shrunk": read.shrunk,
                "tables": read.tables,
                "total": read.total(),
            })),
            "allowed_seconds": allowed_seconds(roofs, measured),
            "worst_share_of_bound": measured.worst_share,
        })
    };
    json!({
        "device": roofs.device,
        "is_software": roofs.is_software,
        "copy_bytes_per_second": roofs.copy_bytes_per_second,
        "launch_seconds": roofs.launch_seconds,
        "hidden": arguments.hidden,
        "ranks": arguments.rank,
        "dtype": arguments.dtype,
        "batches": lines.iter().map(line).collect::<Vec<Value>>(),
    })
}

fn print(stdout: &mut dyn Write, arguments: &Bench, roofs: &Roofs, lines: &[Line]) -> std::io::Result<()> {
    let ranks: Vec<String> = arguments.rank.iter().map(ToString::to_string).collect();
    writeln!(
        stdout,
        "{}: copy {:.1} GB/s, empty launch {:.1} us\n{} to y, rank {}, {}; every batch checked against its definition in f64",
        roofs.device,
        roofs.copy_bytes_per_second / 1e9,
        roofs.launch_seconds * 1e6,
        arguments.hidden,
        ranks.join(","),
        arguments.dtype
    )?;
    if roofs.is_software {
        writeln!(stdout, "a driver on the CPU: its times say nothing of GPUs, launches and bytes do")?;
    }
    writeln!(
        stdout,
        "\nworkload       y   rows  adapters  launches  least MB  read MB  read/least  time us  GB/s  of copy  of allowed"
    )?;
    for line in lines {
        let measured = &line.measured;
        let read = measured.read.map(|read| read.total());
        let share = |bytes: u64| bytes as f64 / measured.least_bytes as f64;
        let rate = (measured.least_bytes + measured.written_bytes) as f64 / measured.seconds;
        let times = if roofs.is_software {
            format!("{:>8} {:>5} {:>8} {:>11}", "-", "-", "-", "-")
        } else {
            format!(
                "{:>8.1} {:>5.0} {:>6.0} % {:>9.0} %",
                measured.seconds * 1e6,
                rate / 1e9,
                100.0 * rate / roofs.copy_bytes_per_second,
                100.0 * measured.seconds / allowed_seconds(roofs, measured)
            )
        };
        writeln!(
            stdout,
            "{:<10} {:>6} {:>6} {:>9} {:>9} {:>9.2} {:>8} {:>11} {times}",
            line.workload.name(),
            line.outputs,
            measured.rows,
            measured.adapters,
            if measured.launches == 0 { "-".into() } else { measured.launches.to_string() },
            measured.least_bytes as f64 / 1e6,
            read.map_or("-".into(), |bytes| format!("{:.2}", bytes as f64 / 1e6)),
            read.map_or("-".into(), |bytes| format!("{:.2}", share(bytes))),
        )?;
    }
    Ok(())
}
