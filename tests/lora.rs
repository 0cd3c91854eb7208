//! The batched low-rank update: values, bits, shapes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use half::{bf16, f16};
use ndarray::Axis;
use tilefold::Device;
use tilefold::lora::{Precision, Routes};

use crate::support::backends::on_every_backend;
use crate::support::cases::Draws;
use crate::support::lora::{Batch, bits, each_activation, routes_of};

on_every_backend!(
    sizes_around_every_boundary_are_right,
    ranks_of_every_size_share_a_batch,
    mixed_types_are_right,
    rows_add_up_their_routes,
    permuted_rows_give_permuted_bits,
    a_row_alone_has_the_bits_it_has_in_a_crowd,
    blocks_are_added_in_one_order,
);

/// Sizes around vectors (4, 8), chains (16), pages (64) and blocks (1024), one below, at and above, for each axis.
fn sizes_around_every_boundary_are_right(device: &Device) {
    let routes = routes_of(&[1, 3, 0, 6]);
    for inputs in [1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 2049] {
        Batch::<f32, f32>::new(&[3, 1, 2, 4], Precision::F32, routes.clone(), inputs, 5).check(device);
    }
    for outputs in [1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 511, 512, 513, 2049] {
        Batch::<f32, f32>::new(&[3, 1, 2, 4], Precision::F32, routes.clone(), 19, outputs).check(device);
    }
    for rows in [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129] {
        Batch::<f32, f32>::new(&[5], Precision::F32, routes_of(&[rows]), 33, 17).check(device);
    }
}

fn ranks_of_every_size_share_a_batch(device: &Device) {
    let ranks = [0, 1, 2, 4, 7, 8, 9, 16, 33, 64, 65, 512];
    for rows in [1, 2, 5] {
        Batch::<f32, f32>::new(&ranks, Precision::F32, routes_of(&[rows; 12]), 70, 37).check(device);
    }
}

fn mixed_types_are_right(device: &Device) {
    let mut routes = routes_of(&[1, 2, 7, 40]);
    routes.push(None);
    for weights in Precision::ALL {
        each_activation(|kind| kind.check(device, &[4, 16, 33, 8], weights, &routes, [97, 50]));
        Batch::<f16, f32>::new(&[4, 3, 2, 1], weights, routes.clone(), 40, 30).check(device);
        Batch::<f32, bf16>::new(&[4, 3, 2, 1], weights, routes.clone(), 40, 31).check(device);
        Batch::<bf16, f16>::new(&[4, 3, 2, 1], weights, routes.clone(), 41, 33).check(device);
    }
}

fn rows_add_up_their_routes(device: &Device) {
    let mut routes = Routes::new();
    routes.push_scaled(&[(0, 1.0), (1, 0.5), (2, -2.0)]).unwrap();
    routes.push(None);
    routes.push_scaled(&[(1, 0.25)]).unwrap();
    routes.push_scaled(&[(3, 1.0), (3, 1.0)]).unwrap();
    routes.push_scaled(&[(2, 0.0), (0, 3.0)]).unwrap();
    Batch::<f32, f32>::new(&[5, 16, 33, 0], Precision::F32, routes.clone(), 100, 70).check(device);
    Batch::<f16, f16>::new(&[5, 16, 33, 0], Precision::F16, routes, 100, 70).check(device);
}

/// Rows in another order, with other lengths of segments beside them, so that other kernels may be chosen.
fn permuted_rows_give_permuted_bits(device: &Device) {
    let mut draws = Draws::new(9);
    let slots: Vec<Option<u32>> =
        (0..70).map(|_| draws.below(6).checked_sub(1).map(|slot| slot as u32)).collect();
    let batch = Batch::<f16, f16>::new(
        &[4, 16, 0, 33, 8],
        Precision::F16,
        Routes::of_slots(slots.clone()),
        1100,
        130,
    );
    let result = batch.check(device);
    let mut order: Vec<usize> = (0..70).collect();
    for last in (1..70).rev() {
        order.swap(last, draws.below(last + 1));
    }
    let permuted = Batch {
        slots: batch.slots.clone(),
        routes: Routes::of_slots(order.iter().map(|&row| slots[row])),
        x: batch.x.select(Axis(0), &order),
        y: batch.y.select(Axis(0), &order),
    };
    assert_eq!(bits(permuted.applied(device).view()), bits(result.select(Axis(0), &order).view()));
}

fn a_row_alone_has_the_bits_it_has_in_a_crowd(device: &Device) {
    for (lengths, rank) in
        [(vec![1, 1], 16), (vec![3, 1], 33), (vec![70, 2], 16), (vec![9, 30, 8, 8], 5), (vec![200, 6], 40)]
    {
        let ranks = vec![rank; lengths.len()];
        let batch = Batch::<f32, f32>::new(&ranks, Precision::F32, routes_of(&lengths), 2100, 70);
        let result = batch.applied(device);
        for row in [0, lengths[0] - 1, lengths.iter().sum::<usize>() - 1] {
            let route = batch.routes.of_row(row)[0];
            let alone = Batch {
                slots: batch.slots.clone(),
                routes: Routes::of_slots([Some(route.slot)]),
                x: batch.x.select(Axis(0), &[row]),
                y: batch.y.select(Axis(0), &[row]),
            };
            assert_eq!(
                bits(alone.applied(device).view()),
                bits(result.select(Axis(0), &[row]).view()),
                "row {row} of segments {lengths:?}"
            );
        }
    }
}

/// A row alone is cut along its features and summed by many workgroups, a row among very many by one: 5 and 11 blocks,
/// and batches on both sides of where a GPU's plan changes over.
fn blocks_are_added_in_one_order(device: &Device) {
    for (rows, inputs) in [(200, 5000), (600, 4096), (1100, 3000), (200, 11_008)] {
        let routes = Routes::of_slots((0..rows).map(|row| Some(row as u32 % 70)));
        let distinct = rows > 1000;
        let routes = if distinct { Routes::of_slots((0..rows).map(|row| Some(row as u32))) } else { routes };
        let slots = if distinct { rows } else { 70 };
        let batch = Batch::<f32, f32>::new(&vec![1; slots], Precision::F32, routes, inputs, 3);
        let result = batch.applied(device);
        for row in [0, rows / 2, rows - 1] {
            let slot = batch.routes.of_row(row)[0].slot as usize;
            let alone = Batch {
                slots: vec![batch.slots[slot].clone()],
                routes: Routes::of_slots([Some(0)]),
                x: batch.x.select(Axis(0), &[row]),
                y: batch.y.select(Axis(0), &[row]),
            };
            let crowd = result.select(Axis(0), &[row]);
            assert_eq!(
                bits(alone.applied(device).view()),
                bits(crowd.view()),
                "row {row} of {rows}, {inputs} inputs"
            );
        }
    }
}
