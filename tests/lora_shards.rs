//! Adapters made of shards that several layers and adapters share: the bits of the assembled adapters, held once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use half::{bf16, f16};
use ndarray::{Array2, array};
use tilefold::lora::{
    Adapter, Factors, Group, Module, Pool, PoolParams, Precision, Routes, Scalar, Shards, Sizes, Values,
    apply,
};
use tilefold::{Device, Error};

use crate::support::backends::on_every_backend;
use crate::support::cases::Draws;
use crate::support::lora::{Batch, activations, bits, factors, routes_of};

on_every_backend!(
    sharded_and_plain_adapters_share_a_batch,
    layers_and_adapters_share_their_shards,
    shards_are_freed_with_their_last_user,
    shards_that_are_not_whole_pages_are_refused,
    wrong_shards_are_refused,
);

const LENGTH: usize = 32;

fn shards(count: usize, precision: Precision, seed: u64) -> Arc<Shards> {
    let mut draws = Draws::new(seed);
    let values: Vec<f32> = (0..count * LENGTH).map(|_| (draws.normal() * 0.2) as f32).collect();
    Arc::new(Shards::new(LENGTH, Values::new(values).cast(precision)).unwrap())
}

/// An index table; the last quarter of the shards is private, the rest public.
fn table(rank: usize, pieces: usize, shards: &Shards, seed: u64) -> Array2<u32> {
    let mut draws = Draws::new(seed);
    let public = shards.count() * 3 / 4;
    let private = shards.count() - public;
    Array2::from_shape_fn((rank, pieces), |(i, j)| {
        let shard = if (i + j) % 4 == 3 { public + draws.below(private) } else { draws.below(public) };
        shard as u32
    })
}

/// `pieces[0]` shards make a row of A, `pieces[1]` a column of B.
fn sharded(a: &Arc<Shards>, b: &Arc<Shards>, rank: usize, pieces: [usize; 2], seed: u64) -> Factors {
    let (of_a, of_b) = (table(rank, pieces[0], a, seed), table(rank, pieces[1], b, seed + 1000));
    Factors::from_shards(a, of_a.view(), b, of_b.view(), 0.75).unwrap()
}

/// Both sides from one pool, from two, and plain ones between, against what they assemble to.
fn sharded_and_plain_adapters_share_a_batch(device: &Device) {
    for precision in Precision::ALL {
        let (a, b) = (shards(40, precision, 1), shards(60, precision, 2));
        let plain = factors(Sizes { rank: 7, inputs: 128, outputs: 96 }, precision, 5);
        let slots = vec![
            sharded(&a, &b, 16, [4, 3], 10),
            plain,
            sharded(&a, &a, 5, [4, 3], 11),
            sharded(&b, &a, 33, [4, 3], 12),
            sharded(&a, &b, 0, [4, 3], 13),
            sharded(&a, &b, 1, [4, 3], 14),
        ];
        let assembled: Vec<Factors> = slots.iter().map(Factors::assembled).collect();
        assert!(slots[0].is_sharded() && !assembled[0].is_sharded() && !slots[1].is_sharded());
        for lengths in [[1, 1, 1, 1, 1, 1], [3, 4, 2, 1, 0, 1], [40, 9, 0, 70, 3, 5]] {
            let routes = routes_of(&lengths);
            equal_bits::<f32>(device, &slots, &assembled, &routes);
            equal_bits::<f16>(device, &slots, &assembled, &routes);
            equal_bits::<bf16>(device, &slots, &assembled, &routes);
        }
        let mut several = Routes::new();
        several.push_scaled(&[(0, 1.0), (3, 0.5), (1, 2.0)]).unwrap();
        several.push_scaled(&[(2, -1.0), (0, 1.0)]).unwrap();
        equal_bits::<f32>(device, &slots, &assembled, &several);
    }
}

fn equal_bits<T: Scalar>(device: &Device, slots: &[Factors], assembled: &[Factors], routes: &Routes) {
    let new = |slots: &[Factors]| Batch::<T, T> {
        slots: slots.to_vec(),
        ..Batch::new(&[], Precision::F32, routes.clone(), 128, 96)
    };
    let from_shards = new(slots).check(device);
    assert_eq!(bits(from_shards.view()), bits(new(assembled).check(device).view()));
}

