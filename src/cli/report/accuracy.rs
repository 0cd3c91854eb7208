//! What was verified, and how close results came to their bounds.

use super::Results;
use super::html::{escape, section as html_section, table};
use crate::cli::summary::grouped;

pub(super) fn section(results: &Results) -> Option<String> {
    if results.bench.is_empty() {
        return None;
    }
    let bar = |share: f64| {
        let width = (100.0 * share).clamp(0.0, 100.0);
        format!("<span class=\"bar\"><i style=\"width:{width:.1}%\"></i></span>{:.1} %", 100.0 * share)
    };
    let rows: Vec<Vec<String>> = results
        .bench
        .iter()
        .map(|measured| {
            let run = measured.run;
            let verified = &run.verified;
            vec![
                format!("{} {}", escape(&run.workload), escape(&run.data)),
                escape(&run.dtype),
                escape(&measured.shape()),
                escape(&measured.device()),
                format!("{} of {}", grouped(verified.checked), grouped(verified.of)),
                verified.worst_share.map_or("labels equal".to_owned(), bar),
                run.rechecked.map_or("–".to_owned(), |share| format!("{:.3} %", 100.0 * share)),
            ]
        })
        .collect();
    let columns = [
        "run",
        "type",
        "shape",
        "device",
        "#computed again in f64",
        "largest error / bound",
        "#rows decided in f64",
    ];
    let words = "Each result was compared with its definition in f64 before it was timed: labels must be equal, values within a bound \
                 that is derived, not fitted. Rows decided in f64 are those whose nearest two centroids lie closer than the tile’s \
                 error bound.";
    Some(html_section("accuracy", "Accuracy", words, &table("table-accuracy", &columns, &rows)))
}
