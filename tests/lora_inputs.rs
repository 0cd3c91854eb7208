//! The two products by themselves, and what is refused: which argument, what was expected, what came.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use half::f16;
use ndarray::{Array2, array};
use tilefold::lora::{
    Adapter, Factors, Group, Module, Pool, PoolParams, Precision, Routes, Scalar, Sizes, Values, apply,
};
use tilefold::{Device, Error};

use crate::support::backends::on_every_backend;
use crate::support::lora::{Batch, Projections, bits, factors, routes_of};

on_every_backend!(
    shrink_then_expand_is_apply,
    shrunk_values_are_products_of_the_rows,
    shrunk_of_another_batch_is_refused,
    a_step_refuses_wrong_arrays,
    routes_beyond_the_slots_are_refused,
    scales_whose_product_is_infinite_are_refused,
    a_call_refuses_wrong_sizes,
    a_pool_refuses_wrong_groups,
    a_pool_refuses_wrong_adapters,
    more_than_a_binding_is_applied,
);

const RANKS: [&[usize]; 4] = [&[8, 3, 0], &[0, 16, 40], &[0, 0, 0], &[1, 0, 2]];

fn shrink_then_expand_is_apply(device: &Device) {
    let mut routes: Vec<Routes> = [[1, 1, 1, 1], [2, 4, 3, 0], [50, 3, 9, 1], [0, 70, 0, 8], [0; 4]]
        .iter()
        .map(|l| routes_of(l))
        .collect();
    let mut several = Routes::of_slots([None, Some(3)]);
    several.push_scaled(&[(0, 0.5), (1, 1.0), (2, 1.0), (0, 2.0)]).unwrap();
    several.push_scaled(&[(3, -1.0)]).unwrap();
    routes.push(several);
    for routes in routes {
        halves::<f32>(device, &routes, Precision::F32);
        halves::<f16>(device, &routes, Precision::F16);
    }
}

fn halves<T: Scalar>(device: &Device, routes: &Routes, weights: Precision) {
    let group = Projections::<T, T>::new(&RANKS, weights, routes, 2100, &[65, 40, 9]);
    let lease = group.lease(device);
    let together = group.check_with(&lease);
    let step = lease.step(routes).unwrap();
    let shrunk = step.shrink(1, group.parts[0].x.view()).unwrap();
    let apart = group.updated(|y| step.expand(1, &shrunk, y).unwrap());
    for (number, (one, other)) in together.iter().zip(&apart).enumerate() {
        if device.name() == Device::reference().name() {
            // Between its halves the reference rounds to f32 what it keeps in f64.
            group.parts[number].must_be(other);
        } else {
            assert_eq!(bits(one.view()), bits(other.view()), "part {number}");
        }
    }
}

fn shrunk_values_are_products_of_the_rows(device: &Device) {
    let mut routes = Routes::of_slots([Some(1), None]);
    routes.push_scaled(&[(0, 0.5), (3, 9.0), (2, 1.0)]).unwrap();
    let group = Projections::<f32, f32>::new(&RANKS, Precision::F32, &routes, 1100, &[4, 5, 6]);
    let step = group.lease(device).step(&routes).unwrap();
    let x = group.parts[0].x.view();
    let shrunk = step.shrink(1, x).unwrap();
    assert_eq!(shrunk.values().len(), 16 + 40 + 8 + 3 + 1 + 2);
    for (row, slots) in [(0, vec![1]), (2, vec![0, 3, 2])] {
        for (route, slot) in slots.into_iter().enumerate() {
            let expected = group.parts.iter().flat_map(|part| {
                let factors = &part.slots[slot];
                (0..factors.rank()).map(move |i| {
                    (0..1100).map(|d| f64::from(x[(row, d)]) * f64::from(factors.a(i, d))).sum::<f64>()
                })
            });
            let expected: Vec<f64> = expected.collect();
            let got = shrunk.of_route(row, route);
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                let is_close = (f64::from(*got) - expected).abs() <= 1e-5 * (1.0 + expected.abs());
                assert!(is_close, "row {row}, route {route}: {got}, expected {expected}");
            }
        }
    }
}

