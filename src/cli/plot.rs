//! `kmeans --plot`: which rows are drawn, and where they lie in the plane. The same fit gives the same picture on every
//! device.

use ndarray::{Array2, Axis};
use tilefold_report::{Clusters, draw_clusters};

use super::input::rows_as_f64;
use super::principal::Plane;
use crate::data::Points;
use crate::error::Result;
use crate::kmeans::Fit;
use crate::memory;

/// Rows drawn at most, evenly chosen.
const MOST_ROWS: usize = 10_000;
/// Elements of the drawn rows at most: 128 MiB in `f64`.
const MOST_ELEMENTS: usize = 1 << 24;

/// The picture of a fit of these points, as SVG.
pub(super) fn draw(fit: &Fit, points: &Points) -> Result<String> {
    let drawn = points.rows().min(MOST_ROWS).min((MOST_ELEMENTS / points.columns()).max(1));
    let chosen: Vec<usize> =
        (0..drawn).map(|at| (at as u128 * points.rows() as u128 / drawn as u128) as usize).collect();
    // Those rows, centred and not, the directions of the plane, and the centroids.
    let rows = chosen.len().saturating_mul(3).saturating_add(fit.model.n_clusters()).saturating_add(32);
    memory::ask("the rows of the plot", &[memory::area::<f64>(rows, points.columns())])?;
    let mut rows = rows_as_f64(points, &chosen)?;
    if fit.model.spherical() {
        scale_to_unit_length(&mut rows);
    }
    let plane = Plane::new(rows.view());
    Ok(draw_clusters(&Clusters {
        rows: points.rows(),
        columns: points.columns(),
        spots: plane.project(rows.view()),
        labels: chosen.iter().map(|&row| fit.labels[row] as usize).collect(),
        centres: plane.project(fit.model.centroids().view()),
        shares: &plane.shares,
        inertia: fit.inertia,
        history: fit.history.iter().map(|iteration| iteration.inertia).collect(),
        iterations: fit.n_iter,
        converged: fit.converged,
    }))
}

fn scale_to_unit_length(rows: &mut Array2<f64>) {
    for mut row in rows.axis_iter_mut(Axis(0)) {
        let peak = row.iter().fold(0.0_f64, |peak, value| peak.max(value.abs()));
        row /= peak;
        let length = row.dot(&row).sqrt();
        row /= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One column, equal rows, one cluster, more clusters than colours: whole elements, finite coordinates.
    #[test]
    fn every_shape_of_data_is_drawn() {
        for (rows, columns, k, step) in [(1, 1, 1, 1.0), (5, 3, 1, 0.0), (80, 1, 40, 1.0), (60, 2, 50, 1e300)]
        {
            let step = step / 100.0;
            let data = Array2::from_shape_fn((rows, columns), |(row, column)| {
                step * (row as f64 + 0.3 * (column * row * row % 7) as f64)
            });
            let params = crate::kmeans::Params::new(k);
            let fit = crate::kmeans::fit(&crate::Device::cpu(), data.view(), &params).expect("a fit");
            let page = draw(&fit, &Points::from(data.view())).expect("memory for a small page");
            assert!(page.starts_with("<svg") && page.ends_with("</svg>\n"));
            assert!(!page.contains("NaN") && !page.contains("inf\""), "{rows} x {columns}");
            let marks = page.matches("fill=\"#").count();
            assert!(marks > rows, "{marks} marks for {rows} rows");
        }
    }
}
