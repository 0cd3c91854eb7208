//! Distance matrices, metric by metric. Before a metric is timed every entry is compared with its formula in `f64`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, ArrayView1};
use tilefold::distance::{Metric, Params, between_into};

mod data;
mod support;

const ROWS: usize = 1000;
const OTHERS: usize = 700;
const COLUMNS: usize = 128;

/// The formula of a metric, in `f64`.
fn formula(metric: Metric, x: ArrayView1<f32>, y: ArrayView1<f32>) -> f64 {
    let pairs = || x.iter().zip(y).map(|(&x, &y)| (f64::from(x), f64::from(y)));
    let dot = |x: ArrayView1<f32>, y: ArrayView1<f32>| -> f64 {
        x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    match metric {
        Metric::SquaredEuclidean => pairs().map(|(x, y)| (x - y).powi(2)).sum(),
        Metric::Euclidean => pairs().map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt(),
        Metric::Cosine => 1.0 - dot(x, y) / (dot(x, x) * dot(y, y)).sqrt(),
        Metric::InnerProduct => dot(x, y),
        Metric::Manhattan => pairs().map(|(x, y)| (x - y).abs()).sum(),
        Metric::Chebyshev => pairs().map(|(x, y)| (x - y).abs()).fold(0.0, f64::max),
        other => panic!("{other} has no formula here: add it"),
    }
}

/// The bounds that the module `distance` states, for coordinates that are not negative: the widest relative one, and
/// an absolute one for cosine.
#[track_caller]
fn verify(name: &str, metric: Metric, x: &Array2<f32>, y: &Array2<f32>, got: &Array2<f32>) {
    let unit = f64::from(f32::EPSILON) / 2.0;
    let m = COLUMNS as f64 + 1.0;
    for ((row, column), &value) in got.indexed_iter() {
        let oracle = formula(metric, x.row(row), y.row(column));
        let bound =
            if metric == Metric::Cosine { (m + 8.0) * unit } else { 16.0 * (m + 3.0) * unit * oracle };
        let difference = (f64::from(value) - oracle).abs();
        assert!(difference <= bound, "{name}, {metric}, [{row}, {column}]: {value}, expected {oracle}");
    }
}

fn benches(criterion: &mut Criterion) {
    let x = data::blobs(ROWS, COLUMNS, 100);
    let y = data::blobs(OTHERS, COLUMNS, 70);
    for (name, device) in support::devices() {
        let mut group = criterion.benchmark_group(format!("{name}, {ROWS}x{OTHERS}x{COLUMNS}"));
        group.throughput(Throughput::Elements((ROWS * OTHERS) as u64));
        for metric in Metric::GEOMETRIC {
            let params = Params::new(metric);
            let mut matrix = Array2::from_elem((ROWS, OTHERS), f32::NAN);
            between_into(&device, x.view(), y.view(), &params, matrix.view_mut()).expect("distances");
            verify(name, metric, &x, &y, &matrix);
            group.bench_function(metric.name(), |bencher| {
                bencher.iter(|| {
                    between_into(&device, x.view(), y.view(), &params, matrix.view_mut()).expect("distances")
                });
            });
        }
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
