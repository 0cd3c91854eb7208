//! What must hold where other systems for many adapters had bugs and complaints; each test says what went wrong there,
//! and where it was reported.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use half::{bf16, f16};
use ndarray::{Array2, Axis, array, s};
use tilefold::Device;
use tilefold::lora::{
    Adapter, Factors, Group, Module, Pool, PoolParams, Precision, Routes, Sizes, Values, apply,
};

use crate::support::backends::on_every_backend;
use crate::support::lora::{Batch, Kind, Projections, activations, bits, factors, routes_of};

on_every_backend!(
    skewed_segments_end,
    rank_32_is_right,
    rows_without_a_slot_use_no_slot,
    a_batch_after_one_without_adapters_is_right,
    a_batch_of_more_segments_than_before_is_right,
    layouts_never_share_a_kernel,
    ids_need_not_be_sorted,
    slots_of_a_replica_change_no_bit,
    mixed_types_give_no_nan,
    nan_stays_in_its_row,
    nan_beside_x_is_never_read,
    recycled_memory_leaves_no_nan,
    a_name_loaded_again_has_its_new_weights,
    pages_of_a_larger_rank_leave_nothing_behind,
    ranks_take_only_their_own_memory,
    each_request_has_its_own_scale,
    the_scale_leaves_the_base_output_alone,
    small_scales_survive_half_weights,
    the_intermediate_never_overflows_in_half,
    small_ranks_are_right,
    ranks_of_one_batch_may_differ,
    bits_are_the_same_from_run_to_run,
    more_adapters_than_slots_take_turns,
);

/// Punica's cooperative kernel waited for steps that one of two segments did not have.
/// <https://github.com/punica-ai/punica/commit/591b5989>
fn skewed_segments_end(device: &Device) {
    for rows in [2, 3, 16, 17, 64, 65, 133] {
        for lengths in [[1, rows - 1], [rows - 1, 1]] {
            Kind::F16.check(device, &[16, 16], Precision::F16, &routes_of(&lengths), [2100, 40]);
        }
    }
}

/// Rank 32 was wrong. <https://github.com/predibase/lorax/pull/70>
fn rank_32_is_right(device: &Device) {
    for rank in [31, 32, 33] {
        for lengths in [[1, 1], [3, 2], [40, 3], [70, 70]] {
            Kind::F16.check(device, &[rank, 32], Precision::F16, &routes_of(&lengths), [130, 66]);
            Kind::F32.check(device, &[rank, 32], Precision::F32, &routes_of(&lengths), [130, 66]);
        }
    }
}

/// vLLM's -1 once meant slot 0 to one kernel and the last slot to another.
/// <https://github.com/vllm-project/vllm/blob/main/tests/lora/test_punica_ops.py>
fn rows_without_a_slot_use_no_slot(device: &Device) {
    for slot in [0, 3] {
        let mixed = [Some(slot), None, None, Some(slot), None, Some(slot)];
        for repeats in [1, 20] {
            let routes = Routes::of_slots((0..repeats).flat_map(|_| mixed));
            // Weights that no row without a slot could hide.
            let mut batch = Batch::<f32, f32>::new(&[4; 4], Precision::F32, routes, 65, 33);
            for factors in &mut batch.slots {
                let sizes = Sizes { rank: 4, inputs: 65, outputs: 33 };
                let (a, b) = (Values::new(vec![1e3_f32; 4 * 65]), Values::new(vec![1e3_f32; 4 * 33]));
                *factors = Factors::from_values(sizes, a, b, 1.0).unwrap();
            }
            batch.check(device);
        }
    }
}

/// A batch without adapters left metadata behind with which the next one ended early.
/// <https://github.com/vllm-project/vllm/blob/main/tests/lora/test_punica_ops.py>
fn a_batch_after_one_without_adapters_is_right(device: &Device) {
    let ranks: [&[usize]; 4] = [&[8, 3]; 4];
    let busy =
        Projections::<f16, f16>::new(&ranks, Precision::F16, &routes_of(&[9, 2, 1, 5]), 130, &[65, 40]);
    let lease = busy.lease(device);
    let first = busy.check_with(&lease);
    for rows in [17, 3, 0] {
        let idle = busy.with_routes(&Routes::of_slots(std::iter::repeat_n(None, rows)));
        let unchanged = idle.check_with(&lease);
        assert!(unchanged.iter().zip(&idle.parts).all(|(got, part)| bits(got.view()) == bits(part.y.view())));
        let again = busy.check_with(&lease);
        assert!(first.iter().zip(&again).all(|(a, b)| bits(a.view()) == bits(b.view())));
    }
}

