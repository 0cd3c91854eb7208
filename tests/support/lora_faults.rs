//! Planted faults: the bound of `lora.rs` must refuse each, and let what an f32 kernel gives through.

use ndarray::Array2;
use tilefold::Device;
use tilefold::lora::{Factors, Precision, Routes, Sizes, Values, apply};

use super::lora::{Batch, routes_of};

fn batch() -> Batch<f32, f32> {
    Batch::new(&[16, 16, 8], Precision::F32, routes_of(&[5, 9, 3]), 1030, 70)
}

/// What the reference gives for a batch in which something is wrong, judged as if nothing were.
#[track_caller]
fn refused(plant: impl FnOnce(&mut Batch<f32, f32>)) {
    let (honest, mut wrong) = (batch(), batch());
    honest.verdict(&honest.applied(&Device::reference())).expect("the honest result passes");
    plant(&mut wrong);
    let got = wrong.applied(&Device::reference());
    honest.verdict(&got).expect_err("the planted fault must be caught");
}

/// Factors of slot `slot` with other numbers: `change(i, width index, value)` of A and of B.
fn changed(
    factors: &Factors,
    scale: f32,
    a: impl Fn(usize, usize, f32) -> f32,
    b: impl Fn(usize, usize, f32) -> f32,
) -> Factors {
    let (rank, inputs, outputs) = (factors.rank(), factors.inputs(), factors.outputs());
    let new_a = Array2::from_shape_fn((rank, inputs), |(i, d)| a(i, d, factors.a(i, d)));
    let new_b = Array2::from_shape_fn((outputs, rank), |(j, i)| b(i, j, factors.b(j, i)));
    Factors::new(new_a.view(), new_b.view(), scale).expect("the factors are valid")
}

fn same(_: usize, _: usize, value: f32) -> f32 {
    value
}

#[test]
fn a_feature_dropped_in_one_row_is_caught() {
    for feature in [0, 517, 1023, 1024, 1029] {
        refused(|batch| batch.x[(7, feature)] = 0.0);
    }
}

#[test]
fn a_rank_that_is_off_by_one_is_caught() {
    refused(|batch| {
        let factors = &batch.slots[1];
        batch.slots[1] = changed(factors, factors.scale(), |i, _, v| if i == 15 { 0.0 } else { v }, same);
    });
    refused(|batch| {
        let factors = &batch.slots[1];
        batch.slots[1] = changed(factors, factors.scale(), same, |i, _, v| if i == 0 { 0.0 } else { v });
    });
}

#[test]
fn a_wrong_scale_is_caught() {
    refused(|batch| batch.slots[2] = changed(&batch.slots[2], 2.0 * batch.slots[2].scale(), same, same));
    refused(|batch| batch.slots[2] = changed(&batch.slots[2], 1.01 * batch.slots[2].scale(), same, same));
}

#[test]
fn the_neighbours_slot_is_caught() {
    refused(|batch| batch.slots.swap(0, 1));
    refused(|batch| {
        let slots = (0..17).map(|row| batch.routes.of_row(row)[0].slot);
        batch.routes =
            Routes::of_slots(slots.enumerate().map(|(row, slot)| Some(if row == 4 { 1 } else { slot })));
    });
}

#[test]
fn a_row_without_its_update_is_caught() {
    refused(|batch| {
        let slots = (0..17).map(|row| batch.routes.of_row(row)[0].slot);
        batch.routes = Routes::of_slots(slots.enumerate().map(|(row, slot)| (row != 16).then_some(slot)));
    });
}

#[test]
fn a_column_of_the_neighbours_is_caught() {
    let honest = batch();
    let mut result = honest.applied(&Device::reference());
    result.swap((3, 68), (3, 69));
    honest.verdict(&result).expect_err("two columns swapped");
}

#[test]
fn an_intermediate_in_half_is_caught() {
    let honest = batch();
    // `v` rounded to f16 as if A and B were applied apart, in exact arithmetic but for that.
    let sizes = Sizes { rank: 1, inputs: 1, outputs: 70 };
    let mut result = honest.y.clone();
    for row in 0..17 {
        let factors = &honest.slots[honest.routes.of_row(row)[0].slot as usize];
        for i in 0..factors.rank() {
            let v: f64 = (0..1030).map(|d| f64::from(honest.x[(row, d)]) * f64::from(factors.a(i, d))).sum();
            let rounded = half::f16::from_f64(v).to_f32();
            let column = Values::new((0..70).map(|j| factors.b(j, i)).collect::<Vec<f32>>());
            let one = Factors::from_values(sizes, Values::new(vec![rounded]), column, factors.scale());
            let mut y = result.slice_mut(ndarray::s![row..=row, ..]);
            let x = Array2::<f32>::ones((1, 1));
            apply(&Device::reference(), &[&one.expect("valid")], &routes_of(&[1]), x.view(), y.view_mut())
                .expect("a valid batch");
        }
    }
    honest.verdict(&result).expect_err("an intermediate in half precision");
}

#[test]
fn untouched_rows_have_no_room_at_all() {
    let honest = Batch::<f32, f32>::new(&[4], Precision::F32, Routes::of_slots([Some(0), None]), 8, 3);
    let mut result = honest.applied(&Device::reference());
    result[(1, 2)] = f32::from_bits(result[(1, 2)].to_bits() + 1);
    assert_eq!(honest.verdict(&result).expect_err("one bit of an untouched row").offenders(), 1);
}
