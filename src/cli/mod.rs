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
mod report;
mod summary;
mod top;
#[cfg(feature = "gpu")]
mod tune;
mod verify;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cancel::Cancel;
use args::{Arguments, Command};
use failure::{CANCELLED, Failure, USAGE};

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

/// Warnings of the library appear on stderr, unless the user wants silence.
fn show_warnings(quiet: bool) {
    if quiet {
        return;
    }
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .without_time()
        .finish();
    // The process has no other subscriber unless the caller of `main` set one: that one stays.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// A token that the first Ctrl-C sets; the second ends the process at once.
fn cancel_on_interrupt() -> Cancel {
    let cancel = Cancel::new();
    let token = cancel.clone();
    let installed = ctrlc::set_handler(move || {
        if token.is_cancelled() {
            std::process::exit(i32::from(CANCELLED));
        }
        token.cancel();
    });
    if let Err(error) = installed {
        // Ctrl-C then ends the process at once, as it does without a handler.
        tracing::debug!(%error, "no interrupt handler");
    }
    cancel
}
