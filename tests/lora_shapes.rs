//! The shapes and workloads that other systems test and measure: Punica, vLLM, SGLang, FlashInfer. Hidden sizes are
//! scaled down where many rows are asked for; the real ones run with few rows.

use half::{bf16, f16};
use tilefold::Device;
use tilefold::lora::{Precision, Routes};

use crate::support::backends::on_every_backend;
use crate::support::lora::{Batch, Kind, Popularity, Projections, bits, routes_of};

on_every_backend!(
    distinct_batches_of_punica_are_right,
    uniform_batches_of_punica_are_right,
    zipf_batches_of_punica_are_right,
    identical_batches_of_punica_are_right,
    skewed_batches_of_punica_are_right,
    hidden_sizes_of_models_are_right,
    hidden_sizes_of_vllm_are_right_as_inputs,
    hidden_sizes_of_vllm_are_right_as_outputs,
    ranks_and_slices_of_vllm_are_right_at_hidden_2049,
    one_to_128_adapters_are_right,
    compositions_of_sglang_are_right,
    adapters_may_lack_a_projection,
    groups_of_flashinfer_are_right,
    ranks_from_none_to_512_share_a_batch,
    empty_and_one_token_segments_are_right,
    rows_without_an_adapter_keep_their_bits,
    group_members_do_not_meet,
    slabs_and_windows_change_no_bit,
);

#[test]
fn workloads_are_those_of_punica() {
    let zipf = |rows| Popularity::Zipf.lengths(rows);
    assert_eq!(zipf(32), [11, 7, 5, 3, 2, 2, 1, 1]);
    assert_eq!(zipf(64), [17, 17, 11, 7, 5, 3, 2, 1, 1]);
    assert_eq!(zipf(133), [38, 25, 23, 17, 11, 7, 5, 3, 2, 1, 1]);
    let mut uniform = Popularity::Uniform.lengths(32);
    uniform.sort_unstable();
    assert_eq!(uniform, [5, 5, 5, 5, 6, 6]);
    assert_eq!(Popularity::Uniform.lengths(64), [8; 8]);
    assert_eq!(Popularity::Skewed.lengths(133), [1, 132]);
    for popularity in Popularity::ALL {
        for rows in 1..140 {
            let lengths = popularity.lengths(rows);
            assert_eq!(
                (lengths.iter().sum::<usize>(), lengths.contains(&0)),
                (rows, false),
                "{popularity:?}"
            );
        }
    }
}

/// Batches and ranks of Punica's `tests/test_sgmv.py`.
const BATCHES: [usize; 10] = [1, 2, 3, 4, 7, 10, 16, 32, 64, 133];
const RANKS: [usize; 6] = [8, 16, 32, 64, 96, 128];

fn punica(device: &Device, popularity: Popularity) {
    for (number, &rank) in RANKS.iter().enumerate() {
        for (at, &rows) in BATCHES.iter().enumerate() {
            let routes = routes_of(&popularity.lengths(rows));
            let ranks = vec![rank; routes.slots()];
            let (kind, weights) =
                [(Kind::F16, Precision::F16), (Kind::Bf16, Precision::Bf16)][(number + at) % 2];
            kind.check(device, &ranks, weights, &routes, [4096 / 32, 11_008 / 128]);
        }
    }
}

fn distinct_batches_of_punica_are_right(device: &Device) {
    punica(device, Popularity::Distinct);
}

fn uniform_batches_of_punica_are_right(device: &Device) {
    punica(device, Popularity::Uniform);
}

fn zipf_batches_of_punica_are_right(device: &Device) {
    punica(device, Popularity::Zipf);
}

fn identical_batches_of_punica_are_right(device: &Device) {
    punica(device, Popularity::Identical);
}

fn skewed_batches_of_punica_are_right(device: &Device) {
    punica(device, Popularity::Skewed);
}

/// Projections of models from 7B to 70B, grouped queries among them, with one to four rows.
fn hidden_sizes_of_models_are_right(device: &Device) {
    let projections = [
        (4096, 4096),
        (4096, 11_008),
        (11_008, 4096),
        (4096, 1024),
        (5120, 13_824),
        (8192, 28_672),
        (2560, 4096),
        (16_384, 16_384),
    ];
    for (number, (inputs, outputs)) in projections.into_iter().enumerate() {
        let lengths: &[usize] = [&[1][..], &[1, 1], &[2, 1], &[4]][number % 4];
        let ranks = [16, 8];
        Batch::<f16, f16>::new(&ranks, Precision::F16, routes_of(lengths), inputs, outputs).check(device);
    }
    Batch::<f32, f32>::new(&[16], Precision::F32, routes_of(&[3]), 4096, 11_008).check(device);
    Batch::<bf16, bf16>::new(&[128], Precision::Bf16, routes_of(&[1]), 4096, 4096).check(device);
}

