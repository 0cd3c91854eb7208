//! Batches of adapters, workload by workload. `measure` compares each with its definition in `f64` and counts its bytes
//! before it is timed here.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use ndarray::Array2;
use tilefold::Cancel;
use tilefold::lora::measure::{Measurement, measure, rates};
use tilefold::lora::serve::{TraceBuilder, Workload};
use tilefold::lora::{Adapter, Factors, Group, Module, Pool, PoolParams, Precision, Routes};

mod support;

const HIDDEN: usize = 4096;
const RANK: usize = 16;

fn benches(criterion: &mut Criterion) {
    for (name, device) in support::devices() {
        let rates = rates(&device).expect("rates");
        println!("{name}: copy {:.1} GB/s", rates.copy_bytes_per_second / 1e9);
        for rows in [1, 64, 512] {
            let mut group = criterion
                .benchmark_group(format!("{name}, {rows} rows, {HIDDEN} to {HIDDEN}, rank {RANK}, f16"));
            for workload in [Workload::Distinct, Workload::Uniform, Workload::Skewed, Workload::Identical] {
                let batch = Measurement {
                    workload,
                    rows,
                    adapters: None,
                    ranks: vec![RANK],
                    inputs: HIDDEN,
                    outputs: HIDDEN,
                    precision: Precision::F16,
                    repetitions: 1,
                };
                let measured = measure(&device, &batch, &Cancel::new()).expect("a batch within its bounds");
                group.throughput(Throughput::Bytes(measured.least_bytes));

                let trace = TraceBuilder::new(workload, rows).build().expect("a trace");
                let module = Module { name: "module".into(), inputs: HIDDEN, outputs: HIDDEN };
                let params = PoolParams::new(vec![Group::new("group", vec![module])]).weights(Precision::F16);
                let pool = Pool::new(&device, params).expect("a pool");
                let names: Vec<String> = (0..trace.adapters()).map(|slot| slot.to_string()).collect();
                for (slot, name) in names.iter().enumerate() {
                    let value = |row: usize, column: usize| {
                        f16::from_f32(((row * 31 + column * 7 + slot) % 61) as f32 / 1e3)
                    };
                    let a = Array2::from_shape_fn((RANK, HIDDEN), |(row, column)| value(row, column));
                    let b = Array2::from_shape_fn((HIDDEN, RANK), |(row, column)| value(row, column));
                    let factors = Factors::new(a.view(), b.view(), 1.0).expect("factors");
                    pool.register(name, Adapter::single("module", factors)).expect("an adapter that fits");
                }
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let lease = pool.lease(&names).expect("room for all");
                let routes = Routes::of_slots(trace.requests().iter().map(|request| Some(request.adapter)));
                let step = lease.step(&routes).expect("a step");
                let x = Array2::from_elem((rows, HIDDEN), f16::from_f32(0.25));
                let mut y = Array2::from_elem((rows, HIDDEN), f16::from_f32(0.0));
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
