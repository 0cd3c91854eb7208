//! Measured batches: what the kernels count, and `tilefold lora bench` as its users see it.

use tilefold::lora::Precision;
use tilefold::measure::lora::{Measured, Measurement, Workload, measure};
use tilefold::{Cancel, Device};

use crate::cli::{run, succeed, text};
use crate::readers::Folder;
use crate::support::backends::on_every_backend;
use crate::support::command::tilefold;

const SMALL: [&str; 14] = [
    "lora",
    "bench",
    "--hidden",
    "512",
    "--out",
    "256",
    "--rows",
    "1,8",
    "--rank",
    "4,8",
    "--repetitions",
    "2",
    "--device",
    "cpu",
];

on_every_backend!(a_batch_is_described_and_checked);

fn measured(device: &Device, workload: Workload, rows: usize) -> Measured {
    let batch = Measurement {
        workload,
        rows,
        adapters: None,
        ranks: vec![16],
        inputs: 1024,
        outputs: 1024,
        precision: Precision::F16,
        repetitions: 1,
    };
    measure(device, &batch, &Cancel::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn a_batch_is_described_and_checked(device: &Device) {
    let measured = measured(device, Workload::Distinct, 4);
    let Measured { rows, adapters, total_rank, total_rank_rows, seconds, .. } = measured;
    assert_eq!((rows, adapters, total_rank, total_rank_rows), (4, 4, 64, 64));
    assert_eq!(measured.least_bytes, 2 * (64 * 2048 + 4 * 2048));
    assert_eq!(measured.written_bytes, 2 * 4 * 1024);
    assert!(seconds > 0.0 && measured.worst_share > 0.0 && measured.worst_share <= 1.0, "{measured:?}");
}

/// Weights, x and y once each, and a tenth more at most for what lies between the products and for the page table.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn kernels_read_little_more_than_they_must() {
    let device = crate::support::backends::gpu();
    for (workload, rows) in [
        (Workload::Distinct, 1),
        (Workload::Distinct, 32),
        (Workload::Uniform, 9),
        (Workload::Uniform, 64),
        (Workload::Skewed, 32),
        (Workload::Identical, 8),
    ] {
        let measured = measured(&device, workload, rows);
        let read = measured.read.expect("kernels count on a GPU");
        assert_eq!(measured.launches, 2, "{workload:?}, {rows} rows");
        assert!(read.total() * 10 <= measured.least_bytes * 11, "{workload:?}, {rows} rows: {measured:?}");
        // Each at least once: a count that misses loads would pass the line above.
        let weights = 2 * measured.total_rank * 2048;
        let activations = 2 * measured.rows * 2048;
        assert!(read.weights >= weights && read.activations >= activations, "{measured:?}");
    }
}

#[test]
fn help_text_is_the_snapshot() {
    let output =
        tilefold().args(["lora", "bench", "--help"]).env("COLUMNS", "100").output().expect("a command");
    assert!(output.status.success() && output.stderr.is_empty());
    insta::assert_snapshot!("help_lora_bench", text(&output.stdout));
}

#[test]
fn points_go_from_bench_to_simulate() {
    let folder = Folder::new();
    let points = folder.path("points.csv");
    let path = points.to_str().expect("a path in Unicode");
    let output = succeed(&[&SMALL[..], &["--points", path]].concat());
    let table = text(&output.stdout);
    assert!(
        ["distinct", "uniform", "skewed", "identical"].iter().all(|name| table.contains(name)),
        "{table}"
    );
    let written = std::fs::read_to_string(&points).expect("a file of points");
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!((lines.len(), lines[0]), (9, "rows,segments,total_rank_rows,total_rank,seconds"));
    assert!(lines[2].starts_with("8,8,48,48,"), "{written}");
    let simulated = succeed(&[
        "lora",
        "simulate",
        "--table",
        "--lora-cost",
        path,
        "--requests",
        "20",
        "--base-cost",
        "100,1,1,0",
    ]);
    assert!(text(&simulated.stdout).contains("times what was measured in"));
}

#[test]
fn wrong_arguments_end_with_one_line_and_code_2() {
    for (arguments, expected) in [
        (["--rows", "0"], "--rows"),
        (["--repetitions", "18446744073709551615"], "--repetitions"),
        (["--rank", "513"], "--rank"),
        (["--hidden", "0"], "--hidden"),
        (["--out", "99999999999"], "--out"),
        (["--dtype", "f64"], "--dtype"),
        (["--workload", "many"], "--workload"),
        (["--points", "points.txt"], "--points"),
    ] {
        let output = run(&[&["lora", "bench", "--device", "cpu"], &arguments[..]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected) && message.lines().count() == 1, "{arguments:?}: {message}");
    }
}