/// A grid recorded for few segments left the others out. <https://github.com/sgl-project/sglang/pull/28371>
fn a_batch_of_more_segments_than_before_is_right(device: &Device) {
    let ranks: [&[usize]; 12] = [&[6]; 12];
    let first = Projections::<f16, f16>::new(&ranks, Precision::F16, &routes_of(&[12]), 130, &[65]);
    let lease = first.lease(device);
    first.check_with(&lease);
    for lengths in
        [vec![1; 12], vec![6, 6], vec![3; 12], vec![1, 40, 1, 7, 0, 0, 20], vec![0, 0, 1], vec![20; 12]]
    {
        first.with_routes(&routes_of(&lengths)).check_with(&lease);
    }
}

/// Two layouts of the same sizes got one compiled kernel. <https://github.com/sgl-project/sglang/pull/11579>
fn layouts_never_share_a_kernel(device: &Device) {
    let routes = routes_of(&[1, 3, 40]);
    let all = |device: &Device| {
        let mut seen = Vec::new();
        for weights in Precision::ALL {
            for rank in [8, 40] {
                let x_f16 = Batch::<f16, f16>::new(&[rank; 3], weights, routes.clone(), 64, 64);
                seen.push(bits(x_f16.check(device).view()));
                let x_bf16 = Batch::<bf16, bf16>::new(&[rank; 3], weights, routes.clone(), 64, 64);
                seen.push(bits(x_bf16.check(device).view()));
                let x_f32 = Batch::<f32, f16>::new(&[rank; 3], weights, routes.clone(), 64, 64);
                seen.push(bits(x_f32.check(device).view()));
            }
        }
        seen
    };
    assert_eq!(all(device), all(device));
    // Pages of another length, and the same modules in other groups.
    let sizes = Sizes { rank: 5, inputs: 64, outputs: 64 };
    let x = activations::<f32>(3, 64, 1);
    let mut results = Vec::new();
    for page in [16, 64, 1024] {
        for before in 0..3 {
            let module = |name: String| Module { name, inputs: 64, outputs: 64 };
            let groups = (0..=before).map(|i| Group::new("g", vec![module(format!("m{i}"))])).collect();
            let pool =
                Pool::new(device, PoolParams::new(groups).page_elements(page).budget_bytes(1 << 18)).unwrap();
            let name = format!("m{before}");
            pool.register("a", Adapter::single(name, factors(sizes, Precision::F32, 9))).unwrap();
            let mut y = Array2::<f32>::ones((3, 64));
            let step = pool.lease(&["a"]).unwrap().step(&routes_of(&[3])).unwrap();
            step.apply(before, x.view(), &mut [y.view_mut()]).unwrap();
            results.push(bits(y.view()));
        }
    }
    assert!(results.iter().all(|result| *result == results[0]));
}

/// Ids that were not sorted were wrong. <https://github.com/vllm-project/vllm/issues/15979>
fn ids_need_not_be_sorted(device: &Device) {
    let slots = [5, 0, 3, 5, 1, 0, 4, 2, 2, 5, 0, 3];
    for repeats in [1, 9] {
        let routes = Routes::of_slots((0..repeats).flat_map(|_| slots.map(Some)));
        let batch = Batch::<f32, f32>::new(&[4, 16, 33, 8, 1, 40], Precision::F32, routes, 150, 70);
        let result = batch.check(device);
        let mut order: Vec<usize> = (0..batch.routes.rows()).collect();
        order.sort_by_key(|&row| batch.routes.of_row(row)[0].slot);
        let sorted = batch.select(&order).check(device);
        assert_eq!(bits(sorted.view()), bits(result.select(Axis(0), &order).view()));
    }
}

