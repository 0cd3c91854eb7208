//! The `tilefold` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tilefold::cli::main()
}
