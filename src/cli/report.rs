//! `tilefold report`: one HTML page without network from files of results.

use std::path::PathBuf;

use clap::Args;

use super::args::EXIT_CODES;
use super::failure::{Failure, WORK};
use super::output;
use crate::measure::record::{ask_for_use, read};

#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Report {
    /// Results: JSON or JSON lines of bench, tune, verify and scripts/peers.
    #[arg(required = true, value_name = "RESULTS")]
    pub results: Vec<PathBuf>,

    /// Where the page goes.
    #[arg(short, long, value_name = "OUT.html")]
    pub output: PathBuf,
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Report) -> Result<(), Failure> {
    let inputs: Vec<_> = arguments.results.iter().map(|path| ("RESULTS", Some(path))).collect();
    output::check_distinct(&inputs, &[("--output", Some(&arguments.output))])?;
    let mut records = Vec::new();
    for path in &arguments.results {
        records.extend(read(path).map_err(Failure::about("RESULTS"))?);
    }
    ask_for_use("a page of the results", &records)?;
    let file = output::create("--output", &arguments.output, "html")?;
    let page = serde_json::to_value(&records).and_then(tilefold_report::page);
    let page = page.map_err(|error| Failure { message: format!("RESULTS: {error}"), code: WORK })?;
    output::finish_text("--output", file, &page)
}
