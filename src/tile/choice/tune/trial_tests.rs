//! Candidates on a device, compared with the host bit by bit on both sides of every boundary of their tiles.

use std::collections::HashSet;

use super::trial::{Trial, half_norms, whole_numbers};
use crate::device::{Device, Gpu, Prediction};
use crate::tile::bound::f32::ABSENT;
use crate::tile::choice::choose::Task;
use crate::tile::choice::family::{Fold, candidates, candidates_for};
use crate::tile::choice::shape::{Loads, Sums, TileShape};

/// The adapter that `TILEFOLD_GPU` selects, else the best one.
fn open() -> Gpu {
    let selector = std::env::var("TILEFOLD_GPU").ok().filter(|text| !text.is_empty());
    let device = Device::select(selector.as_deref().unwrap_or("gpu"))
        .expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1");
    match device.resolve(&Prediction { flops: 0.0, upload_bytes: 0.0 }) {
        crate::device::Backend::Gpu(gpu) => gpu.clone(),
        other => panic!("{} is no GPU", other.name()),
    }
}

/// Every pair of properties that some candidate has: each is had by one of those returned too.
fn pairwise(fold: Fold) -> Vec<TileShape> {
    let properties = |shape: &TileShape| {
        let TileShape { rows, columns, invocation_rows, invocation_columns, depth_step, .. } = *shape;
        let mode = 4 * u32::from(shape.loads == Loads::Vectors) + 2 * u32::from(shape.prefetch);
        let mode = mode + u32::from(shape.sums == Sums::Chain);
        let whole = u32::from(shape.sums == Sums::Whole);
        [rows, columns, 10 * invocation_rows + invocation_columns, 100 * whole + depth_step, mode]
    };
    let pairs = |shape: &TileShape| -> HashSet<(usize, u32, usize, u32)> {
        let all = properties(shape);
        let pair = |(a, b): (usize, usize)| (a, all[a], b, all[b]);
        (0..5).flat_map(|a| (a + 1..5).map(move |b| (a, b))).map(pair).collect()
    };
    let mut left: HashSet<_> = candidates(fold).iter().flat_map(pairs).collect();
    let mut chosen = Vec::new();
    while !left.is_empty() {
        let gain = |shape: &TileShape| pairs(shape).intersection(&left).count();
        let Some(best) = candidates(fold).into_iter().max_by_key(gain) else { break };
        left = left.difference(&pairs(&best)).copied().collect();
        chosen.push(best);
    }
    chosen
}

/// Rows, columns and depths around the boundaries of a tile; every two of them come together once.
fn sizes(shape: &TileShape) -> Vec<[usize; 3]> {
    let (rows, columns, step) = (shape.rows as usize, shape.columns as usize, shape.depth_step as usize);
    let whole = [1, step - 1, step, step.div_ceil(2), step];
    let depths = if shape.sums == Sums::Whole { whole } else { [step - 1, step, step + 1, 65, 130] };
    let unit = if shape.loads == Loads::Vectors { 4 } else { 1 };
    let depth = |index: usize| depths[index].max(1).next_multiple_of(unit);
    vec![
        [rows - 1, columns + 1, depth(0)],
        [rows, columns - 1, depth(1)],
        [rows + 1, columns, depth(2)],
        [1, 2 * columns + 1, depth(3)],
        [rows + 1, 1, depth(4)],
    ]
}

/// Values of every pair in `f64`, row by row: exact for whole numbers.
fn values(x: &[f32], y: &[f32], depth: usize) -> Vec<Vec<f32>> {
    let halves = half_norms(y, depth);
    let value = |row: &[f32], (column, &half): (&[f32], &f32)| {
        let product: f64 = row.iter().zip(column).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        (f64::from(half) - product) as f32
    };
    x.chunks_exact(depth)
        .map(|row| y.chunks_exact(depth).zip(&halves).map(|pair| value(row, pair)).collect())
        .collect()
}

