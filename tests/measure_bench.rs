//! `tilefold bench` and `tilefold compare` as their users see them.

use serde_json::Value;

use crate::cli::{as_str, run, succeed, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

/// A few seconds of every workload, also on software adapters.
const TINY: [&str; 10] = ["--n", "40", "--d", "9", "--k", "5", "--reps", "2", "--format", "json"];

#[test]
fn help_texts_are_the_snapshots() {
    for subcommand in ["bench", "compare"] {
        let output =
            tilefold().args([subcommand, "--help"]).env("COLUMNS", "100").output().expect("a command");
        assert!(output.status.success() && output.stderr.is_empty());
        insta::assert_snapshot!(format!("help_{subcommand}"), text(&output.stdout));
    }
}

/// Every workload on a device that `--device` names, as JSON.
fn tiny(device: &str) -> Value {
    let output = succeed(&[&["bench", "--device", device, "-q"], &TINY[..]].concat());
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn every_workload_is_verified_and_timed(record: &Value) {
    assert_eq!(record["kind"], "bench");
    assert!(
        record["machine"]["threads"].as_u64() > Some(0)
            && record["roofs"]["fma_flops_per_second"].as_f64() > Some(0.0)
    );
    let runs = record["runs"].as_array().expect("runs");
    let names: Vec<&str> = runs.iter().filter_map(|run| run["workload"].as_str()).collect();
    assert_eq!(names, ["kmeans", "kmeans", "distance", "lora", "gemm"]);
    for run in runs {
        assert_eq!([&run["n"], &run["d"], &run["k"]], [40, 9, 5], "{run}");
        assert!(run.get("counters").is_none(), "nobody asked: {run}");
        let wall = &run["seconds"]["wall"];
        assert_eq!(wall["count"], 2, "{run}");
        let [min, median, max] = ["min", "median", "max"].map(|name| wall[name].as_f64().expect("a time"));
        assert!(0.0 < min && min <= median && median <= max, "{run}");
        assert!(run["gflops"].as_f64() > Some(0.0) && run["verified"]["checked"].as_u64() > Some(0), "{run}");
        if run["workload"] == "kmeans" {
            // One share per iteration; pairs of centroids may come on top of all rows times clusters.
            let products: Vec<f64> =
                run["products"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
            assert_eq!(Some(products.len() as u64), run["iterations"].as_u64(), "{run}");
            assert!(products.iter().all(|share| (0.0..2.0).contains(share)) && products[0] >= 1.0, "{run}");
        }
        let worst = run["verified"]["worst_share"].as_f64();
        assert_eq!(worst.is_none(), run["workload"] == "kmeans", "{run}");
        assert!(worst.is_none_or(|share| (0.0..=1.0).contains(&share)), "{run}");
    }
}

#[test]
fn the_cpu_is_measured() {
    every_workload_is_verified_and_timed(&tiny("cpu:2"));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn a_gpu_is_measured_with_the_same_bits() {
    let selector = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    let (gpu, cpu) = (tiny(selector.as_deref().unwrap_or("gpu")), tiny("cpu"));
    every_workload_is_verified_and_timed(&gpu);
    let fit = &gpu["runs"][0];
    assert!(fit["inertia"].is_f64());
    assert_eq!(fit["inertia"], cpu["runs"][0]["inertia"], "k-means gives the same bits on every device");
    for stage in ["labels", "sums", "upload", "init", "other"] {
        assert!(fit["seconds"]["stages"][stage].is_f64(), "{stage}: {fit}");
    }
    assert!(fit["seconds"]["kernel"].as_f64() > Some(0.0) && fit["seconds"]["compile"].as_f64() > Some(0.0));
    assert!(gpu["device"]["driver"].as_str().is_some_and(|driver| !driver.is_empty()));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn counters_say_what_the_last_repetition_asked_of_a_gpu() {
    let selector = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    let device = format!("{},cpu:1", selector.as_deref().unwrap_or("gpu"));
    let folder = Folder::new();
    let table = folder.path("b.md");
    let arguments =
        [&["bench", "--device", &device, "-q", "--counters", "-o", as_str(&table)], &TINY[..]].concat();
    let records: Value = serde_json::from_slice(&succeed(&arguments).stdout).expect("JSON");
    let runs = |record: usize| records[record]["runs"].as_array().expect("runs").clone();
    assert!(runs(1).iter().all(|run| run["counters"].is_null()), "a CPU has none");
    for run in runs(0) {
        let counters = &run["counters"];
        let count = |name: &str| counters[name].as_u64().unwrap_or_else(|| panic!("{name}: {run}"));
        let seconds = |name: &str| counters[name].as_f64().unwrap_or_else(|| panic!("{name}: {run}"));
        assert!(count("waits") >= 1 && count("submissions") >= 1 && count("dispatches") >= 1, "{run}");
        assert!(count("bind_groups") <= count("dispatches"), "{run}");
        assert!(count("answers") <= count("waits") && count("answers") <= count("submissions"), "{run}");
        assert_eq!(count("translations"), 0, "kernels were compiled before: {run}");
        let (total, median) = (seconds("host_seconds"), seconds("host_median_seconds"));
        assert_eq!(total > 0.0 && median > 0.0, count("answers") > 0, "{run}");
        if run["workload"] == "kmeans" {
            // 40 rows of 9 values go up once, 40 labels come back.
            assert!(count("uploaded_bytes") >= 4 * 40 * 9 && count("downloaded_bytes") >= 4 * 40, "{run}");
            assert!(count("small_writes") >= 1 && count("answers") >= 1, "{run}");
        }
    }
    let text = std::fs::read_to_string(&table).expect("a file");
    assert_eq!(text.matches("| small writes |").count(), 1, "a table for the GPU alone: {text}");
    assert_eq!(text.matches("| kmeans | blobs | f32 | 40 | 9 | 5 |").count(), 3, "{text}");
}

#[test]
fn lists_give_a_run_each_in_every_format() {
    let folder = Folder::new();
    let paths = ["b.md", "b.csv", "b.json", "b.jsonl"].map(|name| folder.path(name));
    let mut arguments =
        vec!["bench", "kmeans", "--device", "cpu:1,reference", "--n", "20,30", "--d", "3", "--k", "2,4"];
    arguments.extend(["--data", "uniform", "--reps", "1", "--iterations", "2", "-q", "--dtype", "f64"]);
    for path in &paths {
        arguments.extend(["-o", as_str(path)]);
    }
    let table = succeed(&arguments);
    let [md, csv, json, jsonl] = paths.each_ref().map(|path| std::fs::read_to_string(path).expect("a file"));
    assert_eq!(text(&table.stdout), md);
    assert_eq!(md.matches("| kmeans | uniform | f64 |").count(), 8, "{md}");
    assert_eq!(csv.lines().count(), 9, "{csv}");
    let records: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(records.as_array().map(Vec::len), Some(2), "one record per device");
    assert_eq!(records[1]["device"]["name"], "reference");
    let lines: Vec<Value> = jsonl.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|line| line["runs"].as_array().map(Vec::len) == Some(1)));
}

#[test]
fn wrong_arguments_end_with_one_line_and_code_2() {
    for (arguments, expected) in [
        (&["bench", "sorting"][..], "WORKLOAD"),
        (&["bench", "kmeans", "--n", "0"], "--n"),
        (&["bench", "kmeans", "--n", "5", "--k", "6"], "--k"),
        (&["bench", "kmeans", "--data", "digits"], "--data"),
        (&["bench", "kmeans", "--data", "mnist", "--d", "7"], "--d"),
        (&["bench", "distance", "--metric", "hamming"], "--metric"),
        (&["bench", "gemm", "--dtype", "f8"], "--dtype"),
        (&["bench", "lora", "--dtype", "f64"], "--dtype"),
        (&["bench", "gemm", "--reps", "0"], "--reps"),
        (&["bench", "--iterations", "3", "--converge"], "--converge"),
        (&["bench", "-o", "b.txt"], "--output"),
        (&["bench", "--format", "xml"], "--format"),
        (&["bench", "--device", "no such device"], "no such device"),
    ] {
        let output = run(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected) && message.lines().count() == 1, "{arguments:?}: {message}");
    }
}

#[test]
fn shapes_that_do_not_fit_name_their_bytes() {
    for arguments in [
        ["bench", "distance", "--n", "9000000000", "--k", "9000000000"],
        ["bench", "kmeans", "--n", "18446744073709551615", "--d", "18446744073709551615"],
        ["bench", "lora", "--n", "900000000000", "--d", "4096"],
    ] {
        let output = run(&[&arguments[..], &["--device", "cpu", "-q"]].concat());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(
            message.contains("needs ") && message.contains("the limit is ") && message.contains("bytes"),
            "{message}"
        );
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

/// Results of one k-means run with this median.
fn results(folder: &Folder, name: &str, median: f64, n: usize) -> String {
    let record = serde_json::json!({
        "tilefold": "0.1.0", "kind": "bench", "machine": {}, "device": { "name": "cpu" },
        "runs": [{
            "workload": "kmeans", "library": "tilefold 0.1.0", "n": n, "d": 2, "k": 3,
            "seconds": { "wall": { "median": median, "min": 0.9 * median, "max": 1.1 * median, "count": 5 } },
        }],
    });
    as_str(&folder.file(name, record.to_string())).to_owned()
}

#[test]
fn compare_ends_with_1_past_the_threshold_and_2_where_it_cannot() {
    let folder = Folder::new();
    let before = results(&folder, "a.json", 1.0, 10);
    let slower = results(&folder, "b.json", 1.08, 10);
    let other = results(&folder, "c.json", 1.0, 11);
    let corrupt = as_str(&folder.file("d.json", "{\"kind\": \"bench\", ")).to_owned();
    let foreign = as_str(&folder.file("e.json", "{\"kind\": \"recipe\"}")).to_owned();
    let code = |arguments: &[&str]| {
        let output = run(&[&["compare"], arguments].concat());
        (output.status.code(), text(&output.stdout).to_owned() + text(&output.stderr))
    };
    let (same, table) = code(&[&before, &before]);
    assert!(same == Some(0) && table.contains("1.000") && table.contains("1 runs compared"), "{table}");
    let (worse, table) = code(&[&before, &slower]);
    assert!(worse == Some(1) && table.contains("SLOWER") && table.contains("1.080"), "{table}");
    assert_eq!(code(&[&before, &slower, "--threshold", "10%"]).0, Some(0));
    assert_eq!(code(&[&slower, &before]).0, Some(0), "faster is not worse");
    for (file, expected) in [(&other, "BEFORE has too"), (&corrupt, "d.json"), (&foreign, "e.json")] {
        let (unusable, message) = code(&[&before, file]);
        assert!(unusable == Some(2) && message.contains(expected), "{message}");
    }
    assert_eq!(code(&[&before, "missing.json"]).0, Some(2));
    assert_eq!(code(&[&before, &before, "--threshold", "-1%"]).0, Some(2));
}
