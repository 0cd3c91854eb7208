//! k-means: iterations, labels of new rows, first centroids. Before anything is timed its result is compared with the
//! reference device, which is plain loops in `f64`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, s};
use tilefold::Device;
use tilefold::kmeans::{self, Data, Fit, Init, Params};

mod data;
mod support;

const ROWS: usize = 10_000;
const COLUMNS: usize = 64;
const CLUSTERS: usize = 64;
const ITERATIONS: usize = 5;

/// From rows of the data, without a tolerance: the same work on every device.
fn params(points: &Array2<f32>) -> Params {
    let first = points.slice(s![..CLUSTERS, ..]).mapv(f64::from);
    Params::new(CLUSTERS).init(Init::Centroids(first)).max_iter(ITERATIONS).tol(0.0)
}

/// Labels and iterations must be the reference's, and the inertia but for the order of sums in `f64`.
#[track_caller]
fn verify(name: &str, got: &Fit, reference: &Fit) {
    assert_eq!(got.labels, reference.labels, "{name}: labels");
    assert_eq!(got.n_iter, reference.n_iter, "{name}: iterations");
    let difference = (got.inertia - reference.inertia).abs();
    assert!(difference <= 1e-9 * reference.inertia, "{name}: {} {}", got.inertia, reference.inertia);
}

fn benches(criterion: &mut Criterion) {
    let points = data::blobs(ROWS, COLUMNS, 100);
    let params = params(&points);
    let reference = kmeans::fit(&Device::reference(), points.view(), &params).expect("the data is valid");
    let size = format!("{ROWS}x{COLUMNS}, K {CLUSTERS}");
    for (name, device) in support::devices() {
        let data = Data::new(&device, points.view(), &params).expect("the data is valid");
        verify(name, &data.fit(&params).expect("a fit"), &reference);
        let predicted = reference.model.predict(&device, points.view()).expect("labels");
        assert_eq!(predicted.labels, reference.labels, "{name}: predict");

        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements((ROWS * CLUSTERS * ITERATIONS) as u64));
        group.bench_function(format!("{ITERATIONS} iterations, {size}"), |bencher| {
            bencher.iter(|| black_box(data.fit(&params).expect("a fit").inertia));
        });
        group.throughput(Throughput::Elements((ROWS * CLUSTERS) as u64));
        group.bench_function(format!("predict, {size}"), |bencher| {
            bencher.iter(|| black_box(reference.model.predict(&device, points.view()).expect("labels")));
        });
        group.finish();
    }
    first_centroids(criterion, &points);
}

/// Chosen on the host for every device.
fn first_centroids(criterion: &mut Criterion, points: &Array2<f32>) {
    let device = Device::cpu();
    let mut group = criterion.benchmark_group("first centroids and one iteration");
    for (name, init) in [("k-means++", Init::PlusPlus), ("k-means||", Init::Parallel)] {
        let params = Params::new(CLUSTERS).init(init).max_iter(1).seed(7);
        let reference = kmeans::fit(&Device::reference(), points.view(), &params).expect("the data is valid");
        verify(name, &kmeans::fit(&device, points.view(), &params).expect("a fit"), &reference);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(kmeans::fit(&device, points.view(), &params).expect("a fit").inertia));
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
