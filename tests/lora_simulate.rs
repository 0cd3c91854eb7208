//! `tilefold lora simulate` as its users see it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;

use crate::cli::{as_str, names_in, run, succeed, text};
use crate::readers::Folder;
use crate::support::command::tilefold;

const SMALL: [&str; 6] = ["lora", "simulate", "--requests", "60", "--lengths", "uniform:8-40,1-40"];

fn json(arguments: &[&str]) -> Value {
    let output = succeed(&[&SMALL[..], &["--json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn help_text_is_the_snapshot() {
    let output = tilefold().args(["lora", "simulate", "--help"]).env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    insta::assert_snapshot!("help_lora_simulate", text(&output.stdout));
}

#[test]
fn each_policy_is_reported_and_a_seed_repeats() {
    let object = json(&["--ranks", "8,64", "--rate", "20"]);
    let policies = object["policies"].as_array().unwrap();
    let names: Vec<&str> = policies.iter().map(|report| report["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["fcfs", "punica", "fair", "few-adapters", "rank-aware"]);
    for report in policies {
        assert!(report["tokens_per_second"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["first_token_seconds"]["p99"].as_f64().unwrap() > 0.0, "{report}");
    }
    assert_eq!(object, json(&["--ranks", "8,64", "--rate", "20"]));
    assert_ne!(object, json(&["--ranks", "8,64", "--rate", "20", "--seed", "1"]));
    let lines = succeed(&SMALL).stdout;
    assert!(text(&lines).contains("60 requests to 8 adapters") && text(&lines).contains("\nrank-aware"));
}

#[test]
fn a_trace_and_measured_points_come_from_files_and_a_plot_goes_to_one() {
    let folder = Folder::new();
    let (trace, points, plot) =
        (folder.path("trace.csv"), folder.path("points.csv"), folder.path("policies.svg"));
    std::fs::write(&trace, "adapter,prompt_tokens,decode_steps,arrival_seconds\n0,10,2,0\n3,10,2,0\n")
        .unwrap();
    std::fs::write(&points, "rows,segments,total_rank_rows,total_rank,seconds\n1,1,16,16,0.001\n").unwrap();
    let output = succeed(&[
        "lora",
        "simulate",
        "--trace",
        as_str(&trace),
        "--lora-cost",
        as_str(&points),
        "--operators",
        "2",
        "--base-cost",
        "10,0,0,0",
        "--policy",
        "punica",
        "--plot",
        as_str(&plot),
        "--json",
    ]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&object["requests"], &object["adapters"]), (&Value::from(2), &Value::from(4)));
    // Three steps of one prefill less the overlap: 4 of 10 ms and twice 1 ms, after a copy.
    let seconds = object["policies"][0]["seconds"].as_f64().unwrap();
    assert!((0.048..0.06).contains(&seconds), "{seconds}");
    assert!(std::fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    assert_eq!(names_in(&folder), ["points.csv", "policies.svg", "trace.csv"]);
}

#[test]
fn the_table_has_both_costs_with_and_without_the_base_model() {
    let output = succeed(&[&SMALL[..], &["--table"]].concat());
    let lines = text(&output.stdout);
    assert_eq!(lines.matches("segmented").count(), 8, "{lines}");
    assert_eq!(lines.matches("\ndistinct").count(), 4, "{lines}");
    assert_eq!(lines.matches("\nbase  zero").count(), 1, "{lines}");
    assert_eq!(json(&["--table"])["rows"].as_array().unwrap().len(), 16);
}

#[test]
fn wrong_arguments_end_with_one_line_and_code_2() {
    let folder = Folder::new();
    let trace = folder.path("trace.csv");
    std::fs::write(&trace, "adapter\n1\n").unwrap();
    let wrong: [(&[&str], &str); 14] = [
        (&["--workload", "zipf"], "--workload"),
        (&["--rate", "0"], "--rate"),
        (&["--arrivals", "gamma", "--cv", "-1"], "--cv"),
        (&["--lengths", "fixed:10"], "--lengths"),
        (&["--lengths", "uniform:9-8,1-2"], "prompt_tokens"),
        (&["--base-cost", "1,2,3"], "--base-cost"),
        (&["--lora-cost", "none.csv"], "--lora-cost none.csv"),
        (&["--operators", "-1"], "--operators"),
        (&["--ranks", "100000"], "adapter 0"),
        (&["--devices", "0"], "--devices"),
        (&["--kv-tokens", "5"], "--kv-tokens"),
        (&["--most-adapters", "0"], "--most-adapters"),
        (&["--plot", "out.png"], "--plot"),
        (&["--table", "--ranks", "8,16"], "--ranks"),
    ];
    let begin = &["lora", "simulate", "--requests", "3"];
    let trace_file = ["lora", "simulate", "--trace", as_str(&trace)];
    let all = wrong.iter().map(|(arguments, word)| ([&begin[..], arguments].concat(), *word));
    for (arguments, word) in all.chain([(trace_file.to_vec(), "--trace")]) {
        let output = run(&arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.starts_with(&format!("tilefold: error: {word}")), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}
