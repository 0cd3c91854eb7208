//! How fast the CPU path is, beside what memory gives. Run with
//! `cargo test --release --lib lora::cpu::speed -- --ignored --nocapture`.

use std::hint::black_box;
use std::time::Instant;

use ndarray::Array2;
use rayon::prelude::*;

use super::tests::{Prepared, array, noise, operands, prepare};
use super::*;
use crate::lora::factors::{Factors, Sizes};
use crate::lora::reference;
use crate::lora::routes::Routes;
use crate::lora::values::{Precision, Values};

/// Weights of all layers together: beyond any cache.
const BYTES: usize = 1 << 30;

/// GB/s of a sum over values that no cache holds.
fn bandwidth() -> f64 {
    let all = vec![1.0_f32; BYTES / 4];
    let sum = |part: &[f32]| {
        let mut lanes = [0.0_f32; 64];
        for chunk in part.as_chunks::<64>().0 {
            for lane in 0..64 {
                lanes[lane] += chunk[lane];
            }
        }
        lanes.iter().sum::<f32>()
    };
    let best = (0..5).map(|_| {
        let start = Instant::now();
        black_box(all.par_chunks(1 << 18).map(sum).sum::<f32>());
        start.elapsed().as_secs_f64()
    });
    BYTES as f64 / best.fold(f64::MAX, f64::min) / 1e9
}

/// A step of many layers: seconds per layer (median of 5 steps), and the bytes of weights in each.
fn layers(
    precision: Precision,
    adapters: usize,
    rows: usize,
    [rank, inputs, outputs]: [usize; 3],
) -> [f64; 2] {
    let bytes = adapters * rank * (inputs + outputs) * precision.size_bytes();
    let count = (BYTES / bytes).clamp(1, 100);
    let block: Vec<f32> = (0..1 << 16).map(|index| noise(1, index)).collect();
    let values = |seed: usize, count: usize| {
        let values = block.iter().cycle().skip(seed * 37 % block.len()).take(count).copied();
        Values::new(values.collect::<Vec<f32>>()).cast(precision)
    };
    let slots = |layer: usize| -> Vec<Option<Factors>> {
        let slot = |slot| {
            let seed = layer * adapters + slot;
            let (a, b) = (values(seed, rank * inputs), values(seed + 7, rank * outputs));
            Some(Factors::from_values(Sizes { rank, inputs, outputs }, a, b, 0.01).unwrap())
        };
        (0..adapters).map(slot).collect()
    };
    let prepared: Vec<Prepared> = (0..count).map(|layer| prepare(&slots(layer))).collect();
    let routes = Routes::of_slots((0..rows).map(|row| Some((row * 5 % adapters) as u32)));
    let segments = Segments::new(&routes, 0..rows);
    assert_eq!(segments.segments.len(), adapters);
    let pool = CpuPool::default();
    let x = array::<f32>(3, rows, inputs);
    let mut y = Array2::<f32>::zeros((rows, outputs));
    verify(&slots(0), &prepared[0], &routes, &x);
    let mut seconds: Vec<f64> = (0..5)
        .map(|_| {
            let start = Instant::now();
            for layer in &prepared {
                let mut targets = [Target { operands: operands(layer), y: y.view_mut() }];
                apply(&pool, &segments, x.view(), &mut targets).unwrap();
            }
            start.elapsed().as_secs_f64() / count as f64
        })
        .collect();
    seconds.sort_unstable_by(f64::total_cmp);
    [seconds[2], bytes as f64]
}

/// One layer against the definition.
fn verify(slots: &[Option<Factors>], prepared: &Prepared, routes: &Routes, x: &Array2<f32>) {
    let rows = routes.rows();
    let outputs = prepared[0].as_ref().map_or(0, |(sides, _)| sides[1].width);
    let plain: Vec<_> = slots.iter().map(Option::as_ref).collect();
    let wide: Vec<f64> = x.iter().map(|&value| f64::from(value)).collect();
    let mut expected = vec![0.0; rows * outputs];
    let shrunk = reference::shrink(&plain, routes, &wide, x.ncols());
    reference::expand(&plain, routes, &shrunk, &mut expected, outputs);
    let mut y = Array2::<f32>::zeros((rows, outputs));
    let segments = Segments::new(routes, 0..rows);
    let mut targets = [Target { operands: operands(prepared), y: y.view_mut() }];
    apply(&CpuPool::default(), &segments, x.view(), &mut targets).unwrap();
    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    for (&value, &oracle) in y.iter().zip(&expected) {
        assert!((f64::from(value) - oracle).abs() <= 1e-5 * largest, "{value}, expected {oracle}");
    }
}

/// Prints one line per case: adapters, rows, rank, outputs.
fn measure(cases: &[[usize; 4]]) {
    let memory = bandwidth();
    println!("{} threads, {:?}; streaming sum {memory:.1} GB/s", CpuPool::default().threads(), half_level());
    for &[adapters, rows, rank, outputs] in cases {
        for precision in Precision::ALL {
            let [seconds, weights] = layers(precision, adapters, rows, [rank, 4096, outputs]);
            let activations = (rows * (4096 + 2 * outputs) * 4) as f64;
            let [weights, all] = [weights, weights + activations].map(|bytes| bytes / seconds / 1e9);
            let flops = 2.0 * (rows * rank * (4096 + outputs)) as f64 / seconds / 1e9;
            println!(
                "{rows} rows, {adapters} adapters, rank {rank}, 4096 -> {outputs}, {}: {:.0} us, weights {weights:.1} GB/s \
                 ({:.0} %), with x and y {all:.1} GB/s ({:.0} %), {flops:.0} GFLOP/s",
                precision.name(),
                seconds * 1e6,
                100.0 * weights / memory,
                100.0 * all / memory,
            );
        }
    }
    println!("streaming sum again {:.1} GB/s", bandwidth());
}

#[test]
#[ignore = "a measurement: run it alone, in release"]
fn decode() {
    measure(&[[32, 64, 16, 4096], [32, 64, 16, 11008], [8, 64, 16, 4096], [1, 1, 16, 4096]]);
}

#[test]
#[ignore = "a measurement: run it alone, in release"]
fn prefill() {
    measure(&[[1, 64, 16, 4096], [4, 512, 16, 4096], [1, 512, 64, 4096]]);
}