/// Replicas disagreed: devices of one group put the same adapters in different slots.
/// <https://github.com/sgl-project/sglang> (`mem_pool.py` sorts the names for this reason)
fn slots_of_a_replica_change_no_bit(device: &Device) {
    let ranks: [&[usize]; 4] = [&[8, 2], &[3, 40], &[16, 16], &[1, 5]];
    let group =
        Projections::<f32, f32>::new(&ranks, Precision::F32, &routes_of(&[2, 7, 1, 3]), 90, &[30, 70]);
    let pool = group.pool(device);
    let expected = group.check_with(&pool.lease(&["0", "1", "2", "3"]).unwrap());
    // The same rows, with the adapters in other slots of the lease, in other places of another pool.
    let other = group.pool(device);
    drop(other.lease(&["3", "1"]).unwrap());
    let turned = |row: usize| Some(3 - group.parts[0].routes.of_row(row)[0].slot);
    let step = other.lease(&["3", "2", "1", "0"]).unwrap();
    let step = step.step(&Routes::of_slots((0..13).map(turned))).unwrap();
    let results = group.updated(|y| step.apply(1, group.parts[0].x.view(), y).unwrap());
    assert!(results.iter().zip(&expected).all(|(a, b)| bits(a.view()) == bits(b.view())));
}

/// Mixed types gave NaN. <https://github.com/vllm-project/vllm/pull/47869>
fn mixed_types_give_no_nan(device: &Device) {
    let routes = routes_of(&[1, 2, 40]);
    for weights in Precision::ALL {
        Batch::<f32, f16>::new(&[4, 16, 33], weights, routes.clone(), 65, 34).check(device);
        Batch::<f16, bf16>::new(&[4, 16, 33], weights, routes.clone(), 65, 35).check(device);
        Batch::<bf16, f32>::new(&[4, 16, 33], weights, routes.clone(), 64, 36).check(device);
    }
    // A of one type, B of another, beside adapters of other types in one 16-bit pool.
    let mut batch = Batch::<f16, f16>::new(&[], Precision::F16, routes, 80, 48);
    for (slot, [a, b]) in [
        [Precision::F16, Precision::Bf16],
        [Precision::Bf16, Precision::F16],
        [Precision::Bf16, Precision::Bf16],
    ]
    .into_iter()
    .enumerate()
    {
        let sizes = Sizes { rank: 7 + slot, inputs: 80, outputs: 48 };
        let value = |i: usize| ((i * 37 + slot) % 19) as f32 / 19.0 - 0.5;
        let values =
            |count: usize, precision| Values::new((0..count).map(value).collect::<Vec<_>>()).cast(precision);
        let (a, b) = (values(sizes.rank * 80, a), values(sizes.rank * 48, b));
        batch.slots.push(Factors::from_values(sizes, a, b, 1.5).unwrap());
    }
    batch.check(device);
}

/// The same pull request: one poisoned row made others NaN.
fn nan_stays_in_its_row(device: &Device) {
    for lengths in [vec![1, 1, 1], vec![4, 2, 3], vec![40, 30, 1], vec![9, 9, 9], vec![6]] {
        let ranks = vec![8; lengths.len()];
        let clean = Batch::<f32, f32>::new(&ranks, Precision::F32, routes_of(&lengths), 1100, 70);
        let expected = clean.check(device);
        for poison in [f32::NAN, f32::INFINITY, f32::MAX] {
            let rows = clean.x.nrows();
            let poisoned = [0, rows / 2, rows - 1];
            let mut batch = Batch {
                x: clean.x.clone(),
                y: clean.y.clone(),
                ..clean.select(&(0..rows).collect::<Vec<_>>())
            };
            for row in poisoned {
                batch.x.row_mut(row).slice_mut(s![..;7]).fill(poison);
            }
            let result = batch.applied(device);
            for row in (0..rows).filter(|row| !poisoned.contains(row)) {
                let is = bits(result.select(Axis(0), &[row]).view());
                assert_eq!(is, bits(expected.select(Axis(0), &[row]).view()), "row {row} of {lengths:?}");
            }
            if poison.is_nan() {
                assert!(poisoned.iter().all(|row| result.row(*row).iter().all(|value| value.is_nan())));
            }
        }
    }
}

