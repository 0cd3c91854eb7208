//! Results of `tilefold bench` as text.

use std::path::Path;

use clap::ValueEnum;

use super::failure::{Failure, WORK};
use crate::measure::record::{Record, Run, Runs, Spread};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables of Markdown.
    Md,
    /// One line per run with a header.
    Csv,
    /// One object, or an array of one per device.
    Json,
    /// One object per run and line.
    Jsonl,
}

impl Format {
    /// The format that a file's name asks for.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let ending = path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("md") => Ok(Self::Md),
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some("jsonl") => Ok(Self::Jsonl),
            _ => Err(Failure::usage(
                "--output",
                "a name that ends in .md, .csv, .json or .jsonl",
                path.display(),
            )),
        }
    }
}

/// All records in one text.
pub(super) fn write_records(records: &[Record], format: Format) -> Result<String, Failure> {
    let failed = |error: serde_json::Error| Failure { message: format!("writing JSON: {error}"), code: WORK };
    match format {
        Format::Md => Ok(records.iter().map(markdown).collect::<Vec<_>>().join("\n")),
        Format::Csv => csv(records),
        Format::Json => {
            let text = match records {
                [record] => serde_json::to_string_pretty(record),
                records => serde_json::to_string_pretty(records),
            };
            Ok(text.map_err(failed)? + "\n")
        }
        Format::Jsonl => {
            let mut text = String::new();
            for record in records {
                for run in runs(record) {
                    let one = Record { runs: Runs::Bench(vec![run.clone()]), ..record.clone() };
                    text.push_str(&serde_json::to_string(&one).map_err(failed)?);
                    text.push('\n');
                }
            }
            Ok(text)
        }
    }
}

fn runs(record: &Record) -> &[Run] {
    match &record.runs {
        Runs::Bench(runs) | Runs::Peers(runs) => runs,
        _ => &[],
    }
}

/// The device's line, and a table of its runs.
fn markdown(record: &Record) -> String {
    let (machine, device) = (&record.machine, &record.device);
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("**{}**{}", device.name, if device.is_software { " (a driver on the CPU)" } else { "" }));
    let driver = if device.driver.is_empty() { String::new() } else { format!("driver {}, ", device.driver) };
    line(format!(
        "{driver}{}, {} threads, {}, {}; tilefold {} ({}), {}\n",
        machine.cpu, machine.threads, machine.simd, machine.os, record.tilefold, record.commit, record.date
    ));
    if let Some(roofs) = &record.roofs {
        line(format!(
            "Roofs: {:.1} GFLOP/s of multiply-adds, copy {:.1} GB/s, write {:.1} GB/s, launch {:.1} us\n",
            roofs.fma_flops_per_second / 1e9,
            roofs.copy_bytes_per_second / 1e9,
            roofs.write_bytes_per_second / 1e9,
            roofs.launch_seconds * 1e6
        ));
    }
    line("| workload | data | type | n | d | k | wall ms | min-max | kernel ms | upload ms | compile ms | GFLOP/s | of roof | verified | in f64 |".into());
    line("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|".into());
    let ms = |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{:.2}", 1e3 * seconds));
    let percent =
        |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.2} %", 100.0 * share));
    for run in runs(record) {
        let Spread { median, min, max, .. } = run.seconds.wall;
        line(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.2}-{:.2} | {} | {} | {} | {:.1} | {} | {} of {} | {} |",
            run.workload,
            run.data,
            run.dtype,
            run.n,
            run.d,
            run.k,
            ms(Some(median)),
            1e3 * min,
            1e3 * max,
            ms(run.seconds.kernel),
            ms(run.seconds.upload),
            ms(run.seconds.compile),
            run.gflops,
            percent(run.fma_share),
            run.verified.checked,
            run.verified.of,
            percent(run.rechecked),
        ));
    }
    if runs(record).iter().any(|run| run.counters.is_some()) {
        line(String::new());
        line("| workload | data | type | n | d | k | submissions | waits | KB up | KB down | buffers | small writes | bind groups | dispatches | templates | translations | host us | host ms in all |".into());
        line("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|".into());
    }
    for run in runs(record) {
        let Run { workload, data, dtype, n, d, k, counters: Some(counters), .. } = run else { continue };
        line(format!(
            "| {workload} | {data} | {dtype} | {n} | {d} | {k} | {} | {} | {:.1} | {:.1} | {} | {} | {} | {} | {} | {} | {:.1} | {:.3} |",
            counters.submissions,
            counters.waits,
            counters.uploaded_bytes as f64 / 1e3,
            counters.downloaded_bytes as f64 / 1e3,
            counters.buffers,
            counters.small_writes,
            counters.bind_groups,
            counters.dispatches,
            counters.templates,
            counters.translations,
            1e6 * counters.host_median_seconds,
            1e3 * counters.host_seconds,
        ));
    }
    text
}

const COLUMNS: [&str; 24] = [
    "device",
    "is_software",
    "workload",
    "library",
    "data",
    "dtype",
    "n",
    "d",
    "k",
    "iterations",
    "repetitions",
    "wall_median_s",
    "wall_min_s",
    "wall_max_s",
    "kernel_s",
    "upload_s",
    "compile_s",
    "flops",
    "bytes",
    "gflops",
    "fma_share",
    "verified",
    "rechecked",
    "inertia",
];

fn csv(records: &[Record]) -> Result<String, Failure> {
    let failed = |error: String| Failure { message: format!("writing CSV: {error}"), code: WORK };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(|error| failed(error.to_string()))?;
    let known = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for (record, run) in records.iter().flat_map(|record| runs(record).iter().map(move |run| (record, run))) {
        let seconds = &run.seconds;
        let fields: [String; 24] = [
            record.device.name.clone(),
            record.device.is_software.to_string(),
            run.workload.clone(),
            run.library.clone(),
            run.data.clone(),
            run.dtype.clone(),
            run.n.to_string(),
            run.d.to_string(),
            run.k.to_string(),
            run.iterations.map_or(String::new(), |count| count.to_string()),
            seconds.wall.count.to_string(),
            seconds.wall.median.to_string(),
            seconds.wall.min.to_string(),
            seconds.wall.max.to_string(),
            known(seconds.kernel),
            known(seconds.upload),
            known(seconds.compile),
            run.flops.to_string(),
            run.bytes.to_string(),
            run.gflops.to_string(),
            known(run.fma_share),
            run.verified.checked.to_string(),
            known(run.rechecked),
            known(run.inertia),
        ];
        writer.write_record(&fields).map_err(|error| failed(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}