/// What [`Trial::words`] should give.
fn expected(fold: Fold, x: &[f32], y: &[f32], depth: usize) -> Vec<u32> {
    let rows = values(x, y, depth);
    if fold == Fold::Store {
        return rows.concat().into_iter().map(f32::to_bits).collect();
    }
    let nearest = |row: Vec<f32>| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
        let second = order.get(1).map_or(ABSENT, |&column| row[column]);
        let best = row[order[0]];
        [best.to_bits(), second.to_bits(), if best < second { order[0] as u32 } else { u32::MAX }]
    };
    rows.into_iter().flat_map(nearest).collect()
}

fn around_every_boundary(fold: Fold) {
    let gpu = open();
    let limits = gpu.limits();
    let mut run = 0;
    for shape in pairwise(fold).into_iter().filter(|shape| shape.fits(&limits)) {
        for (index, [rows, columns, depth]) in sizes(&shape).into_iter().enumerate() {
            assert!(shape.serves(depth), "{shape}: {depth}");
            let (x, y) = (whole_numbers(3, rows, depth).unwrap(), whole_numbers(4, columns, depth).unwrap());
            let trial = Trial::with_operands(&gpu, Task { fold, rows, columns, depth }, &x, &y).unwrap();
            let shape = TileShape { group_rows: 1 + index as u32 % 2 * 7, ..shape };
            let outcome = trial.run(&shape).unwrap();
            let expected = expected(fold, &x, &y, depth);
            let found = trial.words(&shape, rows).unwrap();
            let wrong = expected.iter().zip(&found).position(|(expected, found)| expected != found);
            assert!(
                wrong.is_none() && expected.len() == found.len() && trial.is_right(&outcome),
                "{shape}, step {}: {rows} x {columns} x {depth}: word {wrong:?}",
                shape.depth_step
            );
            run += 1;
        }
    }
    println!("{run} problems");
    assert!(run > 50, "{run} problems");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn nearest_candidates_are_right_around_every_boundary() {
    around_every_boundary(Fold::Nearest);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn store_candidates_are_right_around_every_boundary() {
    around_every_boundary(Fold::Store);
}

/// Values that do round come out with the same bits whatever the candidate.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn stored_values_have_one_order_of_sums() {
    let gpu = open();
    for depth in [3, 32, 150, 152] {
        let (rows, columns) = (70, 130);
        let rough = |stream, count| -> Vec<f32> {
            whole_numbers(stream, count, depth)
                .unwrap()
                .iter()
                .enumerate()
                .map(|(at, v)| (v + 0.1) / (1 + at % 97) as f32)
                .collect()
        };
        let (x, y) = (rough(5, rows), rough(6, columns));
        let task = Task { fold: Fold::Store, rows, columns, depth };
        let trial = Trial::with_operands(&gpu, task, &x, &y).unwrap();
        let all = candidates_for(Fold::Store, depth, &gpu.limits());
        assert!(all.len() > 20, "{}", all.len());
        // The texts differ in many ways, the order of sums in none: a sixth of them, others for each depth.
        for shape in all.iter().skip(depth % 6).step_by(6) {
            let outcome = trial.run(shape).unwrap();
            assert!(trial.is_right(&outcome), "{shape} at depth {depth}");
        }
        // The check can fail: one chain over two chunks rounds elsewhere.
        if depth > 64 {
            let chain = TileShape { sums: Sums::Chain, ..TileShape::SMALLEST };
            assert!(!trial.is_right(&trial.run(&chain).unwrap()), "depth {depth}");
        }
    }
}

/// A kernel that leaves out what it should add is noticed.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_wrong_candidate_is_noticed() {
    let gpu = open();
    for fold in [Fold::Nearest, Fold::Store] {
        let trial = Trial::new(&gpu, Task { fold, rows: 70, columns: 70, depth: 40 }).unwrap();
        let right = TileShape::plain(64, 64, 4, 4, 16);
        assert!(trial.is_right(&trial.run(&right).unwrap()));
        // It sees the first 16 features only: a plan would never give it this depth.
        let wrong = TileShape { sums: Sums::Whole, ..right };
        assert!(!wrong.serves(40) && !trial.is_right(&trial.run(&wrong).unwrap()));
    }
}
