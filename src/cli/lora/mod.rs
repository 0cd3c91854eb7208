//! `tilefold lora`: what is done with adapters.

mod simulate;
mod simulate_args;
mod simulate_output;

use clap::{Args, Subcommand};

use super::failure::Failure;
use simulate_args::Simulate;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Lora {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves a trace of requests in virtual time and compares scheduling policies.
    Simulate(Box<Simulate>),
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Lora) -> Result<(), Failure> {
    match &arguments.command {
        Command::Simulate(arguments) => simulate::run(arguments),
    }
}