/// The error's text, which must be short.
#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    let text = outcome.unwrap_err().to_string();
    assert!(text.len() < 300, "{text}");
    text
}

fn shrunk_of_another_batch_is_refused(device: &Device) {
    let group =
        Projections::<f32, f32>::new(&RANKS, Precision::F32, &routes_of(&[2, 1, 1, 3]), 96, &[9, 8, 7]);
    let lease = group.lease(device);
    let step = lease.step(&group.parts[0].routes).unwrap();
    let shrunk = step.shrink(1, group.parts[0].x.view()).unwrap();
    let expand_by = |routes: &Routes| {
        let other = group.with_routes(routes);
        let mut outcome = Ok(());
        let y = other.updated(|y| outcome = lease.step(routes).unwrap().expand(1, &shrunk, y));
        assert!(y.iter().zip(&other.parts).all(|(y, part)| *y == part.y), "y was touched");
        refused(outcome)
    };
    for routes in [routes_of(&[2, 1, 1, 2]), routes_of(&[1, 2, 1, 3]), routes_of(&[0, 0, 0, 0])] {
        let text = expand_by(&routes);
        assert!(
            text.starts_with("shrunk: expected what shrink made of this batch for group 1, got "),
            "{text}"
        );
    }
    let mut y = Array2::<f32>::zeros((7, 3));
    let text = refused(step.expand(2, &shrunk, &mut [y.view_mut()]));
    assert!(text.starts_with("shrunk: ") && text.ends_with("of group 1"), "{text}");
}

fn a_step_refuses_wrong_arrays(device: &Device) {
    let group = Projections::<f32, f32>::new(&RANKS, Precision::F32, &routes_of(&[2, 1]), 96, &[9, 8, 7]);
    let step = group.lease(device).step(&group.parts[0].routes).unwrap();
    let x = |rows, columns| Array2::<f32>::zeros((rows, columns));
    let call = |group: usize, x: Array2<f32>, sizes: &[(usize, usize)]| {
        let mut y: Vec<Array2<f32>> = sizes.iter().map(|size| Array2::zeros(*size)).collect();
        let mut views: Vec<_> = y.iter_mut().map(|array| array.view_mut()).collect();
        refused(step.apply(group, x.view(), &mut views))
    };
    let good = [(3, 9), (3, 8), (3, 7)];
    assert_eq!(call(3, x(3, 96), &good), "group: expected 0 to 2, got 3");
    let rule = "x: expected 3 x 96, the rows of the routes and the inputs, got";
    assert_eq!(call(1, x(4, 96), &good), format!("{rule} 4 x 96"));
    assert_eq!(call(1, x(3, 95), &good), format!("{rule} 3 x 95"));
    assert_eq!(call(1, x(3, 96), &good[..2]), "y: expected one array for each of 3 modules, got 2 arrays");
    assert_eq!(call(1, x(3, 96), &[(3, 9), (3, 9), (3, 7)]), "y: expected 3 x 8 for \"part1\", got 3 x 9");
    assert_eq!(call(1, x(3, 96), &[(3, 9), (3, 8), (2, 7)]), "y: expected 3 x 7 for \"part2\", got 2 x 7");
    assert_eq!(refused(step.shrink(9, x(3, 96).view())), "group: expected 0 to 2, got 9");
    assert_eq!(refused(step.shrink(1, x(0, 96).view())), format!("{rule} 0 x 96"));
}

