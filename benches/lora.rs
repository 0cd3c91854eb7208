//! Batches of adapters, workload by workload, arrays in and out. Before a batch is timed, its first and last row are
//! compared with their definition in `f64`. `tilefold lora bench` times kernels alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use ndarray::Array2;
use tilefold::Device;
use tilefold::lora::{Adapter, Factors, Group, Lease, Module, Pool, PoolParams, Precision, Routes};
use tilefold::measure::lora::Workload;
use tilefold::measure::roofs;

mod support;

const HIDDEN: usize = 4096;
const RANK: usize = 16;
const X: f32 = 0.25;

/// Adapter number `slot`.
fn factors(slot: usize) -> Factors {
    let value = |row: usize, column: usize| f16::from_f32(((row * 31 + column * 7 + slot) % 61) as f32 / 1e3);
    let a = Array2::from_shape_fn((RANK, HIDDEN), |(row, column)| value(row, column));
    let b = Array2::from_shape_fn((HIDDEN, RANK), |(row, column)| value(row, column));
    Factors::new(a.view(), b.view(), 1.0).expect("factors")
}

/// Adapters `0..adapters` on `device`.
fn leased(device: &Device, adapters: usize) -> Lease {
    let module = Module { name: "module".into(), inputs: HIDDEN, outputs: HIDDEN };
    let params = PoolParams::new(vec![Group::new("group", vec![module])]).weights(Precision::F16);
    let pool = Pool::new(device, params).expect("a pool");
    let names: Vec<String> = (0..adapters).map(|slot| slot.to_string()).collect();
    for (slot, name) in names.iter().enumerate() {
        pool.register(name, Adapter::single("module", factors(slot))).expect("an adapter that fits");
    }
    pool.lease(&names.iter().map(String::as_str).collect::<Vec<_>>()).expect("room for all")
}

/// All terms are positive: sums are within some 1e-4 of their definition, and the result is rounded to f16.
#[track_caller]
fn verify(slots: &[u32], y: &Array2<f16>) {
    for row in [0, slots.len() - 1] {
        let factors = factors(slots[row] as usize);
        let sum = |i| (0..HIDDEN).map(|d| f64::from(X) * f64::from(factors.a(i, d))).sum::<f64>();
        let shrunk: Vec<f64> = (0..RANK).map(sum).collect();
        for j in 0..HIDDEN {
            let expected: f64 = (0..RANK).map(|i| shrunk[i] * f64::from(factors.b(j, i))).sum();
            let got = f64::from(y[(row, j)].to_f32());
            assert!(
                (got - expected).abs() <= 1e-3 * expected,
                "row {row}, output {j}: {got}, expected {expected}"
            );
        }
    }
}

fn benches(criterion: &mut Criterion) {
    for (name, device) in support::devices() {
        let roofs = roofs(&device).expect("roofs");
        println!("{name}: copy {:.1} GB/s", roofs.copy_bytes_per_second / 1e9);
        for rows in [1, 64, 512] {
            let mut group = criterion
                .benchmark_group(format!("{name}, {rows} rows, {HIDDEN} to {HIDDEN}, rank {RANK}, f16"));
            for workload in [Workload::Distinct, Workload::Uniform, Workload::Skewed, Workload::Identical] {
                let slots = workload.adapter_of_each(rows, None, 0).expect("adapters");
                let adapters = slots.iter().max().map_or(0, |&last| last as usize + 1);
                let lease = leased(&device, adapters);
                let step = lease.step(&Routes::of_slots(slots.iter().copied().map(Some))).expect("a step");
                let x = Array2::from_elem((rows, HIDDEN), f16::from_f32(X));
                let mut y = Array2::from_elem((rows, HIDDEN), f16::from_f32(0.0));
                step.apply(0, x.view(), &mut [y.view_mut()]).expect("a batch");
                verify(&slots, &y);
                group.throughput(Throughput::Bytes((2 * 2 * HIDDEN * (RANK * adapters + rows)) as u64));
                group.bench_function(workload.name(), |bencher| {
                    bencher.iter(|| step.apply(0, x.view(), &mut [y.view_mut()]).expect("a batch"));
                });
            }
            group.finish();
        }
    }
}

criterion_group!(lora, benches);
criterion_main!(lora);
