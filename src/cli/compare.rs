//! `tilefold compare`: the same runs in two files of results, and whether the second ones are slower.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::args::EXIT_CODES;
use super::failure::{Failure, USAGE, WORK};
use super::output;
use crate::measure::record::{Record, Run, Runs, Spread, ask_for_use, read};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Compare {
    /// Results before: JSON of tilefold bench or scripts/peers.
    pub before: PathBuf,

    /// Results after.
    pub after: PathBuf,

    /// A run whose median grew by more than this ends with exit code 1.
    #[arg(long, value_name = "P%", default_value = "5%", value_parser = percent, allow_negative_numbers = true)]
    pub threshold: f64,
}

/// A share from `5%` or `0.05`.
fn percent(text: &str) -> Result<f64, String> {
    let (digits, unit) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
    let share = digits.trim().parse::<f64>().ok().map(|number| number / unit);
    share
        .filter(|share| share.is_finite() && *share >= 0.0)
        .ok_or_else(|| "expected a share such as 5%".to_owned())
}

/// What makes two runs the same run: all but its times.
type Key = [String; 9];

/// Runs of a file with their keys.
fn runs(argument: &'static str, path: &Path) -> Result<Vec<(Key, Run)>, Failure> {
    let records: Vec<Record> = read(path).map_err(Failure::about(argument))?;
    ask_for_use("results to compare", &records)?;
    let mut all = Vec::new();
    for record in records {
        let (Runs::Bench(runs) | Runs::Peers(runs)) = record.runs else { continue };
        for run in runs {
            if !(run.seconds.wall.median > 0.0) {
                continue;
            }
            let library = run.library.split_whitespace().next().unwrap_or_default().to_owned();
            let sizes = [run.n, run.d, run.k].map(|size| size.to_string());
            let [n, d, k] = sizes;
            let words = [&run.workload, &run.data, &run.dtype].map(Clone::clone);
            let [workload, data, dtype] = words;
            let mode = run.mode.clone().unwrap_or_default();
            all.push(([record.device.name.clone(), library, workload, data, dtype, n, d, k, mode], run));
        }
    }
    if all.is_empty() {
        return Err(Failure::usage(argument, "results with timed runs", path.display()));
    }
    Ok(all)
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Compare) -> Result<(), Failure> {
    let before = runs("BEFORE", &arguments.before)?;
    let after = runs("AFTER", &arguments.after)?;
    // The first of runs with the same key counts.
    let by_key: HashMap<&Key, &Run> = before.iter().rev().map(|(key, run)| (key, run)).collect();
    let pairs: Vec<(&Key, &Run, &Run)> =
        after.iter().filter_map(|(key, after)| by_key.get(key).map(|&before| (key, before, after))).collect();
    if pairs.is_empty() {
        let message = "AFTER: expected a run that BEFORE has too, got none".to_owned();
        return Err(Failure { message, code: USAGE });
    }
    let most = 1.0 + arguments.threshold;
    let ratio = |before: &Spread, after: &Spread| after.median / before.median;
    output::print(|stdout| {
        writeln!(stdout, "{:>7}  {:>13}  {:>10}  {:>10}  run", "ratio", "spread", "before ms", "after ms")?;
        for (key, before, after) in &pairs {
            let (before, after) = (&before.seconds.wall, &after.seconds.wall);
            let value = ratio(before, after);
            let [device, library, workload, data, dtype, n, d, k, mode] = key;
            let mark = if value > most { "  SLOWER" } else { "" };
            writeln!(
                stdout,
                "{value:>7.3}  {:>6.3}-{:<6.3}  {:>10.3}  {:>10.3}  {library} {workload} {data} {dtype} {n} x {d}, k {k} {mode} on {device}{mark}",
                after.min / before.max,
                after.max / before.min,
                1e3 * before.median,
                1e3 * after.median,
            )?;
        }
        let missing = before.len().saturating_sub(pairs.len());
        let new = after.len() - pairs.len();
        writeln!(stdout, "{} runs compared, {missing} only before, {new} only after", pairs.len())
    })?;
    let slower = pairs
        .iter()
        .filter(|(_, before, after)| ratio(&before.seconds.wall, &after.seconds.wall) > most)
        .count();
    if slower > 0 {
        let message = format!(
            "{slower} of {} runs are slower by more than {:.1} %",
            pairs.len(),
            100.0 * arguments.threshold
        );
        return Err(Failure { message, code: WORK });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn shares_are_read_or_refused() {
        assert_eq!((percent("5%"), percent("0.1"), percent("0 %")), (Ok(0.05), Ok(0.1), Ok(0.0)));
        assert!(["", "%", "-1%", "nan", "inf%", "five"].iter().all(|text| percent(text).is_err()));
    }
}
