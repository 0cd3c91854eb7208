//! The records in the order in which the page shows them.

use super::html;
use crate::record::{Candidate, Check, Record, Run, Runs};
use crate::words::grouped;

/// All results, by kind. Each run knows what it was measured on.
pub(super) struct Results<'a> {
    pub records: &'a [Record],
    pub bench: Vec<Measured<'a>>,
    pub peers: Vec<Measured<'a>>,
    pub tune: Vec<(&'a Record, &'a [Candidate])>,
    pub verify: Vec<(&'a Record, &'a [Check])>,
}

/// A run with what it was measured on.
#[derive(Clone, Copy)]
pub(super) struct Measured<'a> {
    pub record: &'a Record,
    pub run: &'a Run,
}

impl<'a> Results<'a> {
    pub fn new(records: &'a [Record]) -> Self {
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
    pub fn device(&self) -> String {
        html::device(&self.record.device)
    }

    /// Whether it left products out, so that its rate is no rate of arithmetic.
    pub fn has_pruned(&self) -> bool {
        self.run.products.iter().flatten().any(|&share| share < 0.99)
    }

    /// Rows, features and columns.
    pub fn shape(&self) -> String {
        let Run { n, d, k, .. } = self.run;
        format!("{} × {d}, k {k}", grouped(*n))
    }
}
