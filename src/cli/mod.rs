//! The `tilefold` command: arguments in, library calls, files and text out. Data goes to stdout, talk to stderr.

mod args;
mod bench;
mod bench_output;
mod compare;
mod devices;
mod distance;
mod failure;
mod input;
mod kmeans;
mod kmedoids;
mod kmedoids_summary;
mod lora;
mod metric;
mod neighbours;
mod output;
mod plot;
mod predict;
mod principal;
mod process;
mod report;
mod summary;
mod top;
#[cfg(feature = "gpu")]
mod tune;
mod verify;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

#[cfg(feature = "test-hooks")]
pub use lora::hooks;

use args::EXIT_CODES;
use failure::{Failure, USAGE};
use process::{cancel_on_interrupt, outlive_file_limits, show_warnings};

/// Clusters vectors on any GPU and on the CPU: labels equal to f64, the same bits on every device.
#[derive(Debug, Parser)]
#[command(name = "tilefold", version, after_help = EXIT_CODES, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the devices that work can run on.
    Devices(devices::Devices),
    /// Clusters the rows of a file with k-means.
    Kmeans(Box<kmeans::Kmeans>),
    /// Clusters the rows of a file, or the objects of a matrix of dissimilarities, around k of them.
    Kmedoids(Box<kmedoids::Kmedoids>),
    /// Labels the rows of a file with a model that kmeans saved.
    Predict(Box<predict::Predict>),
    /// Writes the matrix of all distances between the rows of two files, or of one.
    Distance(Box<distance::Distance>),
    /// Finds the nearest rows of a file, or all within a radius.
    Neighbours(Box<neighbours::Neighbours>),
    /// Works with LoRA adapters.
    Lora(lora::Lora),
    /// Verifies and times workloads on one or more devices.
    Bench(Box<bench::Bench>),
    /// Compares two files of results.
    Compare(compare::Compare),
    /// Checks that a device computes what is promised.
    Verify(verify::Verify),
    /// Draws results as one HTML page that needs no network.
    Report(report::Report),
    /// Measures which kernels are fastest on a GPU, and remembers them.
    #[cfg(feature = "gpu")]
    Tune(Box<tune::Tune>),
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    ExitCode::from(run_with(std::env::args_os()))
}

/// Runs the command with these arguments, of which the first is the command's own name, and returns its exit code.
pub fn run_with(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    outlive_file_limits();
    match run(arguments.command) {
        Ok(()) => 0,
        Err(failure) => {
            say(&failure.message);
            failure.code
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Kmeans(arguments) => {
            show_warnings(arguments.run.quiet);
            kmeans::run(&arguments, &cancel_on_interrupt())
        }
        Command::Kmedoids(arguments) => {
            show_warnings(arguments.run.quiet);
            kmedoids::run(&arguments, &cancel_on_interrupt())
        }
        Command::Predict(arguments) => {
            show_warnings(arguments.run.quiet);
            predict::run(&arguments, &cancel_on_interrupt())
        }
        Command::Distance(arguments) => {
            show_warnings(arguments.run.quiet);
            distance::run(&arguments, &cancel_on_interrupt())
        }
        Command::Neighbours(arguments) => {
            show_warnings(arguments.run.quiet);
            neighbours::run(&arguments, &cancel_on_interrupt())
        }
        Command::Lora(arguments) => lora::run(&arguments),
        Command::Bench(arguments) => {
            show_warnings(arguments.quiet);
            bench::run(&arguments, &cancel_on_interrupt())
        }
        Command::Compare(arguments) => compare::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Verify(arguments) => {
            show_warnings(arguments.run.quiet);
            verify::run(&arguments, &cancel_on_interrupt())
        }
        #[cfg(feature = "gpu")]
        Command::Tune(arguments) => {
            show_warnings(arguments.run.quiet);
            tune::run(&arguments, &cancel_on_interrupt())
        }
    }
}

/// Help and version go to stdout; what clap says of a wrong command line becomes one line.
fn refuse(error: &clap::Error) -> u8 {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A closed pipe is the reader's choice.
        let _ = error.print();
        return if error.use_stderr() { USAGE } else { 0 };
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    let words: Vec<&str> = first.split_whitespace().collect();
    say(&format!("{} (see tilefold --help)", words.join(" ")));
    USAGE
}

/// One line on stderr. Where stderr is closed there is nobody to tell.
fn say(message: &str) {
    let mut line = String::new();
    for c in message.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    let _ = writeln!(std::io::stderr(), "tilefold: error: {line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }
}
