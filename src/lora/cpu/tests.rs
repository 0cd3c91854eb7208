//! The CPU path against the definition, and against itself: other levels, threads, orders, neighbours, shards.

use std::sync::Arc;

use half::{bf16, f16};
use ndarray::{Array2, ArrayView2, Axis, s};

use super::*;
use crate::lora::factors::{Factors, Shards, Sizes};
use crate::lora::reference;
use crate::lora::routes::Routes;
use crate::lora::values::{Precision, Values};
use crate::random::Stream;
use crate::simd::with_halves;

/// Half the distance of 1 to the next `f32`.
const UNIT: f64 = 1.0 / (1 << 24) as f64;

/// A number in [-1, 1) for every index.
pub(super) fn noise(seed: u64, index: usize) -> f32 {
    Stream::new(seed, 0).unit(index as u64) as f32 * 2.0 - 1.0
}

fn values(precision: Precision, seed: u64, count: usize) -> Values {
    Values::new((0..count).map(|index| noise(seed, index)).collect::<Vec<f32>>()).cast(precision)
}

pub(super) fn array<T: Scalar>(seed: u64, rows: usize, columns: usize) -> Array2<T> {
    Array2::from_shape_fn((rows, columns), |(row, column)| T::narrow(noise(seed, row * columns + column)))
}

pub(super) fn factors(precision: Precision, seed: u64, [rank, inputs, outputs]: [usize; 3]) -> Factors {
    let [a, b] = [inputs, outputs].map(|width| values(precision, seed * 2 + width as u64 % 2, rank * width));
    Factors::from_values(Sizes { rank, inputs, outputs }, a, b, 0.75 + seed as f32 / 64.0).unwrap()
}

/// Every level that this processor has.
pub(super) fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Portable];
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            levels.push(with_halves(Level::Avx2));
        }
        // Only where it is the best may it be run at all.
        levels.extend(Some(half_level()).filter(|&level| level == Level::Avx512));
    }
    #[cfg(target_arch = "aarch64")]
    levels.push(Level::Neon);
    levels
}

/// Rows of A and columns of B by slot.
pub(super) type Prepared = Vec<Option<([Rows; 2], f32)>>;

pub(super) fn prepare(slots: &[Option<Factors>]) -> Prepared {
    let prepared = |factors: &Factors| (Rows::of(factors), factors.scale());
    slots.iter().map(|slot| slot.as_ref().map(prepared)).collect()
}

pub(super) fn operands<'a>(prepared: &'a Prepared) -> Vec<Option<Operand<'a>>> {
    let operand =
        |(sides, scale): &'a ([Rows; 2], f32)| Operand { a: &sides[0], b: &sides[1], scale: *scale };
    prepared.iter().map(|slot| slot.as_ref().map(operand)).collect()
}

/// The result for one projection.
fn updated<X: Scalar, Y: Scalar>(
    level: Level,
    slots: &[Option<Factors>],
    routes: &Routes,
    x: ArrayView2<X>,
    y: ArrayView2<Y>,
) -> Array2<Y> {
    let prepared = prepare(slots);
    let segments = Segments::new(routes, 0..routes.rows());
    let mut y = y.to_owned();
    let mut targets = [Target { operands: operands(&prepared), y: y.view_mut() }];
    apply_at(level, &CpuPool::default(), &segments, x, &mut targets).unwrap();
    y
}

fn bits<Y: Scalar>(y: &Array2<Y>) -> Vec<u8> {
    bytemuck::cast_slice(&y.iter().copied().collect::<Vec<_>>()).to_vec()
}

fn widened<T: Scalar>(array: ArrayView2<T>) -> Vec<f64> {
    array.iter().map(|value| f64::from(value.widen())).collect()
}

/// What rounding to `Y` may change in a value of this size.
fn narrowing<Y: Scalar>(size: f64) -> f64 {
    match Y::PRECISION {
        Precision::F32 => 0.0,
        Precision::F16 => size / f64::from(1 << 11) + (-25_f64).exp2(),
        Precision::Bf16 => size / f64::from(1 << 8),
    }
}