fn routes_beyond_the_slots_are_refused(device: &Device) {
    let batch = Batch::<f32, f32>::new(&[4, 4], Precision::F32, routes_of(&[1, 1]), 8, 8);
    let slots: Vec<&Factors> = batch.slots.iter().collect();
    let mut y = batch.y.clone();
    let routes = Routes::of_slots([Some(1), Some(2)]);
    let text = refused(apply(device, &slots, &routes, batch.x.view(), y.view_mut()));
    assert_eq!(text, "routes: expected slots below 2 (row 1), got 2");
    let text = refused(apply(device, &[], &routes_of(&[2]), batch.x.view(), y.view_mut()));
    assert_eq!(text, "routes: expected slots below 0 (row 0), got 0");
    let far = Routes::of_slots([None, Some(u32::MAX)]);
    let text = refused(apply(device, &slots, &far, batch.x.view(), y.view_mut()));
    assert_eq!(text, "routes: expected slots below 2 (row 1), got 4294967295");
    assert_eq!(y, batch.y);
    for scale in [f32::NAN, f32::INFINITY] {
        let mut routes = Routes::of_slots([None]);
        let text = refused(routes.push_scaled(&[(0, 1.0), (1, scale)]));
        assert_eq!(text, format!("route scale: expected a finite number (row 1), got {scale}"));
        assert_eq!((routes.rows(), routes.count()), (1, 0));
    }
}

fn scales_whose_product_is_infinite_are_refused(device: &Device) {
    let sizes = Sizes { rank: 1, inputs: 2, outputs: 2 };
    let ones = || Values::new(vec![1.0_f32; 2]);
    let factors = Factors::from_values(sizes, ones(), ones(), -1e20).unwrap();
    let (x, mut y) = (Array2::<f32>::zeros((2, 2)), Array2::<f32>::ones((2, 2)));
    let mut routes = Routes::of_slots([Some(0)]);
    routes.push_scaled(&[(0, 3e18)]).unwrap();
    apply(device, &[&factors], &routes, x.view(), y.view_mut()).unwrap();
    assert_eq!(y, Array2::<f32>::ones((2, 2)), "-3e38 is a number that f32 holds");
    let mut routes = Routes::of_slots([Some(0)]);
    routes.push_scaled(&[(0, 1.0), (0, 4e18)]).unwrap();
    let text = refused(apply(device, &[&factors], &routes, x.view(), y.view_mut()));
    let rule = "a number whose product with the adapter's scale f32 holds (row 1)";
    assert_eq!(text, format!("route scale: expected {rule}, got 4e18 times 1e20"));
}

/// The largest numbers that round down to the largest of the type are kept, the next ones refused.
#[test]
fn a_cast_that_would_make_weights_infinite_is_refused() {
    let sizes = Sizes { rank: 2, inputs: 3, outputs: 2 };
    let bf16_edge = f32::from_bits(0x7f7f_7fff);
    for (precision, kept, beyond, rule) in [
        (Precision::F16, 65519.996, 65520.0, "f16 holds, at most 65504 in magnitude"),
        (Precision::Bf16, bf16_edge, bf16_edge.next_up(), "bf16 holds, at most 3.3895314e38 in magnitude"),
    ] {
        for (side, at, place) in
            [("A", 4, "[1, 1]"), ("B", 3, "[1, 1]"), ("A", 2, "[0, 2]"), ("B", 2, "[1, 0]")]
        {
            let factors = |value: f32| {
                let mut values = [vec![1.0_f32; 6], vec![1.0_f32; 4]];
                values[usize::from(side == "B")][at] = value;
                let [a, b] = values.map(Values::new);
                Factors::from_values(sizes, a, b, 1.0).unwrap()
            };
            assert_eq!(factors(-kept).cast(precision).unwrap().precisions(), [precision; 2]);
            assert_eq!(factors(beyond).cast(Precision::F32).unwrap(), factors(beyond));
            let text = refused(factors(-beyond).cast(precision));
            assert_eq!(
                text,
                format!("{side}{place}: expected a number that {rule}, got {:?}", -f64::from(beyond))
            );
            let text = refused(Adapter::single("q", factors(beyond)).cast(precision));
            let got = format!("{:?} at {side}{place} of \"q\"", f64::from(beyond));
            assert_eq!(text, format!("adapter: expected a number that {rule}, got {got}"));
        }
    }
}