/// Widths of vLLM's `tests/lora/test_punica_ops.py`: hidden sizes, shares of them on several devices, vocabularies.
const HIDDEN: [usize; 24] = [
    128, 256, 896, 1152, 1216, 1664, 2240, 2368, 2752, 3456, 4736, 5504, 6848, 7424, 8960, 9472, 13_824,
    14_784, 27_392, 29_568, 32_256, 49_408, 102_656, 128_256,
];

fn shares_of_hidden_sizes() -> Vec<usize> {
    let mut all: Vec<usize> = HIDDEN.iter().flat_map(|size| [1, 2, 8, 16, 64].map(|n| size / n)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn hidden_sizes_of_vllm_are_right_as_inputs(device: &Device) {
    for inputs in shares_of_hidden_sizes() {
        let routes = Routes::of_slots([Some(1), None, Some(0)]);
        Batch::<f16, f32>::new(&[4, 3], Precision::F16, routes, inputs, 5).check(device);
    }
}

fn hidden_sizes_of_vllm_are_right_as_outputs(device: &Device) {
    for outputs in shares_of_hidden_sizes() {
        let routes = Routes::of_slots([Some(1), None, Some(0)]);
        Batch::<f32, bf16>::new(&[4, 3], Precision::Bf16, routes, 7, outputs).check(device);
    }
}

fn ranks_and_slices_of_vllm_are_right_at_hidden_2049(device: &Device) {
    for rank in [1, 4, 8, 16, 32, 64, 128, 256] {
        for slices in 1..=3 {
            let (ranks, outputs) = (vec![rank; slices], vec![2049; slices]);
            let routes = Routes::of_slots([None, Some(0)]);
            Projections::<f16, f16>::new(&[&ranks], Precision::F16, &routes, 2049, &outputs).check(device);
        }
    }
}

fn one_to_128_adapters_are_right(device: &Device) {
    for adapters in [1, 8, 32, 128] {
        // Each adapter comes back in no order: the rows are not sorted by adapter.
        let routes = Routes::of_slots((0..160).map(|row| Some((row * 7 % adapters) as u32)));
        Batch::<f16, f16>::new(&vec![4; adapters], Precision::F16, routes, 129, 65).check(device);
    }
    Batch::<f16, f16>::new(&[4, 8], Precision::F16, routes_of(&[128, 384]), 65, 33).check(device);
}

/// SGLang's rank mix, 0 for no adapter; a projection of 4096 beside two of 1024.
const SGLANG: [&[usize]; 4] = [&[8; 3], &[16; 3], &[32; 3], &[0; 3]];

fn compositions_of_sglang_are_right(device: &Device) {
    // All one adapter, all of them in turn, an eighth of another one, none; as decode and as prefill.
    let rows = 24_usize;
    let compositions: [fn(usize) -> usize; 4] =
        [|_| 1, |row| row % 4, |row| if row % 8 == 5 { 2 } else { 0 }, |_| 3];
    for (number, slot) in compositions.into_iter().enumerate() {
        let routes = Routes::of_slots((0..rows).map(|row| Some(slot(row) as u32)));
        let outputs = [4096 / 8, 1024 / 8, 1024 / 8];
        Projections::<f16, f16>::new(&SGLANG, Precision::F16, &routes, 2560, &outputs).check(device);
        let of_requests = (0..4)
            .flat_map(|request| std::iter::repeat_n(Some(slot(request) as u32), [1, 33, 70, 16][request]));
        let prefill = Routes::of_slots(of_requests);
        let weights = if number % 2 == 0 { Precision::F16 } else { Precision::Bf16 };
        Projections::<bf16, bf16>::new(&SGLANG, weights, &prefill, 160, &[256, 64, 64]).check(device);
    }
    let routes = Routes::of_slots([0, 1, 2, 3].map(Some));
    Projections::<f16, f16>::new(&SGLANG, Precision::F16, &routes, 2560, &[4096, 1024, 1024]).check(device);
}

/// Adapters without k, without q and v, and with a rank of its own for each.
fn adapters_may_lack_a_projection(device: &Device) {
    let ranks: [&[usize]; 5] = [&[8, 0, 8], &[0, 16, 0], &[33, 1, 4], &[0, 0, 0], &[2, 64, 17]];
    for lengths in [[1, 1, 1, 1, 1], [3, 2, 4, 1, 1], [40, 7, 70, 5, 0], [9, 0, 9, 9, 9]] {
        let mut routes = routes_of(&lengths);
        routes.push(None);
        for weights in Precision::ALL {
            Projections::<f32, f32>::new(&ranks, weights, &routes, 96, &[129, 32, 31]).check(device);
        }
        Projections::<f16, f16>::new(&ranks, Precision::F16, &routes, 1030, &[64, 8, 9]).check(device);
    }
    // Rows with several routes, of which some lack the projection.
    let mut routes = Routes::new();
    routes.push_scaled(&[(0, 1.0), (1, 0.5), (4, 2.0)]).expect("finite");
    routes.push_scaled(&[(3, 1.0), (1, -1.0)]).expect("finite");
    Projections::<f32, f32>::new(&ranks, Precision::F32, &routes, 96, &[129, 32, 31]).check(device);
}

fn groups_of_flashinfer_are_right(device: &Device) {
    for segments in [1, 77, 199] {
        for rows in [3, 10, 99] {
            let routes = routes_of(&vec![rows; segments]);
            Batch::<f16, f16>::new(&vec![4; segments], Precision::F16, routes, 24, 17).check(device);
        }
    }
}

fn ranks_from_none_to_512_share_a_batch(device: &Device) {
    let ranks = [0, 1, 2, 4, 16, 33, 64, 512];
    for lengths in [[1; 8], [3; 8], [9, 1, 40, 2, 5, 70, 1, 6], [0, 1, 0, 0, 7, 0, 1, 0]] {
        for (inputs, outputs) in [(96, 65), (2049, 9)] {
            let mut routes = routes_of(&lengths);
            routes.push(None);
            if inputs == 2049 && lengths[7] > 3 {
                continue;
            }
            Batch::<f32, f32>::new(&ranks, Precision::F32, routes.clone(), inputs, outputs).check(device);
            Batch::<bf16, f16>::new(&ranks, Precision::F16, routes, inputs, outputs).check(device);
        }
    }
}

fn empty_and_one_token_segments_are_right(device: &Device) {
    let ranks = [16, 8, 4, 33, 2, 1];
    for lengths in [
        [0, 0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 1, 0],
        [0, 5, 0, 1, 0, 64],
        [1, 64, 1, 1, 1, 1],
        [0, 0, 65, 0, 0, 0],
        [0; 6],
    ] {
        Batch::<f32, f32>::new(&ranks, Precision::F32, routes_of(&lengths), 200, 70).check(device);
        Batch::<f16, f16>::new(&ranks, Precision::F16, routes_of(&lengths), 200, 71).check(device);
    }
}

fn rows_without_an_adapter_keep_their_bits(device: &Device) {
    for rows in [0, 1, 5, 133] {
        let routes = Routes::of_slots(std::iter::repeat_n(None, rows));
        let mut batch = Batch::<f16, f16>::new(&[4, 0], Precision::F16, routes, 65, 33);
        // y is not read: a NaN in it keeps its bits too, and so does the sign of a zero.
        batch.y.iter_mut().step_by(3).for_each(|value| *value = f16::from_bits(0x7d55));
        batch.y.iter_mut().skip(1).step_by(3).for_each(|value| *value = f16::NEG_ZERO);
        let mut y = batch.y.clone();
        let slots: Vec<_> = batch.slots.iter().collect();
        tilefold::lora::apply(device, &slots, &batch.routes, batch.x.view(), y.view_mut())
            .expect("a valid batch");
        assert!(y.iter().zip(&batch.y).all(|(a, b)| a.to_bits() == b.to_bits()), "{rows} rows");
        // The same with routes to an adapter of rank 0.
        batch.routes = Routes::of_slots(std::iter::repeat_n(Some(1), rows));
        tilefold::lora::apply(device, &slots, &batch.routes, batch.x.view(), y.view_mut())
            .expect("a valid batch");
        assert!(y.iter().zip(&batch.y).all(|(a, b)| a.to_bits() == b.to_bits()), "{rows} rows of rank 0");
    }
}

/// A module of a group has the bits that it has by itself.
fn group_members_do_not_meet(device: &Device) {
    let ranks: [&[usize]; 3] = [&[8, 3, 0], &[1, 16, 40], &[0, 5, 2]];
    for lengths in [[1, 1, 1], [2, 4, 3], [50, 3, 9], [0, 70, 0]] {
        let group =
            Projections::<f16, f16>::new(&ranks, Precision::F16, &routes_of(&lengths), 1500, &[65, 128, 2]);
        for (part, together) in group.parts.iter().zip(group.check(device)) {
            assert_eq!(bits(part.applied(device).view()), bits(together.view()));
        }
    }
}

/// Bindings so small that adapters lie in several slabs and rows are worked on in several windows.
fn slabs_and_windows_change_no_bit(device: &Device) {
    let routes = Routes::of_slots((0..200).map(|row| (row % 7 > 0).then_some((row * row % 13) as u32)));
    let ranks = [16, 8, 4, 33, 2, 1, 0, 16, 16, 16, 16, 16, 9];
    let batch = Batch::<f32, f32>::new(&ranks, Precision::F32, routes, 130, 70);
    let whole = batch.check(device);
    let small = device.clone().with_window_bytes(1 << 15);
    assert_eq!(bits(batch.check(&small).view()), bits(whole.view()));
}