/// Compares with the definition in `f64`. Each term goes through at most `inputs / 16 + 5` roundings in the first
/// product, `rank` and 3 more (scale, scaled sum, addition to y) in the second, and one for each later route.
#[track_caller]
fn check<X: Scalar, Y: Scalar>(
    case: &str,
    slots: &[Option<Factors>],
    routes: &Routes,
    x: ArrayView2<X>,
    y: ArrayView2<Y>,
    got: &Array2<Y>,
) {
    let (inputs, outputs) = (x.ncols(), y.ncols());
    let plain: Vec<_> = slots.iter().map(Option::as_ref).collect();
    let mut expected = widened(y);
    let shrunk = reference::shrink(&plain, routes, &widened(x), inputs);
    reference::expand(&plain, routes, &shrunk, &mut expected, outputs);
    let mut at = 0;
    for row in 0..routes.rows() {
        let mut sizes: Vec<f64> = y.row(row).iter().map(|value| f64::from(value.widen()).abs()).collect();
        let of_row = routes.of_row(row);
        let mut is_updated = false;
        for route in of_row {
            let Some(factors) = plain[route.slot as usize] else { continue };
            let rank = factors.rank();
            is_updated |= rank > 0;
            let scale = f64::from(route.scale * factors.scale()).abs();
            for i in 0..rank {
                let x = x.row(row);
                let terms = x.iter().enumerate().map(|(d, x)| f64::from(x.widen() * factors.a(i, d)).abs());
                let size = terms.sum::<f64>() * scale;
                for (j, sizes) in sizes.iter_mut().enumerate() {
                    *sizes += size * f64::from(factors.b(j, i)).abs();
                }
            }
        }
        let rank = of_row.iter().filter_map(|route| plain[route.slot as usize]).map(Factors::rank).max();
        let roundings = inputs.div_ceil(16) + 5 + rank.unwrap_or(0) + 3 + of_row.len();
        for j in 0..outputs {
            let (value, oracle) = (f64::from(got[(row, j)].widen()), expected[row * outputs + j]);
            let bound = 1.01 * roundings as f64 * UNIT * sizes[j];
            let bound = if is_updated { bound + narrowing::<Y>(oracle.abs() + bound) } else { 0.0 };
            let difference = (value - oracle).abs();
            assert!(difference <= bound, "{case} [{row}, {j}]: {value}, expected {oracle} within {bound:e}");
        }
        at += of_row.len();
    }
    assert_eq!(at, shrunk.len());
}

/// Rows in no order: single, none, several, and a long segment of slot 1.
fn routes(rows: usize, slots: u32) -> Routes {
    let mut routes = Routes::new();
    for row in 0..rows {
        let slot = (noise(99, row).abs() * slots as f32) as u32 % slots;
        match row % 7 {
            0 => routes.push(None),
            1..=3 => routes.push(Some(1 % slots)),
            4 => routes.push_scaled(&[(slot, -0.5)]).unwrap(),
            _ => routes.push(Some(slot)),
        }
    }
    routes
}

fn several(rows: usize, slots: u32) -> Routes {
    let mut routes = Routes::new();
    for row in 0..rows {
        let slot = |turn: usize| (noise(7 + turn as u64, row).abs() * slots as f32) as u32 % slots;
        let all: Vec<_> = (0..row % 4).map(|turn| (slot(turn), 0.3 + turn as f32)).collect();
        routes.push_scaled(&all).unwrap();
    }
    routes
}

fn mixes<X: Scalar, Y: Scalar>(case: usize, sizes: [usize; 3], rows: usize) {
    let weights = Precision::ALL[case % 3];
    let [rank, inputs, outputs] = sizes;
    let of_rank = |slot: u64, rank| Some(factors(weights, slot, [rank, inputs, outputs]));
    let slots = [of_rank(1, rank), of_rank(2, rank), None, of_rank(3, rank.min(1)), of_rank(4, 0)];
    let (x, y) = (array::<X>(11, rows, inputs), array::<Y>(12, rows, outputs));
    for routes in [routes(rows, 5), several(rows, 5)] {
        let best = updated(half_level(), &slots, &routes, x.view(), y.view());
        let name = format!("{:?} {weights:?} {:?} {sizes:?} {rows} rows", X::PRECISION, Y::PRECISION);
        check(&name, &slots, &routes, x.view(), y.view(), &best);
        if rank * inputs.max(outputs) <= 1 << 18 {
            for level in levels() {
                let other = updated(level, &slots, &routes, x.view(), y.view());
                assert!(bits(&other) == bits(&best), "{name}: {level:?}");
            }
        }
    }
}

fn mixed(case: usize, sizes: [usize; 3], rows: usize) {
    match case / 3 % 9 {
        0 => mixes::<f32, f32>(case, sizes, rows),
        1 => mixes::<f16, f16>(case, sizes, rows),
        2 => mixes::<bf16, bf16>(case, sizes, rows),
        3 => mixes::<f16, f32>(case, sizes, rows),
        4 => mixes::<f32, f16>(case, sizes, rows),
        5 => mixes::<bf16, f32>(case, sizes, rows),
        6 => mixes::<f32, bf16>(case, sizes, rows),
        7 => mixes::<f16, bf16>(case, sizes, rows),
        _ => mixes::<bf16, f16>(case, sizes, rows),
    }
}