fn a_call_refuses_wrong_sizes(device: &Device) {
    let batch = Batch::<f32, f32>::new(&[4, 4], Precision::F32, routes_of(&[1, 1]), 8, 6);
    let slots: Vec<&Factors> = batch.slots.iter().collect();
    let call = |x: (usize, usize), y: (usize, usize)| {
        let (x, mut y) = (Array2::<f32>::zeros(x), Array2::<f32>::zeros(y));
        refused(apply(device, &slots, &batch.routes, x.view(), y.view_mut()))
    };
    let text = call((2, 9), (2, 6));
    assert!(
        text.starts_with("slots: expected 9 inputs and 6 outputs") && text.ends_with("8 inputs, 6 outputs"),
        "{text}"
    );
    assert!(call((2, 8), (2, 5)).starts_with("slots: expected 8 inputs and 5 outputs"));
    assert!(call((3, 8), (2, 6)).starts_with("x: expected 2 x 8"));
    assert!(call((2, 8), (3, 6)).starts_with("y: expected 2 x 6"));
    let (a, b) = (array![[1.0_f32, 2.0]], array![[1.0_f32, 2.0]]);
    let text = refused(Factors::new(a.view(), b.view(), 1.0));
    assert_eq!(text, "B: expected 1 columns, the rows of A, got 2 columns");
    let made = |rank, inputs, outputs, a: usize, b: usize, scale| {
        let sizes = Sizes { rank, inputs, outputs };
        let values = |count| Values::new(vec![1.0_f32; count]);
        refused(Factors::from_values(sizes, values(a), values(b), scale))
    };
    assert_eq!(made(513, 2, 2, 1026, 1026, 1.0), "rank: expected 0 to 512, got 513");
    assert_eq!(made(1, 0, 2, 0, 2, 1.0), "inputs: expected 1 to 16777216, got 0");
    assert_eq!(made(1, 2, 0, 2, 0, 1.0), "outputs: expected 1 to 16777216, got 0");
    assert_eq!(made(2, 3, 2, 5, 4, 1.0), "A: expected 2 x 3 values, got 5 values");
    assert_eq!(made(2, 3, 2, 6, 5, 1.0), "B: expected 2 x 2 values, got 5 values");
    assert_eq!(made(1, 1, 1, 1, 1, f32::INFINITY), "scale: expected a finite number, got inf");
    let nan = Values::new(vec![1.0, f16::NAN.to_f32(), 1.0, 1.0]);
    let sizes = Sizes { rank: 2, inputs: 2, outputs: 2 };
    let fine = Values::new(vec![1.0_f32; 4]);
    let text = refused(Factors::from_values(sizes, nan.clone(), fine.clone(), 1.0));
    assert_eq!(text, "A[0, 1]: expected a finite number, got NaN");
    let text = refused(Factors::from_values(sizes, fine, nan, 1.0));
    assert_eq!(text, "B[0, 1]: expected a finite number, got NaN");
}

fn module(name: &str, inputs: usize, outputs: usize) -> Module {
    Module { name: name.into(), inputs, outputs }
}

fn a_pool_refuses_wrong_groups(device: &Device) {
    let made = |groups: Vec<Vec<Module>>| {
        let groups = groups.into_iter().map(|modules| Group::new("g", modules)).collect();
        refused(Pool::new(device, PoolParams::new(groups).budget_bytes(1 << 16)))
    };
    assert_eq!(made(vec![]), "groups: expected 1 to 65536 groups, got 0");
    assert_eq!(made(vec![vec![]]), "groups: expected 1 to 8 modules in group \"g\", got 0");
    let nine = (0..9).map(|i| module(&i.to_string(), 4, 4)).collect();
    assert_eq!(made(vec![nine]), "groups: expected 1 to 8 modules in group \"g\", got 9");
    let unlike = vec![module("q", 4, 4), module("k", 5, 4)];
    assert_eq!(made(vec![unlike]), "groups: expected 4 inputs for \"k\", as its group has, got 5");
    assert_eq!(
        made(vec![vec![module("q", 4, 0)]]),
        "groups: expected 1 to 16777216 outputs for \"q\", got 0"
    );
    let twice = vec![vec![module("q", 4, 4)], vec![module("q", 4, 4)]];
    assert_eq!(made(twice), "groups: expected each module once, got q");
    let params = || PoolParams::new(vec![Group::new("g", vec![module("q", 64, 64)])]).budget_bytes(1 << 16);
    for page in [8, 24, 2048] {
        let text = refused(Pool::new(device, params().page_elements(page)));
        assert_eq!(text, format!("page_elements: expected a power of two from 16 to 1024, got {page}"));
    }
    assert_eq!(
        refused(Pool::new(device, params().most_resident(0))),
        "most_resident: expected 1 or more, got 0"
    );
    let text = refused(Pool::new(device, params().budget_bytes(10)));
    assert_eq!(text, "one page of a pool of adapters: needs 256 bytes, the limit is 10 bytes");
}

