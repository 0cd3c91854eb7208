//! A clustering around medoids in words and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::kmedoids::Kmedoids;
use super::summary::{grouped, plural, sizes};
use crate::data::Table;
use crate::kmedoids::Fit;

/// The JSON object.
pub(super) fn as_json(arguments: &Kmedoids, fit: &Fit, table: &Table, read_seconds: f64) -> Value {
    json!({
        "rows": table.rows(),
        "columns": table.columns(),
        "n_clusters": fit.medoids.len(),
        "metric": metric(arguments),
        "method": arguments.method.name(),
        "loss": fit.loss,
        "silhouette": fit.silhouette,
        "medoids": fit.medoids,
        "cluster_sizes": cluster_sizes(fit),
        "n_iter": fit.n_iter,
        "n_swaps": fit.n_swaps,
        "converged": fit.converged,
        "tried": fit.tried,
        "device": fit.device,
        "seconds": {
            "read": read_seconds,
            "matrix": fit.seconds.matrix,
            "init": fit.seconds.init,
            "improve": fit.seconds.improve,
        },
    })
}

/// The summary, several lines.
pub(super) fn as_text(arguments: &Kmedoids, fit: &Fit, table: &Table, read_seconds: f64) -> String {
    let (rows, columns) = (grouped(table.rows() as u64), grouped(table.columns() as u64));
    let element = table.element_type().name();
    let end = if fit.converged { "converged" } else { "did not converge" };
    let (n_iter, n_swaps) = (grouped(fit.n_iter as u64), grouped(fit.n_swaps as u64));
    let swaps = plural(fit.n_swaps, "swap");
    let seconds = &fit.seconds;
    let silhouette = fit.silhouette.map_or("none".to_owned(), |silhouette| format!("{silhouette:.6}"));
    let mut lines = vec![
        ("data", format!("{rows} x {columns} {element}, {}", metric(arguments))),
        ("device", fit.device.clone()),
        ("iterations", format!("{n_iter} of {}, {n_swaps} {swaps}, {end}", arguments.method.name())),
        ("loss", fit.loss.to_string()),
        ("silhouette", silhouette),
        ("clusters", sizes(&cluster_sizes(fit))),
    ];
    // Numbers are tried from the largest down.
    if let [(most, _), .., (fewest, _)] = fit.tried[..] {
        lines.push(("tried", format!("{fewest} to {most} clusters")));
    }
    lines.push((
        "seconds",
        format!(
            "read {read_seconds:.3}, matrix {:.3}, init {:.3}, improve {:.3}",
            seconds.matrix, seconds.init, seconds.improve
        ),
    ));
    let mut text = String::new();
    for (name, value) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<11} {value}");
    }
    text
}

/// The metric's own name, or that there was none.
fn metric(arguments: &Kmedoids) -> String {
    if arguments.precomputed {
        return "precomputed".to_owned();
    }
    let metric = arguments.metric.parse::<crate::distance::Metric>();
    metric.map_or_else(|_| arguments.metric.clone(), |metric| metric.name().to_owned())
}

fn cluster_sizes(fit: &Fit) -> Vec<u64> {
    let mut sizes = vec![0; fit.medoids.len()];
    for &label in &fit.labels {
        sizes[label as usize] += 1;
    }
    sizes
}
