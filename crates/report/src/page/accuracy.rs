//! What was verified, and how close results came to their bounds.

use std::collections::BTreeMap;

use super::html::{escape, section as html_section, table};
use super::results::{Measured, Results};
use crate::record::Verified;
use crate::words::grouped;

/// Runs of one kind on one device.
#[derive(Default)]
struct Kind<'a> {
    runs: Vec<Measured<'a>>,
}

impl Kind<'_> {
    /// The largest of what some runs have.
    fn largest(&self, of: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        self.runs.iter().filter_map(of).reduce(f64::max)
    }

    fn row(&self) -> Option<Vec<String>> {
        let first = self.runs.first()?;
        let verified =
            |part: fn(&Verified) -> u64| self.runs.iter().map(|it| part(&it.run.verified)).sum::<u64>();
        let bar = |share: f64| {
            let width = (100.0 * share).clamp(0.0, 100.0);
            format!("<span class=\"bar\"><i style=\"width:{width:.1}%\"></i></span>{:.1} %", 100.0 * share)
        };
        Some(vec![
            format!("{} {}", escape(&first.run.workload), escape(&first.run.data)),
            escape(&first.run.dtype),
            escape(&first.device()),
            self.runs.len().to_string(),
            format!("{} of {}", grouped(verified(|it| it.checked)), grouped(verified(|it| it.of))),
            self.largest(|it| it.run.verified.worst_share).map_or("labels equal".to_owned(), bar),
            self.largest(|it| it.run.rechecked)
                .map_or("–".to_owned(), |share| format!("{:.3} %", 100.0 * share)),
        ])
    }
}

pub(super) fn section(results: &Results) -> Option<String> {
    let mut kinds: BTreeMap<[&str; 4], Kind> = BTreeMap::new();
    for measured in &results.bench {
        let run = measured.run;
        let key = [measured.record.device.name.as_str(), &run.workload, &run.data, &run.dtype];
        kinds.entry(key).or_default().runs.push(*measured);
    }
    let rows: Vec<Vec<String>> = kinds.values().filter_map(Kind::row).collect();
    if rows.is_empty() {
        return None;
    }
    let columns = [
        "run",
        "type",
        "device",
        "#shapes",
        "#computed again in f64",
        "largest error / bound",
        "#most rows decided in f64",
    ];
    let words = "Each result was compared with its definition in f64 before it was timed: labels must be equal, values within a bound \
                 that is derived, not fitted. Rows decided in f64 are those whose nearest two centroids lie closer than the tile’s \
                 error bound.";
    Some(html_section("accuracy", "Accuracy", words, &table("table-accuracy", &columns, &rows)))
}
