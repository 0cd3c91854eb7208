//! `tilefold lora`: what is done with adapters.

mod bench;
mod simulate;
mod simulate_args;
mod simulate_output;

use clap::{Args, Subcommand};

use super::failure::Failure;
use crate::cancel::Cancel;
use bench::Bench;
use simulate_args::Simulate;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Lora {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures batches of adapters on a device, with what its memory could do.
    Bench(Box<Bench>),
    /// Serves a trace of requests in virtual time and compares scheduling policies.
    Simulate(Box<Simulate>),
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Lora, cancel: &Cancel) -> Result<(), Failure> {
    match &arguments.command {
        Command::Bench(arguments) => bench::run(arguments, cancel),
        Command::Simulate(arguments) => simulate::run(arguments),
    }
}