/// The same pull request: what stands beside the rows in memory was multiplied by zero.
fn nan_beside_x_is_never_read(device: &Device) {
    for inputs in [1, 7, 63, 65, 1025] {
        for lengths in [[1, 1], [3, 2], [33, 40]] {
            let batch = Batch::<f16, f32>::new(&[8, 5], Precision::F16, routes_of(&lengths), inputs, 20);
            let (rows, columns) = batch.x.dim();
            let mut larger = Array2::from_elem((rows + 2, columns + 5), f16::NAN);
            let inner = s![1..rows + 1, 3..columns + 3];
            larger.slice_mut(inner).assign(&batch.x);
            let mut y = batch.y.clone();
            let slots: Vec<&Factors> = batch.slots.iter().collect();
            apply(device, &slots, &batch.routes, larger.slice(inner), y.view_mut()).unwrap();
            batch.must_be(&y);
        }
    }
}

/// The same pull request: buffers that are used again hold what was there before.
fn recycled_memory_leaves_no_nan(device: &Device) {
    let ranks: [&[usize]; 3] = [&[64, 9], &[3, 0], &[0, 5]];
    for lengths in [[2, 1, 1], [50, 40, 9], [5, 5, 5]] {
        let group =
            Projections::<f32, f32>::new(&ranks, Precision::F32, &routes_of(&lengths), 2100, &[70, 9]);
        let lease = group.lease(device);
        let mut poison = group.with_routes(&routes_of(&[lengths.iter().sum()]));
        poison.parts.iter_mut().for_each(|part| {
            part.x.fill(f32::NAN);
            part.y.fill(f32::NAN);
        });
        for _ in 0..2 {
            let results = poison.applied_with(&lease);
            assert!(results.iter().all(|result| result.iter().all(|value| value.is_nan())));
            group.check_with(&lease);
        }
    }
}

fn pool_of_one(device: &Device, budget_bytes: u64) -> Pool {
    let module = Module { name: "m".into(), inputs: 64, outputs: 64 };
    Pool::new(device, PoolParams::new(vec![Group::new("g", vec![module])]).budget_bytes(budget_bytes))
        .unwrap()
}

/// Checks a batch of five rows of `name`, which has `factors` now.
fn check_name(pool: &Pool, name: &str, factors: &Factors) {
    let batch = Batch::<f32, f32> {
        slots: vec![factors.clone()],
        ..Batch::new(&[], Precision::F32, routes_of(&[5]), 64, 64)
    };
    let mut y = batch.y.clone();
    let step = pool.lease(&[name]).unwrap().step(&batch.routes).unwrap();
    step.apply(0, batch.x.view(), &mut [y.view_mut()]).unwrap();
    batch.must_be(&y);
}

const SQUARE: Sizes = Sizes { rank: 8, inputs: 64, outputs: 64 };

/// A name that was loaded again kept its old weights. <https://github.com/vllm-project/vllm/issues/42125>
fn a_name_loaded_again_has_its_new_weights(device: &Device) {
    let pool = pool_of_one(device, 1 << 20);
    let [old, new, newest] = [1, 2, 3].map(|seed| factors(SQUARE, Precision::F32, seed));
    pool.register("a", Adapter::single("m", old.clone())).unwrap();
    let before = pool.lease(&["a"]).unwrap();
    check_name(&pool, "a", &old);
    pool.register("a", Adapter::single("m", new.clone())).unwrap();
    check_name(&pool, "a", &new);
    pool.unregister("a").unwrap();
    pool.register("a", Adapter::single("m", newest.clone())).unwrap();
    check_name(&pool, "a", &newest);
    // A batch in flight keeps what it began with.
    let batch =
        Batch::<f32, f32> { slots: vec![old], ..Batch::new(&[], Precision::F32, routes_of(&[5]), 64, 64) };
    let mut y = batch.y.clone();
    before.step(&batch.routes).unwrap().apply(0, batch.x.view(), &mut [y.view_mut()]).unwrap();
    batch.must_be(&y);
}

/// A slot once held rank 64; rank 5 follows on its pages. <https://github.com/vllm-project/vllm/pull/22782>
fn pages_of_a_larger_rank_leave_nothing_behind(device: &Device) {
    let pool = pool_of_one(device, 64 * 128 * 4);
    for (number, rank) in [64, 5, 64, 33, 1, 17].into_iter().enumerate() {
        let factors = factors(Sizes { rank, ..SQUARE }, Precision::F32, number as u64);
        pool.register("a", Adapter::single("m", factors.clone())).unwrap();
        check_name(&pool, "a", &factors);
    }
}

