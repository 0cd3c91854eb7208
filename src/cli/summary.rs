//! A fit in words and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};
pub(super) use tilefold_report::{grouped, plural};

use crate::data::Table;
use crate::kmeans::Fit;

/// Sizes are listed one by one up to this many clusters.
const LISTED_SIZES: usize = 24;

/// The JSON object of a fit.
pub(super) fn as_json(fit: &Fit, table: &Table, read_seconds: f64) -> Value {
    let history: Vec<f64> = fit.history.iter().map(|iteration| iteration.inertia).collect();
    let products: Vec<u64> = fit.history.iter().map(|iteration| iteration.products).collect();
    json!({
        "rows": table.rows(),
        "columns": table.columns(),
        "n_clusters": fit.cluster_sizes.len(),
        "inertia": fit.inertia,
        "n_iter": fit.n_iter,
        "converged": fit.converged,
        "device": fit.device,
        "cluster_sizes": fit.cluster_sizes,
        "screened": fit.screened,
        "rechecked": fit.rechecked,
        "history": history,
        "products": products,
        "seconds": {
            "read": read_seconds,
            "upload": fit.seconds.upload,
            "init": fit.seconds.init,
            "iterate": fit.seconds.iterate,
        },
    })
}

/// The summary of a fit, several lines.
pub(super) fn as_text(fit: &Fit, table: &Table, read_seconds: f64) -> String {
    let (rows, columns) = (grouped(table.rows() as u64), grouped(table.columns() as u64));
    let (element, seconds) = (table.element_type().name(), &fit.seconds);
    let end = if fit.converged { "converged" } else { "did not converge" };
    let rechecked = format!("{:.3} % of the rows, in f64", 100.0 * fit.rechecked);
    let rechecked = match fit.screened {
        0.0 => rechecked,
        screened => {
            let again = 100.0 * (1.0 - screened - fit.rechecked);
            format!("{again:.3} % of the rows after the screen, in f32; {rechecked}")
        }
    };
    let lines = [
        ("data", format!("{rows} x {columns} {element}")),
        ("device", fit.device.clone()),
        ("iterations", format!("{}, {end}", grouped(fit.n_iter as u64))),
        ("inertia", fit.inertia.to_string()),
        ("clusters", sizes(&fit.cluster_sizes)),
        ("rechecked", rechecked),
        (
            "seconds",
            format!(
                "read {read_seconds:.3}, upload {:.3}, init {:.3}, iterate {:.3}",
                seconds.upload, seconds.init, seconds.iterate
            ),
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<11} {value}");
    }
    text
}

/// How many clusters there are, and how large.
pub(super) fn sizes(sizes: &[u64]) -> String {
    let count = grouped(sizes.len() as u64);
    if sizes.len() <= LISTED_SIZES {
        let listed: Vec<String> = sizes.iter().map(|&size| grouped(size)).collect();
        return format!("{count} of sizes {}", listed.join(" "));
    }
    let mut sorted = sizes.to_vec();
    sorted.sort_unstable();
    let [smallest, median, largest] = [0, sorted.len() / 2, sorted.len() - 1].map(|at| grouped(sorted[at]));
    format!("{count}, smallest {smallest}, median {median}, largest {largest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sizes_are_condensed() {
        assert_eq!(sizes(&[3, 1]), "2 of sizes 3 1");
        let many: Vec<u64> = (1..=25).rev().collect();
        assert_eq!(sizes(&many), "25, smallest 1, median 13, largest 25");
    }
}
