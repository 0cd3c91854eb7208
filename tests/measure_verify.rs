//! `tilefold verify` passes on devices that are right, and reports each planted fault.

use serde_json::Value;

use crate::cli::text;
use crate::support::command::tilefold;

fn checks(device: &str, planted: Option<&str>) -> (Option<i32>, Vec<Value>, String) {
    let mut command = tilefold();
    command.args(["verify", "--json", "--device", device]);
    if let Some(planted) = planted {
        command.env("TILEFOLD_PLANT", planted);
    }
    let output = command.output().expect("a command");
    let record: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(record["kind"], "verify");
    let checks = record["runs"].as_array().expect("checks").clone();
    (output.status.code(), checks, text(&output.stderr).to_owned())
}

fn failures(checks: &[Value]) -> Vec<&str> {
    checks
        .iter()
        .filter(|check| !check["failure"].is_null())
        .filter_map(|check| check["name"].as_str())
        .collect()
}

fn all_pass(device: &str) {
    let (code, checks, errors) = checks(device, None);
    assert_eq!(failures(&checks), Vec::<&str>::new(), "{checks:?}");
    assert!(code == Some(0) && errors.is_empty(), "{errors}");
    assert!(
        checks.len() >= 15 && checks.iter().all(|check| check["cases"].as_u64() >= Some(2)),
        "{checks:?}"
    );
}

#[test]
fn help_text_is_the_snapshot() {
    let output = tilefold().args(["verify", "--help"]).env("COLUMNS", "100").output().expect("a command");
    assert!(output.status.success() && output.stderr.is_empty());
    insta::assert_snapshot!("help_verify", text(&output.stdout));
}

#[test]
fn the_cpu_and_the_reference_pass() {
    all_pass("cpu");
    all_pass("cpu:3");
    all_pass("reference");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn the_gpu_passes() {
    let selector = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    all_pass(selector.as_deref().unwrap_or("gpu"));
}

#[test]
#[cfg(feature = "test-hooks")]
fn planted_faults_are_reported() {
    for (planted, least, words) in
        [("labels", 1, "near ties"), ("distances", 6, "within"), ("adapters", 3, "adapters")]
    {
        let (code, checks, errors) = checks("cpu", Some(planted));
        let failed = failures(&checks);
        assert!(
            failed.len() >= least && failed.iter().any(|name| name.contains(words)),
            "{planted}: {failed:?}"
        );
        let is_other = |name: &&str| (planted == "labels") == name.contains("within");
        assert!(!failed.iter().any(is_other), "{planted}: {failed:?}");
        assert_eq!(code, Some(1), "{planted}");
        assert!(errors.contains("checks failed on cpu") && errors.lines().count() == 1, "{errors}");
    }
}
