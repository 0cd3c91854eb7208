//! Distances within the bounds that the slice promises.

use ndarray::Array2;

use super::battery::{Battery, Outcome, Planted};
use crate::data::Points;
use crate::distance::{Matrix, Metric, Params, between};
use crate::error::{Error, Result};
use crate::measure::data::uniform;
use crate::measure::products;
use crate::measure::record::Check;

pub(super) fn checks(battery: &Battery) -> Result<Vec<Check>> {
    // Rows of X, rows of Y, features; then what is done to the values.
    let shapes =
        [(1, 1, 1), (17, 33, 5), (64, 64, 64), (33, 65, 65), (7, 129, 129), (129, 5, 16), (40, 40, 200)];
    let changes: [(f32, f32); 5] = [(1.0, 0.0), (1.0, 1e4), (1e-12, 0.0), (1e12, 0.0), (1e-3, 1.0)];
    let cases: Vec<_> = shapes
        .into_iter()
        .map(|shape| (shape, (1.0, 0.0)))
        .chain(changes.into_iter().map(|change| ((31, 34, 70), change)))
        .collect();
    Metric::GEOMETRIC
        .into_iter()
        .map(|metric| {
            battery.check(
                &format!("{metric} within its bound"),
                cases.clone(),
                |((n, m, d), (scale, offset))| {
                    let [x, y] = [(n, 20), (m, 21)]
                        .map(|(rows, stream)| uniform(rows, d, stream).mapv(|value| value * scale + offset));
                    one(battery, metric, &x, &y)
                },
            )
        })
        .collect()
}

fn one(battery: &Battery, metric: Metric, x: &Array2<f32>, y: &Array2<f32>) -> Outcome {
    let params = Params::new(metric).cancel(battery.cancel.clone());
    let mut found = between(battery.device, x.view(), y.view(), &params)?.matrix;
    if let (Some(Planted::Distances), Matrix::F32(values)) = (battery.planted, &mut found)
        && let Some(value) = values.iter_mut().next()
    {
        *value += 1e-3 * value.abs().max(1.0);
    }
    let [x, y]: [Points; 2] = [x.view().into(), y.view().into()];
    match products::verify(battery.device, metric, [&x, &y], &found) {
        Err(Error::WrongResult { reason, .. }) => Ok(Some(reason)),
        outcome => outcome.map(|_| None),
    }
}
