//! `tilefold tune`, and that what it remembers changes no bit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::cli::{DIGITS, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

/// Runs the command with a cache folder of its own.
fn run(cache: &Path, arguments: &[&str]) -> Output {
    let device = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    let mut command = tilefold();
    command.args(arguments).env_remove("TILEFOLD_NO_TUNING_CACHE");
    if !arguments.contains(&"--device") && !arguments.contains(&"--help") {
        command.args(["--device", device.as_deref().unwrap_or("gpu")]);
    }
    for variable in ["XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"] {
        command.env(variable, cache);
    }
    command.env("COLUMNS", "100").output().unwrap()
}

/// The cache file that a run left.
fn cache_file(cache: &Path) -> Option<PathBuf> {
    let mut folders = vec![cache.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match (path.is_dir(), path.parent().unwrap().ends_with("tuning")) {
                (true, _) => folders.push(path),
                (false, true) => return Some(path),
                (false, false) => {}
            }
        }
    }
    None
}

const TINY: [&str; 9] = ["tune", "--n", "200", "--d", "64", "--k", "10", "--seconds", "2"];

#[test]
fn help_text_is_the_snapshot() {
    let output = run(Path::new("."), &["tune", "--help"]);
    assert!(output.status.success());
    insta::assert_snapshot!("help_tune", text(&output.stdout));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn candidates_are_measured_verified_and_remembered() {
    let folder = Folder::new();
    let (cache, file) = (folder.path("cache"), folder.path("tune.json"));
    std::fs::create_dir(&cache).unwrap();
    let output = run(&cache, &[&TINY[..], &["-o", file.to_str().unwrap()]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((record["kind"].as_str(), record["device"]["is_software"].is_boolean()), (Some("tune"), true));
    let runs = record["runs"].as_array().unwrap();
    for workload in ["nearest", "store"] {
        let own: Vec<&Value> = runs.iter().filter(|run| run["workload"] == workload).collect();
        assert!(own.len() >= 2, "{workload}: {}", own.len());
        assert_eq!(own.iter().filter(|run| run["chosen"] == true).count(), 1, "{workload}");
        for run in own {
            assert!(run["verified"] == true && run["measured_seconds"].as_f64().unwrap() > 0.0, "{run}");
            assert!(run["predicted_seconds"].as_f64().unwrap() > 0.0, "{run}");
            assert_eq!([&run["rows"], &run["columns"], &run["depth"]], [200, 10, 64]);
        }
    }
    assert!(record["model"]["before"]["median_error"].is_number(), "{}", record["model"]);
    let printed = text(&output.stdout);
    for words in ["GFLOP/s", "verified", "* ", "model before", "without tuning", "remembered in"] {
        assert!(printed.contains(words), "{words} is missing in {printed}");
    }
    assert!(text(&output.stderr).contains("candidates, 0 wrong"), "{}", text(&output.stderr));

    // A fit under what was remembered, without it, and under a damaged file: the same labels and centroids.
    let remembered = cache_file(&cache).unwrap();
    let fit = |cache: &Path, name: &str| {
        let (labels, centroids) = (folder.path(&format!("{name}.csv")), folder.path(&format!("{name}.npy")));
        let [labels_out, centroids_out] = [&labels, &centroids].map(|path| path.to_str().unwrap());
        let arguments = ["kmeans", DIGITS, "-k", "10", "--labels", labels_out, "--centroids", centroids_out];
        let output = run(cache, &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let read = [&labels, &centroids].map(|path| std::fs::read(path).unwrap());
        (read, text(&output.stderr).to_owned())
    };
    let (tuned, said) = fit(&cache, "tuned");
    assert!(!said.contains("tuning cache"), "{said}");
    let elsewhere = folder.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let (plain, said) = fit(&elsewhere, "plain");
    assert!(tuned == plain && !said.contains("tuning cache"), "{said}");

    let mut bytes = std::fs::read(&remembered).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&remembered, &bytes).unwrap();
    let (damaged, said) = fit(&cache, "damaged");
    assert!(
        damaged == plain && said.contains("tuning cache is not used") && said.contains("damaged"),
        "{said}"
    );
    assert_eq!(std::fs::read(&remembered).unwrap(), bytes, "a fit writes nothing");
    let output = run(&cache, &[&TINY[..], &["--workload", "nearest"]].concat());
    assert!(output.status.success() && text(&output.stderr).contains("damaged"), "{}", text(&output.stderr));
    assert_ne!(std::fs::read(&remembered).unwrap(), bytes, "tuning replaces the file");
    let (again, said) = fit(&cache, "again");
    assert!(again == plain && !said.contains("tuning cache"), "{said}");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn what_does_not_fit_is_refused_with_its_bytes() {
    let folder = Folder::new();
    let cache = folder.path("");
    let cases = [
        (vec!["tune", "--n", "4000000000", "--d", "4000", "--k", "2"], "needs 64000000000000 bytes"),
        (vec!["tune", "--n", "0", "--d", "4", "--k", "2"], "--n: expected 1 to"),
        (vec!["tune", "--n", "5", "--d", "5000000", "--k", "2"], "--d: expected 1 to 4194304"),
        (vec!["tune", "--seconds", "0"], "--seconds: expected more than 0"),
        (vec!["tune", "--device", "cpu"], "--device: expected a GPU"),
        (vec!["tune", "--n", "5"], "--d"),
        (vec!["tune", "--n", "9", "--d", "9", "--k", "9", "-o", "tune.txt"], "--output: expected a name"),
    ];
    for (arguments, expected) in cases {
        let output = run(&cache, &arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(cache_file(&cache), None, "nothing was measured");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn the_cache_can_be_switched_off() {
    let folder = Folder::new();
    let cache = folder.path("");
    let mut command = tilefold();
    command.args(TINY).args(["--workload", "nearest", "--device", "gpu", "--json"]);
    command.env("XDG_CACHE_HOME", &cache).env("TILEFOLD_NO_TUNING_CACHE", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(record["cache"].is_null() && !record["runs"].as_array().unwrap().is_empty());
    assert_eq!(cache_file(&cache), None);
}