/// Three layers of different widths.
fn pool(device: &Device, precision: Precision, budget_bytes: u64) -> Pool {
    let module =
        |(name, inputs, outputs): (&str, usize, usize)| Module { name: name.into(), inputs, outputs };
    let groups = vec![
        Group::new("0", [("0.q", 64, 64), ("0.v", 64, 32)].map(module).to_vec()),
        Group::new("1", [("1.q", 64, 64), ("1.v", 64, 32)].map(module).to_vec()),
        Group::new("2", [("2.up", 32, 128)].map(module).to_vec()),
    ];
    let kept = if precision == Precision::F32 { Precision::F32 } else { Precision::F16 };
    Pool::new(device, PoolParams::new(groups).weights(kept).page_elements(16).budget_bytes(budget_bytes))
        .unwrap()
}

const MODULES: [(usize, usize, &str, [usize; 2]); 5] = [
    (0, 0, "0.q", [2, 2]),
    (0, 1, "0.v", [2, 1]),
    (1, 0, "1.q", [2, 2]),
    (1, 1, "1.v", [2, 1]),
    (2, 0, "2.up", [1, 4]),
];

fn adapter(a: &Arc<Shards>, b: &Arc<Shards>, rank: usize, seed: u64) -> Adapter {
    let mut adapter = Adapter::default();
    for (number, (_, _, name, pieces)) in MODULES.into_iter().enumerate() {
        adapter.modules.insert(name.into(), sharded(a, b, rank, pieces, seed + number as u64));
    }
    adapter
}

fn layers_and_adapters_share_their_shards(device: &Device) {
    for precision in Precision::ALL {
        let (a, b) = (shards(24, precision, 1), shards(32, precision, 2));
        let pool = pool(device, precision, 1 << 18);
        let bytes = (24 + 32) * LENGTH as u64 * if precision == Precision::F32 { 4 } else { 2 };
        let adapters = [adapter(&a, &b, 4, 100), adapter(&a, &b, 9, 200), adapter(&b, &a, 16, 300)];
        for (slot, adapter) in adapters.iter().enumerate() {
            pool.register(&slot.to_string(), adapter.clone()).unwrap();
        }
        let lease = pool.lease(&["0", "1", "2"]).unwrap();
        let stats = pool.stats();
        assert_eq!((stats.resident, stats.resident_bytes), (3, bytes), "the shards lie there once");

        let mut routes = routes_of(&[2, 1, 7]);
        routes.push(None);
        let step = lease.step(&routes).unwrap();
        for group in 0..3 {
            let widths: Vec<usize> =
                pool.groups()[group].modules.iter().map(|module| module.outputs).collect();
            let x = activations::<f32>(11, pool.groups()[group].inputs(), 1);
            let before: Vec<Array2<f32>> = widths.iter().map(|width| activations(11, *width, 2)).collect();
            let mut y = before.clone();
            step.apply(group, x.view(), &mut y.iter_mut().map(|array| array.view_mut()).collect::<Vec<_>>())
                .unwrap();
            for (_, module, name, _) in MODULES.iter().filter(|(of, ..)| *of == group) {
                let slots: Vec<Factors> =
                    adapters.iter().map(|adapter| adapter.modules[*name].assembled()).collect();
                let part = Batch { slots, routes: routes.clone(), x: x.clone(), y: before[*module].clone() };
                part.must_be(&y[*module]);
                assert_eq!(bits(y[*module].view()), bits(part.applied(device).view()), "{name}");
            }
        }
    }
}

fn shards_are_freed_with_their_last_user(device: &Device) {
    let (a, b) = (shards(24, Precision::F32, 1), shards(32, Precision::F32, 2));
    let pool = pool(device, Precision::F32, 1 << 18);
    let bytes = |shards: u64| shards * LENGTH as u64 * 4;
    pool.register("both", adapter(&a, &b, 4, 100)).unwrap();
    pool.register("again", adapter(&a, &b, 9, 200)).unwrap();
    pool.register("one", adapter(&a, &a, 3, 300)).unwrap();
    assert_eq!(pool.stats().resident_bytes, 0);
    drop(pool.lease(&["both", "again", "one"]).unwrap());
    assert_eq!(pool.stats().resident_bytes, bytes(24 + 32));
    assert!(pool.unload("both").unwrap());
    assert_eq!(pool.stats().resident_bytes, bytes(24 + 32));
    assert!(pool.unload("again").unwrap());
    assert_eq!(pool.stats().resident_bytes, bytes(24), "nobody uses the second shards");
    let lease = pool.lease(&["one"]).unwrap();
    assert!(!pool.unload("one").unwrap(), "a lease has it");
    assert_eq!(pool.stats().resident_bytes, bytes(24));
    drop(lease);
    assert!(pool.unload("one").unwrap());
    assert_eq!((pool.stats().resident, pool.stats().resident_bytes), (0, 0));
    // What comes later finds all pages free, and is right.
    let lease = pool.lease(&["again", "one"]).unwrap();
    assert_eq!(pool.stats().resident_bytes, bytes(24 + 32));
    let routes = routes_of(&[3, 2]);
    let slots =
        [adapter(&a, &b, 9, 200), adapter(&a, &a, 3, 300)].map(|adapter| adapter.modules["2.up"].assembled());
    let part = Batch::<f32, f32> {
        slots: slots.to_vec(),
        ..Batch::new(&[], Precision::F32, routes.clone(), 32, 128)
    };
    let mut y = part.y.clone();
    lease.step(&routes).unwrap().apply(2, part.x.view(), &mut [y.view_mut()]).unwrap();
    part.must_be(&y);
}

