//! `tilefold report`: one HTML page without network from files of results.

mod accuracy;
mod html;
mod overview;
mod peers;
mod pruning;
mod roofline;
mod scale;
mod scaling;
mod stages;
mod svg;
mod tuning;

use std::path::PathBuf;

use clap::Args;

use super::args::EXIT_CODES;
use super::failure::Failure;
use super::output;
use crate::measure::record::{Candidate, Check, Record, Run, Runs, read};

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

/// All results, by kind. Each run knows what it was measured on.
pub(super) struct Results<'a> {
    records: &'a [Record],
    bench: Vec<Measured<'a>>,
    peers: Vec<Measured<'a>>,
    tune: Vec<(&'a Record, &'a [Candidate])>,
    verify: Vec<(&'a Record, &'a [Check])>,
}

/// A run with what it was measured on.
#[derive(Clone, Copy)]
struct Measured<'a> {
    record: &'a Record,
    run: &'a Run,
}

impl<'a> Results<'a> {
    fn new(records: &'a [Record]) -> Self {
        let mut results = Self { records, bench: vec![], peers: vec![], tune: vec![], verify: vec![] };
        for record in records {
            let measured = |runs: &'a [Run]| runs.iter().map(move |run| Measured { record, run });
            match &record.runs {
                Runs::Bench(runs) => results.bench.extend(measured(runs)),
                Runs::Peers(runs) => results.peers.extend(measured(runs)),
                Runs::Tune(candidates) => results.tune.push((record, candidates)),
                Runs::Verify(checks) => results.verify.push((record, checks)),
            }
        }
        results
    }
}

impl Measured<'_> {
    /// Its device in a few words.
    fn device(&self) -> String {
        html::device(&self.record.device)
    }

    /// Whether it left products out, so that its rate is no rate of arithmetic.
    fn has_pruned(&self) -> bool {
        self.run.products.iter().flatten().any(|&share| share < 0.99)
    }

    /// Rows, features and columns.
    fn shape(&self) -> String {
        let Run { n, d, k, .. } = self.run;
        format!("{} × {d}, k {k}", super::summary::grouped(*n))
    }
}

/// Runs the subcommand.
pub(super) fn run(arguments: &Report) -> Result<(), Failure> {
    let inputs: Vec<_> = arguments.results.iter().map(|path| ("RESULTS", Some(path))).collect();
    output::check_distinct(&inputs, &[("--output", Some(&arguments.output))])?;
    let mut records = Vec::new();
    for path in &arguments.results {
        records.extend(read(path).map_err(Failure::about("RESULTS"))?);
    }
    let file = output::create("--output", &arguments.output, "html")?;
    output::finish_text("--output", file, &page(&records))
}

/// The whole page.
fn page(records: &[Record]) -> String {
    let results = Results::new(records);
    let sections = [
        overview::machine(&results),
        peers::section(&results),
        roofline::section(&results),
        scaling::section(&results),
        stages::section(&results),
        accuracy::section(&results),
        pruning::section(&results),
        tuning::section(&results),
    ];
    let body: Vec<String> = sections.into_iter().flatten().collect();
    html::page(&overview::head(&results), &body.join("\n"))
}
