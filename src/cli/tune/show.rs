//! What was measured, as text and as JSON.

use std::io::Write;

use serde_json::{Value, json};

use super::Outcome;
use crate::cli::failure::{Failure, WORK};
use crate::cli::summary::grouped;
use crate::measure::record::{Candidate, Record, Runs};
use crate::measure::{DeviceFacts, Machine, now};
use crate::tile::choice::choose::Task;
use crate::tile::choice::tune::search::{Measured, Quality, Swept};

/// Candidates shown per problem; JSON has all.
const SHOWN: usize = 8;

fn problem(task: &Task) -> String {
    let Task { fold, rows, columns, depth } = task;
    format!("{} {} x {} x {depth}", fold.name(), grouped(*rows as u64), grouped(*columns as u64))
}

fn gflops(task: &Task, seconds: f64) -> f64 {
    2.0 * task.rows as f64 * task.columns as f64 * task.depth as f64 / seconds / 1e9
}

/// One line once a problem is done.
pub(super) fn progress(swept: &Swept) -> String {
    let Swept { task, measured, left_out } = swept;
    let wrong = measured.iter().filter(|one| !one.verified).count();
    format!(
        "{}: {} of {} candidates, {wrong} wrong",
        problem(task),
        measured.len(),
        measured.len() + left_out
    )
}

/// The record, as other measurements leave it, with what the model was worth.
pub(super) fn as_json(outcome: &Outcome) -> Result<Value, Failure> {
    let run = |swept: &Swept, one: &Measured| Candidate {
        workload: swept.task.fold.name().to_owned(),
        rows: swept.task.rows as u64,
        columns: swept.task.columns as u64,
        depth: swept.task.depth as u64,
        candidate: one.shape.to_string(),
        measured_seconds: one.seconds.unwrap_or(0.0),
        predicted_seconds: one.predicted,
        verified: one.verified,
        chosen: one.chosen,
    };
    let runs = outcome.swept.iter().flat_map(|swept| swept.measured.iter().map(move |one| run(swept, one)));
    let record = Record {
        tilefold: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("TILEFOLD_COMMIT").to_owned(),
        date: now(),
        machine: Machine::here(),
        device: DeviceFacts::of(&outcome.device),
        roofs: Some((&outcome.roofs).into()),
        runs: Runs::Tune(runs.collect()),
    };
    let mut value = serde_json::to_value(&record)
        .map_err(|error| Failure { message: format!("writing JSON: {error}"), code: WORK })?;
    value["left_out"] = outcome.swept.iter().map(|swept| swept.left_out).sum::<usize>().into();
    value["model"] =
        json!({ "before": outcome.before.map(quality_json), "fitted": outcome.after.map(quality_json) });
    value["cache"] = outcome.file.as_ref().map(|file| file.display().to_string()).into();
    Ok(value)
}

fn quality_json(quality: Quality) -> Value {
    json!({
        "median_error": quality.median_error,
        "largest_error": quality.largest_error,
        "median_regret": quality.median_regret,
        "largest_regret": quality.largest_regret,
        "median_static_regret": quality.median_static_regret,
        "largest_static_regret": quality.largest_static_regret,
    })
}

/// The fastest candidates of each problem, the chosen one marked, wrong ones last.
pub(super) fn print(stdout: &mut dyn Write, outcome: &Outcome) -> std::io::Result<()> {
    writeln!(
        stdout,
        "{}: multiply-adds {:.0} GFLOP/s, copy {:.1} GB/s, empty launch {:.1} us",
        outcome.gpu.name(),
        outcome.roofs.fma_flops_per_second / 1e9,
        outcome.roofs.copy_bytes_per_second / 1e9,
        outcome.roofs.launch_seconds * 1e6
    )?;
    if outcome.roofs.is_software {
        writeln!(stdout, "a driver on the CPU: its times say nothing of GPUs")?;
    }
    for swept in &outcome.swept {
        writeln!(
            stdout,
            "\n{:<44} {:>10} {:>9} {:>13}  verified",
            problem(&swept.task),
            "time ms",
            "GFLOP/s",
            "predicted ms"
        )?;
        for one in shown(swept) {
            let numbers = match one.seconds {
                Some(seconds) => {
                    format!("{:>10.3} {:>9.1}", 1e3 * seconds, gflops(&swept.task, seconds))
                }
                None => format!("{:>10} {:>9}", "refused", "-"),
            };
            writeln!(
                stdout,
                "{} {:<42} {numbers} {:>13.3}  {}",
                if one.chosen { "*" } else { " " },
                one.shape.to_string(),
                1e3 * one.predicted,
                if one.verified { "yes" } else { "NO" }
            )?;
        }
        let hidden = swept.measured.len() - shown(swept).len();
        if hidden + swept.left_out > 0 {
            writeln!(stdout, "  {hidden} slower ones, {} not measured for lack of time", swept.left_out)?;
        }
    }
    writeln!(stdout)?;
    for (when, quality) in [("before", outcome.before), ("fitted", outcome.after)] {
        if let Some(quality) = quality {
            writeln!(
                stdout,
                "model {when}: error {:.0} % (median), {:.0} % (largest); its choice takes {:.0} % (median), {:.0} % \
                 (largest) longer than the fastest",
                100.0 * quality.median_error,
                100.0 * quality.largest_error,
                100.0 * quality.median_regret,
                100.0 * quality.largest_regret
            )?;
        }
    }
    if let Some(quality) = outcome.before {
        writeln!(
            stdout,
            "without tuning: the choice takes {:.0} % (median), {:.0} % (largest) longer than the fastest",
            100.0 * quality.median_static_regret,
            100.0 * quality.largest_static_regret
        )?;
    }
    match &outcome.file {
        Some(file) => writeln!(stdout, "remembered in {}", file.display()),
        None => writeln!(stdout, "not remembered"),
    }
}

/// The fastest right ones, and all wrong ones.
fn shown(swept: &Swept) -> Vec<&Measured> {
    let mut right: Vec<&Measured> = swept.measured.iter().filter(|one| one.verified).collect();
    right.sort_by(|a, b| a.seconds.unwrap_or(f64::MAX).total_cmp(&b.seconds.unwrap_or(f64::MAX)));
    right.truncate(SHOWN);
    right.extend(swept.measured.iter().filter(|one| !one.verified));
    right
}
