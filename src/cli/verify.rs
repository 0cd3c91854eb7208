//! `tilefold verify`: does this device compute what is promised?

use clap::Args;

use super::args::{EXIT_CODES, Run};
use super::failure::{Failure, WORK};
use super::{input, output};
use crate::cancel::Cancel;
use crate::measure::record::{Check, Record, Runs};
use crate::measure::{DeviceFacts, Machine, Planted, now, verify};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Verify {
    #[command(flatten)]
    pub run: Run,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Verify, cancel: &Cancel) -> Result<(), Failure> {
    let device = input::device(&arguments.run)?;
    let checks = verify(&device, planted()?, cancel)?;
    let record = Record {
        tilefold: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("TILEFOLD_COMMIT").to_owned(),
        date: now(),
        machine: Machine::here(),
        device: DeviceFacts::of(&device),
        roofs: None,
        runs: Runs::Verify(checks.clone()),
    };
    if arguments.run.json {
        let text = serde_json::to_string_pretty(&record)
            .map_err(|error| Failure { message: format!("writing JSON: {error}"), code: WORK })?;
        output::print(|stdout| writeln!(stdout, "{text}"))?;
    } else {
        output::print(|stdout| {
            let facts = &record.device;
            writeln!(stdout, "{} {}", facts.name, facts.driver)?;
            checks.iter().try_for_each(|check| line(stdout, check))
        })?;
    }
    let failed = checks.iter().filter(|check| check.failure.is_some()).count();
    if failed > 0 {
        let message = format!("{failed} of {} checks failed on {}", checks.len(), record.device.name);
        return Err(Failure { message, code: WORK });
    }
    Ok(())
}

fn line(stdout: &mut dyn std::io::Write, check: &Check) -> std::io::Result<()> {
    let Check { name, cases, failure, seconds } = check;
    let verdict = if failure.is_none() { "pass" } else { "FAIL" };
    writeln!(stdout, "{verdict}  {cases:>4} cases {seconds:>7.2} s  {name}")?;
    failure.as_ref().map_or(Ok(()), |failure| writeln!(stdout, "      {failure}"))
}

/// The fault that a test plants.
fn planted() -> Result<Option<Planted>, Failure> {
    #[cfg(feature = "test-hooks")]
    if let Ok(name) = std::env::var("TILEFOLD_PLANT") {
        return match name.as_str() {
            "labels" => Ok(Some(Planted::Labels)),
            "distances" => Ok(Some(Planted::Distances)),
            "adapters" => Ok(Some(Planted::Adapters)),
            _ => Err(Failure::usage("TILEFOLD_PLANT", "labels, distances or adapters", name)),
        };
    }
    Ok(None)
}