fn shards_that_are_not_whole_pages_are_refused(device: &Device) {
    for (length, page) in [(24, 16), (32, 64), (8, 16), (33, 32)] {
        let values = Values::new(vec![0.5_f32; 4 * length]);
        let shards = Arc::new(Shards::new(length, values).unwrap());
        let index = array![[0_u32, 1], [2, 3]];
        let factors = Factors::from_shards(&shards, index.view(), &shards, index.view(), 1.0).unwrap();
        let module = Module { name: "m".into(), inputs: 2 * length, outputs: 2 * length };
        let params = PoolParams::new(vec![Group::new("g", vec![module])]).page_elements(page);
        let pool = Pool::new(device, params.budget_bytes(1 << 16)).unwrap();
        let error = pool.register("a", Adapter::single("m", factors)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Parameter { name: "adapter", .. }), "{text}");
        let (got, expected) = (format!("shards of {length} elements"), format!("{page} elements"));
        assert!(text.contains(&got) && text.contains(&expected) && text.contains("\"m\""), "{text}");
        assert_eq!(pool.stats().registered, 0);
    }
    // The plain call takes what pages there can be; shorter shards and odd ones have none.
    for (length, is_taken) in [(16, true), (48, true), (8, false), (24, false), (33, false)] {
        let shards = Arc::new(Shards::new(length, Values::new(vec![0.5_f32; 4 * length])).unwrap());
        let index = array![[0_u32, 1], [2, 3]];
        let factors = Factors::from_shards(&shards, index.view(), &shards, index.view(), 1.0).unwrap();
        let x = activations::<f32>(2, 2 * length, 1);
        let mut y = activations::<f32>(2, 2 * length, 2);
        let outcome = apply(device, &[&factors], &routes_of(&[2]), x.view(), y.view_mut());
        assert_eq!(outcome.is_ok(), is_taken, "shards of {length}: {outcome:?}");
    }
}

fn wrong_shards_are_refused(_: &Device) {
    let text = |outcome: Result<(), Error>| outcome.unwrap_err().to_string();
    let values = || Values::new(vec![1.0_f32; 64]);
    assert_eq!(text(Shards::new(0, values()).map(drop)), "length: expected 1 or more, got 0");
    assert_eq!(
        text(Shards::new(48, values()).map(drop)),
        "shards: expected whole shards of 48 values, got 64 values"
    );
    let mut bad = vec![1.0_f32; 64];
    bad[37] = f32::NAN;
    assert!(
        text(Shards::new(32, Values::new(bad)).map(drop))
            .starts_with("shards[1, 5]: expected a finite number")
    );
    let shards = Arc::new(Shards::new(32, values()).unwrap());
    let (good, more, beyond) = (array![[0_u32, 1]], array![[0_u32], [1]], array![[0_u32, 2]]);
    let made = |a: &Array2<u32>, b: &Array2<u32>, scale| {
        text(Factors::from_shards(&shards, a.view(), &shards, b.view(), scale).map(drop))
    };
    assert_eq!(made(&good, &more, 1.0), "b_index: expected 1 rows, those of a_index, got 2 rows");
    assert_eq!(made(&good, &beyond, 1.0), "b_index: expected shards below 2, got 2");
    assert_eq!(made(&beyond, &good, 1.0), "a_index: expected shards below 2, got 2");
    assert_eq!(made(&good, &good, f32::NAN), "scale: expected a finite number, got NaN");
}
