//! Time of a distance matrix, per metric and device. A sample of every result is verified before it is timed.
//!
//!     cargo bench --bench distance                       the CPU path
//!     TILEFOLD_GPU=0 cargo bench --bench distance        also the adapter that this selects
//!
//! One element is one term of one sum: rows x rows x features.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use tilefold::Device;
use tilefold::distance::{Metric, Params, between, pairwise_into};

const ROWS: usize = 4000;

/// Made-up rows in [-1, 1): a multiplicative sequence is random enough here.
fn rows(depth: usize) -> Array2<f32> {
    let mut state = 1_u64;
    Array2::from_shape_simple_fn((ROWS, depth), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// Compares the first and last rows with the definition.
fn verify(metric: Metric, x: &Array2<f32>, found: &Array2<f32>) {
    for row in [0, 1, ROWS / 2, ROWS - 1] {
        let one = x.slice(ndarray::s![row..=row, ..]);
        let expected = between(&Device::reference(), one, x.view(), &Params::new(metric));
        let expected = expected.expect("the definition takes this input").matrix.into_f64();
        for (got, expected) in found.row(row).iter().zip(expected.row(0)) {
            let close = (f64::from(*got) - expected).abs() <= 1e-3 * expected.abs().max(0.1);
            assert!(close, "{metric}, row {row}: {got}, expected {expected}");
        }
    }
}

fn matrices(criterion: &mut Criterion) {
    let mut devices = vec![Device::cpu()];
    if let Ok(selector) = std::env::var("TILEFOLD_GPU") {
        devices.push(Device::select(&selector).expect("TILEFOLD_GPU names an adapter"));
    }
    for device in devices {
        for depth in [16, 128, 784] {
            let x = rows(depth);
            let mut out = Array2::zeros((ROWS, ROWS));
            let mut group = criterion.benchmark_group(format!("{}/{ROWS}x{depth}", device.name()));
            group.throughput(Throughput::Elements((ROWS * ROWS * depth) as u64)).sample_size(10);
            for metric in Metric::ALL {
                let params = Params::new(metric);
                let run = |out: &mut Array2<f32>| {
                    pairwise_into(&device, x.view(), &params, out.view_mut()).expect("good input")
                };
                run(&mut out);
                verify(metric, &x, &out);
                group.bench_function(metric.name(), |bencher| bencher.iter(|| black_box(run(&mut out))));
            }
        }
    }
}

criterion_group!(benches, matrices);
criterion_main!(benches);
