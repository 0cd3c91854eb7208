//! `tilefold lora`: what is done with adapters.

mod apply;
mod bench;
mod folder;
#[cfg(feature = "test-hooks")]
pub mod hooks;
mod inspect;
mod routes;
mod simulate;
mod simulate_args;
mod simulate_files;
mod simulate_output;
mod slots;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::process::{cancel_on_interrupt, show_warnings};
use apply::Apply;
use bench::Bench;
use inspect::Inspect;
use simulate_args::Simulate;

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Lora {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what an adapter's folder holds.
    Inspect(Inspect),
    /// Applies one module's updates to the rows of a file, each row with its own adapters.
    Apply(Box<Apply>),
    /// Measures batches of adapters on a device, with what its memory could do.
    Bench(Box<Bench>),
    /// Serves a trace of requests in virtual time and compares scheduling policies.
    Simulate(Box<Simulate>),
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Lora) -> Result<(), Failure> {
    match &arguments.command {
        Command::Inspect(arguments) => {
            show_warnings(arguments.quiet);
            inspect::run(arguments)
        }
        Command::Apply(arguments) => {
            show_warnings(arguments.run.quiet);
            apply::run(arguments, &cancel_on_interrupt())
        }
        Command::Bench(arguments) => {
            show_warnings(arguments.run.quiet);
            bench::run(arguments, &cancel_on_interrupt())
        }
        Command::Simulate(arguments) => simulate::run(arguments),
    }
}
