//! The `tilefold` command as a child process.

use std::process::Command;

/// The command that cargo built, without arguments.
///
/// Cargo starts tests through its target runner, but not what tests start: `TILEFOLD_RUNNER` holds the same words
/// where `scripts/software-vulkan` set one up. What was tuned on this machine before, by any version, is not read:
/// tests depend on nothing in the user's cache folder.
pub fn tilefold() -> Command {
    let runner = std::env::var("TILEFOLD_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().chain([env!("CARGO_BIN_EXE_tilefold")]);
    let mut command = Command::new(words.next().expect("at least the command itself"));
    command.args(words).env("TILEFOLD_NO_TUNING_CACHE", "1");
    command
}
