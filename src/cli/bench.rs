//! `tilefold bench`: workloads verified and timed on one or more devices.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::args::EXIT_CODES;
use super::bench_output::{Format, write_records};
use super::failure::Failure;
use super::output;
use crate::cancel::Cancel;
use crate::device::{Device, DeviceType, adapters};
use crate::distance::Metric;
use crate::error::Error;
use crate::measure::record::{Ceilings, Record, Run, Runs};
use crate::measure::{Benchmark, DataSet, DeviceFacts, Machine, Workload, now, roofs, run as measure};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Bench {
    /// kmeans, distance, lora, gemm [default: all].
    #[arg(value_name = "WORKLOAD")]
    pub workload: Vec<String>,

    /// Devices, as kmeans takes them [default: cpu, and the best GPU; a software driver only if named].
    #[arg(long, value_name = "D", value_delimiter = ',')]
    pub device: Vec<String>,

    /// Rows of X, or of the batch. A list gives one run for each.
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true)]
    pub n: Vec<usize>,

    /// Features.
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true)]
    pub d: Vec<usize>,

    /// Clusters, rows of Y, or the rank of the adapters.
    #[arg(long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true)]
    pub k: Vec<usize>,

    /// Rows of kmeans: blobs, clusters (blobs far apart), uniform, mnist, sift; the last two from TILEFOLD_DATA.
    #[arg(long, value_name = "SET", value_delimiter = ',', default_value = "blobs,uniform")]
    pub data: Vec<String>,

    /// Metric of distance.
    #[arg(long, value_name = "M", default_value = "sqeuclidean")]
    pub metric: String,

    /// f32, f64, f16 or bf16 [default: f32, f16 for lora].
    #[arg(long, value_name = "T", value_delimiter = ',')]
    pub dtype: Vec<String>,

    /// Iterations of kmeans.
    #[arg(long, value_name = "N", default_value_t = 10, allow_negative_numbers = true)]
    pub iterations: usize,

    /// Ends kmeans once no label changes, after 300 iterations at most.
    #[arg(long, conflicts_with = "iterations")]
    pub converge: bool,

    /// How often each run is timed [default: 5, 3 with --quick].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub reps: Option<usize>,

    /// Small shapes: all workloads within a minute.
    #[arg(long)]
    pub quick: bool,

    /// Also says what the last repetition asked of a GPU: submissions, waits, bytes, and what was made for it.
    #[arg(long)]
    pub counters: bool,

    /// Also writes the results: .md, .csv, .json or .jsonl. May be given several times.
    #[arg(short, long, value_name = "OUT")]
    pub output: Vec<PathBuf>,

    /// What goes to stdout: md, csv, json or jsonl [default: md].
    #[arg(long, value_name = "F")]
    pub format: Option<Format>,

    /// Says nothing on stderr.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Bench, cancel: &Cancel) -> Result<(), Failure> {
    let benchmarks = benchmarks(arguments)?;
    let machine = Machine::here();
    benchmarks.iter().try_for_each(|benchmark| benchmark.check(machine.free_memory_bytes))?;
    let files = arguments
        .output
        .iter()
        .map(|path| Ok((Format::of(path)?, output::create_any("--output", path)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    output::check_distinct(
        &[],
        &arguments.output.iter().map(|path| ("--output", Some(path))).collect::<Vec<_>>(),
    )?;
    let devices = devices(arguments)?;

    let mut records = Vec::new();
    for device in &devices {
        records.push(measure_all(arguments, device, &machine, &benchmarks, cancel)?);
    }
    for (format, file) in files {
        output::finish_text("--output", file, &write_records(&records, format)?)?;
    }
    let text = write_records(&records, arguments.format.unwrap_or(Format::Md))?;
    output::print(|stdout| stdout.write_all(text.as_bytes()))
}

fn measure_all(
    arguments: &Bench,
    device: &Device,
    machine: &Machine,
    benchmarks: &[Benchmark],
    cancel: &Cancel,
) -> Result<Record, Failure> {
    // Where no thread can be started, nothing else is said.
    device.host_pool()?;
    let facts = DeviceFacts::of(device);
    let say = |text: String| {
        if !arguments.quiet {
            // Where stderr is closed there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    let note = if facts.is_software { ", a driver on the CPU: its times say nothing of GPUs" } else { "" };
    say(format!("{}{note}", facts.name));
    let ceilings = Ceilings::from(&roofs(device)?);
    let mut runs: Vec<Run> = Vec::new();
    for benchmark in benchmarks {
        let mut run = measure(device, benchmark, &ceilings, cancel)?;
        run.counters = run.counters.filter(|_| arguments.counters);
        let Run { workload, data, dtype, n, d, k, seconds, .. } = &run;
        let wall = 1e3 * seconds.wall.median;
        say(format!(
            "  {workload} {data} {dtype}, {n} x {d}, k {k}: {wall:.2} ms, {:.1} GFLOP/s",
            run.gflops
        ));
        runs.push(run);
    }
    Ok(Record {
        tilefold: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("TILEFOLD_COMMIT").to_owned(),
        date: now(),
        machine: machine.clone(),
        device: facts,
        roofs: Some(ceilings),
        runs: Runs::Bench(runs),
    })
}

/// The devices that are named, or the CPU and the best hardware GPU.
fn devices(arguments: &Bench) -> Result<Vec<Device>, Failure> {
    if !arguments.device.is_empty() {
        return arguments.device.iter().map(|text| Ok(Device::select(text)?)).collect();
    }
    let mut devices = vec![Device::cpu()];
    let listed = adapters();
    let of_type = |kind| listed.iter().find(|adapter| adapter.device_type == kind);
    let best =
        [DeviceType::Discrete, DeviceType::Integrated, DeviceType::Virtual].into_iter().find_map(of_type);
    if let Some(adapter) = best {
        devices.push(Device::select(&format!("{}:{}", adapter.backend, adapter.backend_index))?);
    }
    Ok(devices)
}

/// Every combination of what was asked for.
fn benchmarks(arguments: &Bench) -> Result<Vec<Benchmark>, Failure> {
    let workloads = if arguments.workload.is_empty() {
        Workload::ALL.to_vec()
    } else {
        arguments.workload.iter().map(|text| text.parse()).collect::<Result<_, _>>()?
    };
    let sets = arguments.data.iter().map(|text| text.parse()).collect::<Result<Vec<DataSet>, _>>()?;
    let metric: Metric = arguments.metric.parse()?;
    if !Metric::GEOMETRIC.contains(&metric) {
        // Rows of other metrics would have to be drawn from their domains.
        let names = Metric::GEOMETRIC.map(Metric::name).join(", ");
        return Err(Error::parameter("metric", format!("one of {names}"), metric).into());
    }
    let mut all = Vec::new();
    for workload in workloads {
        let [n, d, k] = usual_shape(workload, arguments.quick);
        let or = |given: &[usize], usual: usize| if given.is_empty() { vec![usual] } else { given.to_vec() };
        let usual_dtype = if workload == Workload::Lora { "f16" } else { "f32" };
        let dtypes =
            if arguments.dtype.is_empty() { vec![usual_dtype.to_owned()] } else { arguments.dtype.clone() };
        let sets = if workload == Workload::Kmeans { &sets[..] } else { &[DataSet::Uniform] };
        for (&data, dtype) in sets.iter().flat_map(|set| dtypes.iter().map(move |dtype| (set, dtype))) {
            let known = if workload == Workload::Kmeans { data.features() } else { None };
            for &d in &or(&arguments.d, known.unwrap_or(d)) {
                for &n in &or(&arguments.n, n) {
                    for &k in &or(&arguments.k, k) {
                        all.push(Benchmark {
                            workload,
                            data,
                            metric,
                            n,
                            d,
                            k,
                            dtype: dtype.clone(),
                            iterations: if arguments.converge { 300 } else { arguments.iterations },
                            until_converged: arguments.converge,
                            repetitions: arguments.reps.unwrap_or(if arguments.quick { 3 } else { 5 }),
                        });
                    }
                }
            }
        }
    }
    Ok(all)
}

/// Rows, features and columns where nothing is asked for.
fn usual_shape(workload: Workload, is_quick: bool) -> [usize; 3] {
    match (workload, is_quick) {
        (Workload::Kmeans, false) => [100_000, 128, 256],
        (Workload::Kmeans, true) => [20_000, 64, 64],
        (Workload::Distance, false) => [4096, 128, 4096],
        (Workload::Distance, true) => [1024, 64, 1024],
        (Workload::Gemm, false) => [2048, 1024, 2048],
        (Workload::Gemm, true) => [512, 256, 512],
        (Workload::Lora, false) => [64, 4096, 16],
        (Workload::Lora, true) => [16, 1024, 16],
    }
}
