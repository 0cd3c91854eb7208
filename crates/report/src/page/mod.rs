//! One HTML page without network from records.

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

use serde_json::Value;

use crate::record::{Candidate, Check, Record, Run, Runs};
use crate::words::grouped;

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
        format!("{} × {d}, k {k}", grouped(*n))
    }
}

/// The page of an array of at least one record, as `tilefold bench`, `tune`, `verify` and `scripts/peers` write them.
///
/// # Errors
/// Says what is no record, or that there is none.
pub fn page(records: Value) -> serde_json::Result<String> {
    let records: Vec<Record> = serde_json::from_value(records)?;
    if records.is_empty() {
        return Err(serde::de::Error::invalid_length(0, &"at least one record"));
    }
    let results = Results::new(&records);
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
    Ok(html::page(&overview::head(&results), &body.join("\n")))
}