#[test]
fn every_mix_of_types() {
    (0..27).for_each(|case| mixed(case, [5, 67, 83], 13));
}

#[test]
fn every_rank() {
    for (case, rank) in [0, 1, 2, 3, 4, 5, 15, 16, 17, 33, 64, 512].into_iter().enumerate() {
        mixed(case * 7, [rank, 130, 66], 9);
    }
}

#[test]
fn widths_around_every_block() {
    let widths = [1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513, 2049];
    for (case, &width) in widths.iter().enumerate() {
        mixed(case * 5, [6, width, widths[(case * 7 + 3) % widths.len()]], 6);
    }
    mixed(4, [16, 4096, 4096], 3);
    mixed(0, [512, 2049, 300], 2);
}

#[test]
fn batches_around_every_block() {
    for (case, rows) in [0, 1, 2, 3, 4, 5, 7, 63, 64, 65, 150, 300].into_iter().enumerate() {
        mixed(case * 4, [5, 40, 37], rows);
    }
}

/// Permuted rows give permuted results; a row alone gives what it gave among others; threads change nothing.
#[test]
fn rows_do_not_depend_on_each_other() {
    let slots: Vec<_> = (0..6).map(|slot| Some(factors(Precision::F16, slot, [9, 201, 150]))).collect();
    let (x, y) = (array::<f32>(1, 97, 201), array::<bf16>(2, 97, 150));
    for routes in [routes(97, 6), several(97, 6)] {
        let of_rows = |order: &[usize]| {
            let mut chosen = Routes::new();
            for &row in order {
                let of_row: Vec<_> =
                    routes.of_row(row).iter().map(|route| (route.slot, route.scale)).collect();
                chosen.push_scaled(&of_row).unwrap();
            }
            let (x, y) = (x.select(Axis(0), order), y.select(Axis(0), order));
            updated(half_level(), &slots, &chosen, x.view(), y.view())
        };
        let identity: Vec<usize> = (0..97).collect();
        let all = of_rows(&identity);
        let order: Vec<usize> = (0..97).map(|row| row * 36 % 97).collect();
        assert!(bits(&of_rows(&order)) == bits(&all.select(Axis(0), &order)));
        for row in 0..97 {
            assert!(bits(&of_rows(&[row])) == bits(&all.select(Axis(0), &[row])), "row {row}");
        }
        for threads in [1, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert!(bits(&pool.install(|| of_rows(&identity))) == bits(&all), "{threads} threads");
        }
    }
}

/// Large enough that tasks are cut, in segments as in outputs and rank vectors.
#[test]
fn cut_work_gives_the_same_bits() {
    let slots = [Some(factors(Precision::Bf16, 5, [33, 2049, 1100]))];
    let routes = Routes::of_slots((0..70).map(|_| Some(0)));
    let (x, y) = (array::<bf16>(1, 70, 2049), array::<f32>(2, 70, 1100));
    let all = [1, 2, 7].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        bits(&pool.install(|| updated(half_level(), &slots, &routes, x.view(), y.view())))
    });
    assert!(all[0] == all[1] && all[0] == all[2]);
    let row = s![69..70, ..];
    let alone = updated(half_level(), &slots, &Routes::of_slots([Some(0)]), x.slice(row), y.slice(row));
    assert!(bits(&alone)[..] == all[0][69 * 1100 * 4..]);
}

#[test]
fn shards_give_the_bits_of_what_they_assemble_to() {
    for (case, length) in [1, 3, 16, 17, 37, 48, 100].into_iter().enumerate() {
        let precision = Precision::ALL[case % 3];
        let pool = |seed, count: usize| {
            Arc::new(Shards::new(length, values(precision, seed, count * length)).unwrap())
        };
        let (a, b) = (pool(1, 23), pool(2, 31));
        let per_row = 300_usize.div_ceil(length);
        let index = |pool: &Shards, seed| {
            let shard = |(i, j)| (noise(seed, i * 1000 + j).abs() * pool.count() as f32) as u32;
            Array2::from_shape_fn((6, per_row), shard)
        };
        let (a_index, b_index) = (index(&a, 3), index(&b, 4));
        let sharded = Factors::from_shards(&a, a_index.view(), &b, b_index.view(), 0.5).unwrap();
        let width = per_row * length;
        let (x, y) = (array::<f32>(5, 5, width), array::<f32>(6, 5, width));
        for routes in [Routes::of_slots([Some(0); 5]), several(5, 1)] {
            let assembled = [Some(sharded.assembled())];
            let plain = updated(half_level(), &assembled, &routes, x.view(), y.view());
            check(&format!("length {length}"), &assembled, &routes, x.view(), y.view(), &plain);
            for level in levels() {
                let other = updated(level, &[Some(sharded.clone())], &routes, x.view(), y.view());
                assert!(bits(&other) == bits(&plain), "length {length}, {level:?}");
            }
        }
    }
}