/// Memory and work followed the largest rank allowed. <https://github.com/vllm-project/vllm/pull/22782>
fn ranks_take_only_their_own_memory(device: &Device) {
    let pool = pool_of_one(device, 1 << 22);
    let mut total = 0;
    for rank in [1, 2, 4, 8, 33, 64, 512] {
        let factors = factors(Sizes { rank, ..SQUARE }, Precision::F32, rank as u64);
        let name = rank.to_string();
        pool.register(&name, Adapter::single("m", factors)).unwrap();
        drop(pool.lease(&[&name]).unwrap());
        total += 4 * rank as u64 * (64 + 64);
        assert_eq!(pool.stats().resident_bytes, total, "rank {rank}");
    }
}

/// Each request had to have a slot of its own for its scale. <https://github.com/vllm-project/vllm/issues/52733>
fn each_request_has_its_own_scale(device: &Device) {
    let scales = [1.0, 0.5, 0.0, -2.0, 1e-3, 4.0];
    for repeats in [1, 12] {
        let mut routes = Routes::new();
        for scale in scales.iter().cycle().take(scales.len() * repeats) {
            routes.push_scaled(&[(0, *scale)]).unwrap();
        }
        let group = Projections::<f32, f32>::new(&[&[16, 4]], Precision::F32, &routes, 130, &[70, 5]);
        let pool = group.pool(device);
        group.check_with(&pool.lease(&["0"]).unwrap());
        assert_eq!((pool.stats().resident, pool.stats().loads), (1, 1));
    }
}

/// `(base + update) * scale` instead of `base + update * scale`.
/// <https://github.com/EricLBuehler/candle-lora/blob/master/candle-lora/src/loralinear.rs>
fn the_scale_leaves_the_base_output_alone(device: &Device) {
    let (a, b) = (array![[1.0_f32, 0.0]], array![[1.0_f32], [0.0]]);
    let factors = Factors::new(a.view(), b.view(), 8.0).unwrap();
    let x = array![[0.25_f32, 9.0], [0.0, 9.0]];
    let mut y = array![[100.0_f32, 200.0], [300.0, 400.0]];
    apply(device, &[&factors], &routes_of(&[2]), x.view(), y.view_mut()).unwrap();
    assert_eq!(y, array![[102.0, 200.0], [300.0, 400.0]]);
}

/// A scale folded into 16-bit weights rounds them to nothing.
/// <https://github.com/vllm-project/vllm/issues/52733> asks for scales that are not folded
fn small_scales_survive_half_weights(device: &Device) {
    let batch = Batch::<f32, f32>::new(&[4, 4], Precision::F16, routes_of(&[3, 9]), 64, 33);
    let tiny = |factors: &Factors| {
        let (rank, inputs, outputs) = (factors.rank(), factors.inputs(), factors.outputs());
        let a = Array2::from_shape_fn((rank, inputs), |(i, d)| f16::from_f32(factors.a(i, d)));
        let b = Array2::from_shape_fn((outputs, rank), |(j, i)| f16::from_f32(factors.b(j, i)));
        Factors::new(a.view(), b.view(), 1e-9).unwrap()
    };
    let mut y = batch.y.clone();
    y.fill(0.0);
    let batch = Batch { slots: batch.slots.iter().map(tiny).collect(), y, ..batch };
    let result = batch.check(device);
    assert!(result.iter().all(|value| *value != 0.0 && value.abs() < 1e-6));
}

/// `x A^T` beyond the range of f16, the result within it. <https://github.com/vllm-project/vllm/issues/2893>
fn the_intermediate_never_overflows_in_half(device: &Device) {
    for rows in [1, 3, 40] {
        let mut batch = Batch::<f16, f16>::new(&[], Precision::F16, routes_of(&[rows]), 1024, 33);
        batch.x.fill(f16::from_f32(60.0));
        let a = Array2::from_elem((2, 1024), f16::from_f32(30.0));
        let b = Array2::from_elem((33, 2), f16::from_f32(2e-4));
        batch.slots.push(Factors::new(a.view(), b.view(), 1.0).unwrap());
        let result = batch.check(device);
        assert!(result.iter().all(|value| (600.0..900.0).contains(&value.to_f32())));
    }
}

/// Small ranks were refused.
/// <https://github.com/predibase/lorax/issues/78>, <https://github.com/predibase/lorax/issues/241>
fn small_ranks_are_right(device: &Device) {
    for rank in [1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 24, 30] {
        for lengths in [[1, 1], [2, 4], [20, 1]] {
            Kind::F16.check(device, &[rank, 2], Precision::F16, &routes_of(&lengths), [130, 66]);
        }
    }
}