fn a_pool_refuses_wrong_adapters(device: &Device) {
    let group = Group::new("g", vec![module("q", 64, 64), module("v", 64, 32)]);
    let pool = |weights| {
        let params = PoolParams::new(vec![group.clone()]).weights(weights).budget_bytes(4 * 8 * 128);
        Pool::new(device, params).unwrap()
    };
    let narrow = pool(Precision::F16);
    let pool = pool(Precision::F32);
    let sizes = |rank, outputs| Sizes { rank, inputs: 64, outputs };
    let good = factors(sizes(4, 64), Precision::F32, 1);
    pool.register("good", Adapter::single("q", good.clone())).unwrap();
    drop(pool.lease(&["good"]).unwrap());
    let before = pool.stats();
    let text = refused(pool.register("x", Adapter::single("up", good.clone())));
    assert_eq!(text, "adapter: expected modules that the pool was made for, got \"up\"");
    let text = refused(pool.register("x", Adapter::single("v", good.clone())));
    assert_eq!(text, "adapter: expected 64 inputs, 32 outputs for \"v\", got 64 inputs, 64 outputs");
    let text = refused(pool.register("good", Adapter::single("q", factors(sizes(9, 64), Precision::F32, 2))));
    assert_eq!(text, "adapter \"good\" in the pool: needs 4608 bytes, the limit is 4096 bytes");
    let text = refused(narrow.register("x", Adapter::single("q", good)));
    assert_eq!(
        text,
        "adapter: expected f16 or bf16 for \"q\", as the pool's 16-bit weights ask for, got f32"
    );
    let unknown = "name: expected an adapter that is registered, got \"nobody\"";
    assert_eq!(refused(pool.lease(&["good", "nobody"])), unknown);
    assert_eq!(refused(pool.try_lease(&["nobody"])), unknown);
    assert_eq!(refused(pool.pin("nobody", true)), unknown);
    assert_eq!(refused(pool.unload("nobody")), unknown);
    assert_eq!(refused(pool.unregister("nobody")), unknown);
    assert_eq!((pool.stats(), pool.is_resident("good")), (before, true), "the pool is as it was");
    let lease = pool.lease(&["good"]).unwrap();
    assert_eq!(
        refused(lease.step(&Routes::of_slots([Some(1)]))),
        "routes: expected slots below 1 (row 0), got 1"
    );
    // Another adapter does not fit beside a lease of the first.
    pool.register("other", Adapter::single("q", factors(sizes(8, 64), Precision::F32, 3))).unwrap();
    let text = refused(pool.lease(&["other"]));
    assert_eq!(text, "adapter \"other\" in the pool: needs 4096 bytes, the limit is 2048 bytes");
    assert!(pool.is_resident("good") && !pool.is_resident("other"));
}

/// Adapters that fill more than half a binding each: no two of them lie in one slab.
fn more_than_a_binding_is_applied(device: &Device) {
    let ranks = [10, 10, 0, 10, 9];
    let batch = Batch::<f32, f16>::new(&ranks, Precision::F32, routes_of(&[1, 2, 1, 5, 1]), 1024, 1024);
    let small = device.clone().with_window_bytes(128 << 10);
    assert_eq!(bits(batch.check(&small).view()), bits(batch.check(device).view()));
    let text = refused(apply(
        &small,
        &batch.slots.iter().collect::<Vec<_>>(),
        &Routes::of_slots([Some(5); 10]),
        batch.x.view(),
        batch.y.clone().view_mut(),
    ));
    assert_eq!(text, "routes: expected slots below 5 (row 0), got 5");
}