/// Several projections at once, of unequal ranks and widths, give what each gives alone; and so do the two halves.
#[test]
fn projections_together_and_apart() {
    let of_width = |seed, rank, outputs| {
        vec![
            Some(factors(Precision::F32, seed, [rank, 90, outputs])),
            None,
            Some(factors(Precision::F16, 9, [2, 90, outputs])),
        ]
    };
    let slots = [of_width(1, 7, 50), of_width(2, 0, 33), of_width(3, 21, 128)];
    let prepared: Vec<_> = slots.iter().map(|slots| prepare(slots)).collect();
    let x = array::<f16>(4, 20, 90);
    let before = [50, 33, 128].map(|outputs| array::<f32>(5, 20, outputs));
    for routes in [routes(20, 3), several(20, 3)] {
        let segments = Segments::new(&routes, 0..20);
        let alone: Vec<_> = slots
            .iter()
            .zip(&before)
            .map(|(slots, y)| bits(&updated(half_level(), slots, &routes, x.view(), y.view())))
            .collect();
        let operands: Vec<_> = prepared.iter().map(operands).collect();
        for apart in [false, true] {
            let mut after = before.clone();
            let mut targets: Vec<_> = after
                .iter_mut()
                .zip(&operands)
                .map(|(y, operands)| Target { operands: operands.clone(), y: y.view_mut() })
                .collect();
            if apart {
                let projections: Vec<_> = operands.iter().map(|operands| &operands[..]).collect();
                let shrunk = shrink(&CpuPool::default(), &segments, x.view(), &projections).unwrap();
                expand(&CpuPool::default(), &segments, &shrunk, &mut targets).unwrap();
            } else {
                apply(&CpuPool::default(), &segments, x.view(), &mut targets).unwrap();
            }
            assert!(after.iter().map(bits).eq(alone.iter().cloned()), "apart: {apart}");
        }
    }
}

/// Views with any strides, forwards or backwards, are read and written in place.
#[test]
fn strided_views() {
    let slots = [Some(factors(Precision::F32, 1, [5, 70, 45]))];
    let routes = Routes::of_slots([Some(0), None, Some(0), Some(0)]);
    let (x, y) = (array::<f32>(2, 4, 70), array::<f16>(3, 4, 45));
    let expected = updated(half_level(), &slots, &routes, x.view(), y.view());
    let prepared = prepare(&slots);
    let segments = Segments::new(&routes, 0..4);
    let mut columns = Array2::from_elem((45, 4), f16::NAN);
    columns.assign(&y.t());
    let mut x_columns = Array2::zeros((70, 4));
    x_columns.assign(&x.t());
    let mut targets = [Target { operands: operands(&prepared), y: columns.view_mut().reversed_axes() }];
    apply(&CpuPool::default(), &segments, x_columns.t(), &mut targets).unwrap();
    assert!(bits(&columns.t().to_owned()) == bits(&expected));
    let mut wide = Array2::from_elem((9, 47), f16::NAN);
    wide.slice_mut(s![1..;2, 1..46]).slice_mut(s![..;-1, ..]).assign(&y);
    let mut x_back = x.slice(s![..;-1, ..;-1]).to_owned();
    x_back.invert_axis(Axis(0));
    x_back.invert_axis(Axis(1));
    let y = wide.slice_mut(s![1..;2, 1..46]).slice_move(s![..;-1, ..]);
    apply(&CpuPool::default(), &segments, x_back.view(), &mut [Target { operands: operands(&prepared), y }])
        .unwrap();
    assert!(bits(&wide.slice(s![1..;2, 1..46]).slice(s![..;-1, ..]).to_owned()) == bits(&expected));
    assert_eq!(wide.iter().filter(|value| value.is_nan()).count(), 9 * 47 - 4 * 45);
}