/// Ranks of one batch had to agree. <https://github.com/punica-ai/punica/issues/17>
fn ranks_of_one_batch_may_differ(device: &Device) {
    let ranks = [8, 16, 32, 64, 128, 4, 96, 12];
    for length in [1, 2, 7, 20] {
        Kind::F16.check(device, &ranks, Precision::F16, &routes_of(&[length; 8]), [130, 66]);
    }
}

/// Greedy output differed from run to run.
/// <https://github.com/vllm-project/vllm/issues/7977>, <https://github.com/vllm-project/vllm/issues/50602>
fn bits_are_the_same_from_run_to_run(device: &Device) {
    let batch = Batch::<bf16, bf16>::new(&[16, 33, 8], Precision::Bf16, routes_of(&[40, 3, 1]), 4096, 130);
    let first = bits(batch.check(device).view());
    for _ in 0..3 {
        assert_eq!(bits(batch.applied(device).view()), first);
    }
    // The other rows of the batch change, as they do from one decoding step to the next.
    for rows in [vec![0, 41], vec![5, 41, 42, 43, 7], (0..44).rev().collect()] {
        let part = batch.select(&rows).applied(device);
        let expected = batch.applied(device).select(Axis(0), &rows);
        assert_eq!(bits(part.view()), bits(expected.view()));
    }
}

/// Sixteen adapters took turns on eight slots. <https://github.com/sgl-project/sglang/pull/13349>
fn more_adapters_than_slots_take_turns(device: &Device) {
    let bytes_of_one = 4 * 8 * (64 + 64);
    let pool = pool_of_one(device, 8 * bytes_of_one);
    let all: Vec<Factors> = (0..16).map(|seed| factors(SQUARE, Precision::F32, seed)).collect();
    for (number, factors) in all.iter().enumerate() {
        pool.register(&number.to_string(), Adapter::single("m", factors.clone())).unwrap();
    }
    for round in 0..3 {
        for (number, factors) in all.iter().enumerate() {
            check_name(&pool, &number.to_string(), factors);
            let stats = pool.stats();
            assert!(stats.resident_bytes <= stats.budget_bytes);
            assert_eq!(stats.loads, (round * 16 + number + 1) as u64);
        }
    }
    assert_eq!(pool.stats().resident, 8);
}

/// Each adapter took a launch pair of its own.
/// <https://github.com/EricLBuehler/mistral.rs> (`mistralrs-quant/src/lora/dynamic`)
#[cfg(all(feature = "gpu", feature = "test-hooks"))]
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn launches_do_not_grow_with_the_adapters() {
    use tilefold::Fault;

    let device = crate::support::backends::gpu();
    let ranks: Vec<Vec<usize>> = (0..64).map(|slot| vec![1 + slot % 40, slot % 9]).collect();
    let ranks: Vec<&[usize]> = ranks.iter().map(Vec::as_slice).collect();
    let calls = |lengths: &[usize]| {
        let group = Projections::<f16, f16>::new(&ranks, Precision::F16, &routes_of(lengths), 130, &[70, 30]);
        let lease = group.lease(&device);
        let step = lease.step(&group.parts[0].routes).unwrap();
        let x = group.parts[0].x.view();
        // Pipelines are there from the first time on.
        drop(group.updated(|y| step.apply(1, x, y).unwrap()));
        device.inject_fault(0, Fault::OutOfMemory);
        drop(group.updated(|y| step.apply(1, x, y).unwrap()));
        device.device_calls()
    };
    let of_one = calls(&[64]);
    for lengths in [vec![1; 64], vec![2; 32], vec![32, 32], vec![3; 64], vec![9; 7]] {
        assert!(
            calls(&lengths) <= of_one,
            "{} calls for {lengths:?}, {of_one} for one adapter",
            calls(&lengths)
        );
    }
    // Long segments beside many short ones take one pair more, whatever their number.
    let mixed = |short: usize| calls(&[vec![30], vec![1; short]].concat());
    assert_eq!(mixed(10), mixed(60));
    assert!(mixed(60) <= of_one + 2, "{} and {of_one}", mixed(60));
}