/// NaN and -0 stand where they stood in rows without an update.
#[test]
fn untouched_rows_keep_their_bits() {
    let slots =
        [Some(factors(Precision::F32, 1, [0, 8, 20])), None, Some(factors(Precision::F32, 1, [3, 8, 20]))];
    let mut routes = Routes::of_slots([None, Some(0), Some(1)]);
    for several in [false, true] {
        if several {
            routes.push_scaled(&[(0, 1.0), (1, 2.0), (0, 3.0)]).unwrap();
        }
        let mut y = Array2::from_elem((routes.rows(), 20), f32::from_bits(0x7fa0_1234));
        y.column_mut(3).fill(-0.0);
        let x = Array2::from_elem((routes.rows(), 8), f32::NAN);
        assert!(bits(&updated(half_level(), &slots, &routes, x.view(), y.view())) == bits(&y));
    }
}

/// The routes of a row are added in its order, whatever the order of the slots, and the sum is rounded to y's type once.
#[test]
fn routes_are_added_in_order_and_rounded_once() {
    let one = Some(Factors::new(ArrayView2::from(&[[1.0_f32]]), ArrayView2::from(&[[1.0]]), 1.0).unwrap());
    let slots = [one.clone(), one];
    let x = Array2::from_elem((1, 1), 1.0_f32);
    for level in levels() {
        let mut routes = Routes::new();
        let large = (1 << 30) as f32;
        routes.push_scaled(&[(1, large), (1, -large), (0, 0.25)]).unwrap();
        let y = Array2::from_elem((1, 1), 0.5_f32);
        assert_eq!(updated(level, &slots, &routes, x.view(), y.view()), Array2::from_elem((1, 1), 0.25));
        let mut routes = Routes::new();
        let half_step = 1.0 / 256.0;
        routes.push_scaled(&[(0, half_step), (1, half_step)]).unwrap();
        let y = Array2::from_elem((1, 1), bf16::ONE);
        let after = updated(level, &slots, &routes, x.view(), y.view());
        assert_eq!(after[(0, 0)].to_f32(), 1.0 + 2.0 * half_step);
    }
}

/// Batches and projections without anything.
#[test]
fn nothing_to_do() {
    let mut twice = Routes::new();
    twice.push_scaled(&[(0, 1.0), (0, 2.0)]).unwrap();
    for routes in [Routes::new(), Routes::of_slots([None]), Routes::of_slots([Some(0)]), twice] {
        for outputs in [0, 3] {
            let (x, y) = (array::<f32>(1, routes.rows(), 0), array::<f32>(2, routes.rows(), outputs));
            let after = updated(half_level(), &[None], &routes, x.view(), y.view());
            assert!(bits(&after) == bits(&y));
        }
    }
    apply::<f32, f32>(&CpuPool::default(), &Segments::default(), Array2::zeros((0, 4)).view(), &mut [])
        .unwrap();
}

#[test]
fn what_does_not_fit_is_refused() {
    let prepared = prepare(&[Some(factors(Precision::F32, 1, [3, 8, 20]))]);
    let attempt = |slot, x: [usize; 2], y: [usize; 2]| {
        let segments = Segments::new(&Routes::of_slots([Some(slot), None]), 0..2);
        let (x, mut y) = (Array2::<f32>::zeros(x), Array2::<f32>::zeros(y));
        let mut targets = [Target { operands: operands(&prepared), y: y.view_mut() }];
        apply(&CpuPool::default(), &segments, x.view(), &mut targets).map_err(|error| error.to_string())
    };
    assert_eq!(attempt(0, [2, 8], [2, 20]), Ok(()));
    for (slot, x, y, message) in [
        (1, [2, 8], [2, 20], "slot: expected a slot below 1, got 1"),
        (0, [3, 8], [2, 20], "x: expected 2 rows, got 3"),
        (0, [2, 9], [2, 20], "x: expected 8 columns, got 9"),
        (0, [2, 8], [1, 20], "y: expected 2 rows, got 1"),
        (0, [2, 8], [2, 21], "y: expected 20 columns, got 21"),
    ] {
        assert_eq!(attempt(slot, x, y), Err(message.to_owned()));
    }
    let segments = Segments::new(&Routes::of_slots([Some(0)]), 0..1);
    let mut y = Array2::<f32>::zeros((1, 20));
    let mut targets = [Target { operands: operands(&prepared), y: y.view_mut() }];
    let shrunk = [Shrunk { values: vec![0.0; 3], starts: vec![0, 2] }];
    let error = expand(&CpuPool::default(), &segments, &shrunk, &mut targets).unwrap_err();
    assert_eq!(error.to_string(), "shrunk: expected 3 values, laid out as this batch asks, got 3");
    let error = expand(&CpuPool::default(), &segments, &[], &mut targets).unwrap_err();
    assert_eq!(error.to_string(), "shrunk: expected 1 projections, got 0 projections");
}
