//! Adapters under a budget: who stays, who goes, what leases keep. Weights are checked by what a step gives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ndarray::Array2;
use tilefold::lora::{
    Adapter, Factors, Group, Lease, Module, Pool, PoolParams, PoolStats, Precision, Routes, Shards, Sizes,
    Values,
};
use tilefold::{Device, Error};

use crate::support::backends::on_every_backend;
use crate::support::cases::Draws;
use crate::support::compare::{Wide, close, must};
use crate::support::lora::{Batch, expected, factors, routes_of};

on_every_backend!(
    the_longest_unused_goes_first,
    leases_keep_their_generation,
    what_does_not_fit_is_told_and_changes_nothing,
    sixteen_adapters_in_a_budget_of_eight,
    mixed_ranks_fit_again_and_again,
    a_source_that_fails_is_told_and_asked_again,
    prefetch_does_not_block,
    a_name_that_changes_while_it_loads_is_new_for_later_leases,
    a_lease_that_waits_is_told_when_the_load_fails,
    shared_shards_go_with_their_last_user,
    many_threads_see_whole_generations,
);

const INPUTS: usize = 32;
const OUTPUTS: usize = 16;
/// Bytes per rank: three pages of 16 elements.
pub const RANK_BYTES: u64 = 192;

pub fn of_rank(rank: usize, seed: u64) -> Factors {
    factors(Sizes { rank, inputs: INPUTS, outputs: OUTPUTS }, Precision::F32, seed)
}

/// A pool for one module with room for `ranks` rank vectors.
pub fn pool(device: &Device, ranks: u64) -> Pool {
    made(device, ranks).unwrap()
}

pub fn made(device: &Device, ranks: u64) -> Result<Pool, Error> {
    let module = Module { name: "m".into(), inputs: INPUTS, outputs: OUTPUTS };
    let params = PoolParams::new(vec![Group::new("g", vec![module])]);
    Pool::new(device, params.budget_bytes(RANK_BYTES * ranks).page_elements(16))
}

pub fn register(pool: &Pool, name: &str, factors: &Factors) -> u64 {
    pool.register(name, Adapter::single("m", factors.clone())).unwrap()
}

/// Applies the lease's slots, each to two rows: `slots` is what they must hold.
pub fn applied(lease: &Lease, slots: &[&Factors]) -> Result<(), Error> {
    let routes = routes_of(&vec![2; slots.len()]);
    let mut batch = Batch::<f32, f32>::new(&[], Precision::F32, routes, INPUTS, OUTPUTS);
    batch.slots = slots.iter().copied().cloned().collect();
    let mut y = batch.y.clone();
    lease.step(&batch.routes)?.apply(0, batch.x.view(), &mut [y.view_mut()])?;
    let expected = expected(&batch);
    let got: Vec<Wide> = y.iter().map(|value| Wide(f64::from(*value))).collect();
    must(close(&expected.values, &got, |index| expected.bounds[index]));
    Ok(())
}

#[track_caller]
pub fn holds(lease: &Lease, slots: &[&Factors]) {
    applied(lease, slots).unwrap();
}

fn residents(pool: &Pool, names: &[&str]) -> String {
    names.iter().filter(|name| pool.is_resident(name)).copied().collect::<Vec<_>>().join(" ")
}

/// What must not change where a call is refused: all but the counts of attempts.
fn lasting(stats: PoolStats) -> (usize, usize, u64, u64, u64, u64) {
    let PoolStats { registered, resident, resident_bytes, loads, evictions, loaded_bytes, .. } = stats;
    (registered, resident, resident_bytes, loads, evictions, loaded_bytes)
}

fn the_longest_unused_goes_first(device: &Device) {
    let (pool, names) = (pool(device, 12), ["a", "b", "c", "d", "e"]);
    let all: Vec<Factors> = (0..5).map(|seed| of_rank(4, seed)).collect();
    for (name, factors) in names.iter().zip(&all) {
        register(&pool, name, factors);
    }
    assert_eq!((pool.stats().registered, residents(&pool, &names)), (5, String::new()));
    for name in ["a", "b", "c", "a"] {
        pool.lease(&[name]).unwrap();
    }
    pool.lease(&["d"]).unwrap();
    assert_eq!(residents(&pool, &names), "a c d", "b was unused for longest");
    pool.pin("c", true).unwrap();
    holds(&pool.lease(&["e", "b"]).unwrap(), &[&all[4], &all[1]]);
    assert_eq!(residents(&pool, &names), "b c e", "c is pinned");
    pool.pin("c", false).unwrap();
    let lease = pool.lease(&["b", "e"]).unwrap();
    pool.lease(&["a"]).unwrap();
    assert_eq!(residents(&pool, &names), "a b e");
    assert!(!pool.unload("b").unwrap(), "a lease has it");
    assert!(pool.unload("a").unwrap() && pool.unload("c").unwrap(), "out, and out before");
    assert_eq!(residents(&pool, &names), "b e");
    pool.unregister("b").unwrap();
    holds(&lease, &[&all[1], &all[4]]);
    assert!(pool.stats().resident == 2 && !pool.is_resident("b"));
    drop(lease.clone());
    assert_eq!(pool.stats().resident, 2);
    drop(lease);
    assert_eq!(pool.stats().resident, 1, "nothing leads to b any more");
    assert!(pool.unload("e").unwrap());
    assert_eq!((pool.stats().resident, pool.stats().resident_bytes), (0, 0));
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.evictions), (3, 7, 7, 4));
    for refused in [pool.unregister("b"), pool.pin("b", true), pool.unload("b").map(drop)] {
        assert!(matches!(refused, Err(Error::Parameter { .. })), "{refused:?}");
    }
    assert!(pool.try_lease(&["b"]).is_err() && pool.lease(&["a", "b"]).is_err());
    assert_eq!(pool.lease(&[]).unwrap().slots(), 0);
}

fn leases_keep_their_generation(device: &Device) {
    let pool = pool(device, 12);
    let (first, second, third) = (of_rank(4, 1), of_rank(8, 2), of_rank(2, 3));
    assert_eq!(register(&pool, "a", &first), 1);
    let old = pool.lease(&["a", "a"]).unwrap();
    assert_eq!((pool.stats().hits, pool.stats().misses, pool.stats().loads), (1, 1, 1));
    let step = old.step(&Routes::of_slots([Some(0)])).unwrap();
    assert_eq!(register(&pool, "a", &second), 2);
    assert!(!pool.is_resident("a"));
    let new = pool.lease(&["a"]).unwrap();
    assert_eq!((old.generation(0), new.generation(0), new.generation(1)), (Some(1), Some(2), None));
    holds(&old, &[&first, &first]);
    holds(&new, &[&second]);
    assert_eq!(pool.stats().resident_bytes, 12 * RANK_BYTES);
    drop(new);
    register(&pool, "a", &third);
    assert_eq!(pool.stats().resident_bytes, 4 * RANK_BYTES, "the second had no lease and no name");
    drop(old);
    assert_eq!(pool.stats().resident_bytes, 4 * RANK_BYTES, "the step holds the first");
    drop(step);
    assert_eq!((pool.stats().resident_bytes, pool.stats().evictions), (0, 0));
    let last = pool.lease(&["a"]).unwrap();
    pool.unregister("a").unwrap();
    drop(pool);
    holds(&last, &[&third]);
}

fn what_does_not_fit_is_told_and_changes_nothing(device: &Device) {
    let pool = pool(device, 12);
    let all: Vec<Factors> = (0..3).map(|seed| of_rank(6, seed)).collect();
    for (name, factors) in ["a", "b", "c"].iter().zip(&all) {
        register(&pool, name, factors);
    }
    let limits = |error: &Error| match error {
        Error::TooLarge { needed_bytes, limit_bytes, .. } => {
            (needed_bytes / RANK_BYTES, limit_bytes / RANK_BYTES)
        }
        other => panic!("{other}"),
    };
    let before = lasting(pool.stats());
    let refused = pool.register("a", Adapter::single("m", of_rank(13, 5))).unwrap_err();
    assert_eq!((limits(&refused), lasting(pool.stats())), ((13, 12), before), "{refused}");
    let refused = pool.register("a", Adapter::single("other", of_rank(1, 5))).unwrap_err();
    assert!(matches!(refused, Error::Parameter { .. }) && refused.to_string().contains("other"), "{refused}");
    let wide = factors(Sizes { rank: 1, inputs: INPUTS + 1, outputs: OUTPUTS }, Precision::F32, 1);
    assert!(matches!(pool.register("a", Adapter::single("m", wide)), Err(Error::Shape { .. })));

    let lease = pool.lease(&["a"]).unwrap();
    assert_eq!(lease.generation(0), Some(1), "what was refused replaced nothing");
    pool.lease(&["b"]).unwrap();
    let before = lasting(pool.stats());
    let refused = pool.lease(&["c", "b", "a"]).unwrap_err();
    assert_eq!(limits(&refused), (6, 0), "{refused}");
    assert_eq!((lasting(pool.stats()), residents(&pool, &["a", "b", "c"])), (before, "a b".into()));
    pool.unload("b").unwrap();
    let before = lasting(pool.stats());
    let refused = pool.lease(&["c", "b"]).unwrap_err();
    assert_eq!(limits(&refused), (12, 6), "{refused}");
    assert_eq!(lasting(pool.stats()), before, "neither of the two was loaded");
    holds(&lease, &[&all[0]]);
    drop(lease);
    holds(&pool.lease(&["c", "b"]).unwrap(), &[&all[2], &all[1]]);
    pool.pin("b", true).unwrap();
    pool.pin("c", true).unwrap();
    assert!(matches!(pool.lease(&["a"]), Err(Error::TooLarge { .. })));
}

/// Rounds through twice as many adapters as fit: the worst case of the order, and no worse than its copies.
fn sixteen_adapters_in_a_budget_of_eight(device: &Device) {
    let pool = pool(device, 8 * 2);
    let names: Vec<String> = (0..16).map(|number| number.to_string()).collect();
    let all: Vec<Factors> = (0..16).map(|seed| of_rank(2, seed)).collect();
    for (name, factors) in names.iter().zip(&all) {
        register(&pool, name, factors);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for _ in 0..3 {
        for half in [0..8, 8..16] {
            let slots: Vec<&Factors> = all[half.clone()].iter().collect();
            holds(&pool.lease(&names[half.clone()]).unwrap(), &slots);
            holds(&pool.lease(&names[half]).unwrap(), &slots);
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads, stats.evictions), (48, 48, 48, 40));
    assert_eq!((stats.resident, stats.resident_bytes), (8, stats.budget_bytes));
    assert!(stats.loaded_bytes >= 48 * 2 * RANK_BYTES && stats.load_seconds > 0.0);
}

fn mixed_ranks_fit_again_and_again(device: &Device) {
    let pool = pool(device, 128);
    let mut draws = Draws::new(17);
    let ranks: Vec<u64> = (0..40).map(|_| 1 + draws.below(64) as u64).collect();
    let names: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let all: Vec<Factors> = (0..40).map(|i| of_rank(ranks[i] as usize, i as u64)).collect();
    for (name, factors) in names.iter().zip(&all) {
        register(&pool, name, factors);
    }
    for round in 0..60 {
        // As many as just fit, by bytes alone.
        let (mut chosen, mut room): (Vec<usize>, u64) = (Vec::new(), 128);
        for _ in 0..40 {
            let next = draws.below(40);
            if ranks[next] <= room && !chosen.contains(&next) {
                room -= ranks[next];
                chosen.push(next);
            }
        }
        let slots: Vec<&Factors> = chosen.iter().map(|&number| &all[number]).collect();
        let lease = pool.lease(&chosen.iter().map(|&number| names[number].as_str()).collect::<Vec<_>>());
        let lease = lease.unwrap_or_else(|error| panic!("round {round}, {room} left: {error}"));
        if round % 6 == 0 {
            holds(&lease, &slots);
        }
    }
    for name in &names {
        assert!(pool.unload(name).unwrap());
    }
    assert_eq!((pool.stats().resident, pool.stats().resident_bytes), (0, 0));
}

fn until(what: impl Fn() -> bool) {
    let begin = Instant::now();
    while !what() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it never happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// As [`Pool::try_lease`], until it says yes or no.
fn tried(pool: &Pool, name: &str) -> Result<Lease, Error> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = pool.try_lease(&[name]).transpose() {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "no answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn a_source_that_fails_is_told_and_asked_again(device: &Device) {
    let (pool, good) = (pool(device, 12), of_rank(3, 1));
    let (is_good, adapter) = (Arc::new(AtomicBool::new(false)), Adapter::single("m", good.clone()));
    let switch = Arc::clone(&is_good);
    pool.register_source("late", move || {
        if switch.load(Ordering::SeqCst) { Ok(adapter.clone()) } else { Err(Error::Cancelled) }
    });
    pool.register_source("large", || Ok(Adapter::single("m", of_rank(13, 1))));
    pool.register_source("broken", || panic!("a source that panics"));
    register(&pool, "fine", &good);
    for name in ["late", "late"] {
        assert!(matches!(tried(&pool, name), Err(Error::Cancelled)));
        assert!(matches!(pool.lease(&["fine", name]), Err(Error::Cancelled)));
    }
    assert!(!pool.is_resident("fine"), "one lease loads all or nothing");
    assert!(matches!(tried(&pool, "large"), Err(Error::TooLarge { .. })));
    assert!(matches!(pool.lease(&["large"]), Err(Error::TooLarge { .. })));
    assert!(matches!(tried(&pool, "broken"), Err(Error::Parameter { .. })));
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.lease(&["broken"]).map(drop)));
    assert!(panicked.is_err(), "the panic of a source reaches who called for it");
    assert_eq!((pool.stats().resident, pool.stats().loads), (0, 0));
    is_good.store(true, Ordering::SeqCst);
    holds(&pool.lease(&["late", "fine"]).unwrap(), &[&good, &good]);
    drop(tried(&pool, "late").unwrap());
}

/// A source that waits until it is let through; it counts its calls.
#[derive(Clone, Default)]
struct Gate {
    is_open: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Gate {
    fn source(&self, factors: &Factors) -> impl Fn() -> Result<Adapter, Error> + Send + Sync + 'static {
        let (gate, adapter) = (self.clone(), Adapter::single("m", factors.clone()));
        move || {
            gate.calls.fetch_add(1, Ordering::SeqCst);
            until(|| gate.is_open.load(Ordering::SeqCst));
            Ok(adapter.clone())
        }
    }

    fn await_calls(&self, calls: usize) {
        until(|| self.calls.load(Ordering::SeqCst) >= calls);
    }

    fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }
}

fn prefetch_does_not_block(device: &Device) {
    let (pool, factors, gate) = (pool(device, 12), of_rank(4, 1), Gate::default());
    pool.register_source("slow", gate.source(&factors));
    register(&pool, "next", &factors);
    register(&pool, "gone", &factors);
    pool.prefetch(&["nobody", "slow", "gone", "next", "slow"]);
    gate.await_calls(1);
    pool.unregister("gone").unwrap();
    assert!(pool.try_lease(&["slow", "next"]).unwrap().is_none() && !pool.is_resident("slow"));
    // Who cannot wait loads by itself, who can waits for the load that is under way.
    drop(pool.lease(&["next"]).unwrap());
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.lease(&["next", "slow"]));
        std::thread::sleep(Duration::from_millis(20));
        assert!(!waiting.is_finished());
        gate.open();
        waiting.join().unwrap().unwrap()
    });
    holds(&waiting, &[&factors, &factors]);
    assert_eq!((gate.calls.load(Ordering::SeqCst), pool.stats().loads), (1, 2));
    until(|| pool.try_lease(&["slow", "next"]).unwrap().is_some());

    // A pool that goes while its loader works takes the rest of the queue with it.
    let (gate, after) = (Gate::default(), Gate::default());
    after.open();
    pool.register_source("slow", gate.source(&factors));
    pool.register_source("after", after.source(&factors));
    pool.prefetch(&["slow", "after"]);
    gate.await_calls(1);
    drop((waiting, pool));
    gate.open();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(after.calls.load(Ordering::SeqCst), 0);
}

fn a_name_that_changes_while_it_loads_is_new_for_later_leases(device: &Device) {
    let (pool, first, second, gate) = (pool(device, 12), of_rank(4, 1), of_rank(3, 2), Gate::default());
    pool.register_source("a", gate.source(&first));
    std::thread::scope(|scope| {
        let old = scope.spawn(|| pool.lease(&["a"]));
        gate.await_calls(1);
        let waiting = scope.spawn(|| pool.lease(&["a"]));
        std::thread::sleep(Duration::from_millis(10));
        register(&pool, "a", &second);
        // Neither the new lease nor the one that waited for the old load has to wait any more.
        let new = pool.lease(&["a"]).unwrap();
        let waited = waiting.join().unwrap().unwrap();
        assert_eq!((new.generation(0), waited.generation(0)), (Some(2), Some(2)));
        holds(&new, &[&second]);
        assert!(!old.is_finished());
        gate.open();
        let old = old.join().unwrap().unwrap();
        assert_eq!(old.generation(0), Some(1));
        holds(&old, &[&first]);
        assert!(pool.is_resident("a"));
    });
    assert_eq!(pool.stats().resident_bytes, 3 * RANK_BYTES, "the first went with its lease");

    let gate = Gate::default();
    pool.register_source("b", gate.source(&first));
    std::thread::scope(|scope| {
        let old = scope.spawn(|| pool.lease(&["b"]));
        gate.await_calls(1);
        let waiting = scope.spawn(|| pool.lease(&["b"]));
        std::thread::sleep(Duration::from_millis(10));
        pool.unregister("b").unwrap();
        assert!(waiting.join().unwrap().is_err(), "nobody knows it any more");
        gate.open();
        holds(&old.join().unwrap().unwrap(), &[&first]);
    });
    pool.unload("a").unwrap();
    assert_eq!(pool.stats().resident_bytes, 0);
}

fn a_lease_that_waits_is_told_when_the_load_fails(device: &Device) {
    let (pool, factors, gate) = (pool(device, 12), of_rank(4, 1), Gate::default());
    let source = gate.source(&factors);
    pool.register_source("a", move || source().and(Err(Error::Cancelled)));
    std::thread::scope(|scope| {
        let first = scope.spawn(|| pool.lease(&["a"]).map(drop));
        gate.await_calls(1);
        let second = scope.spawn(|| pool.lease(&["a"]).map(drop));
        std::thread::sleep(Duration::from_millis(10));
        assert!(!second.is_finished());
        gate.open();
        for lease in [first, second] {
            assert!(matches!(lease.join().unwrap(), Err(Error::Cancelled)));
        }
    });
    assert_eq!((gate.calls.load(Ordering::SeqCst), pool.stats().resident_bytes), (2, 0));
}

/// Adapters of rank 2 out of the same shards, 9 pages together.
pub fn sharded() -> [Factors; 3] {
    let shards = |count: usize, seed: u64| {
        let made = factors(Sizes { rank: count, inputs: 16, outputs: 1 }, Precision::F32, seed);
        let values = (0..16 * count).map(|at| made.a(at / 16, at % 16)).collect();
        Arc::new(Shards::new(16, Values::F32(values)).unwrap())
    };
    let (a, b) = (shards(6, 1), shards(3, 2));
    [0_u32, 1, 2].map(|first| {
        let a_index = Array2::from_shape_fn((2, 2), |(i, j)| (first + 2 * i as u32 + j as u32) % 6);
        let b_index = ndarray::array![[first], [1]];
        Factors::from_shards(&a, a_index.view(), &b, b_index.view(), 0.5).unwrap()
    })
}

fn shared_shards_go_with_their_last_user(device: &Device) {
    let (pool, all) = (pool(device, 12), sharded());
    for (name, factors) in ["a", "b", "c"].iter().zip(&all) {
        register(&pool, name, factors);
    }
    let pages = |pages: u64| pages * RANK_BYTES / 3;
    let first = pool.lease(&["a"]).unwrap();
    assert_eq!(pool.stats().resident_bytes, pages(9));
    let both = pool.lease(&["b", "c"]).unwrap();
    assert_eq!(pool.stats().resident_bytes, pages(9));
    drop(first);
    pool.unregister("a").unwrap();
    holds(&both, &[&all[1], &all[2]]);
    drop(both);
    pool.unload("b").unwrap();
    holds(&pool.lease(&["c"]).unwrap(), &[&all[2]]);
    pool.unload("c").unwrap();
    assert_eq!(pool.stats().resident_bytes, 0);
}

fn many_threads_see_whole_generations(device: &Device) {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let pool = pool(device, 24);
    for (seed, name) in (1..).zip(NAMES) {
        assert_eq!(register(&pool, name, &of_generation(seed)), seed);
    }
    let next = std::sync::Mutex::new(7);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (pool, next) = (&pool, &next);
            scope.spawn(move || {
                let mut draws = Draws::new(thread);
                for _ in 0..40 {
                    let name = NAMES[draws.below(6)];
                    match draws.below(8) {
                        0 => {
                            let mut next = next.lock().unwrap();
                            assert_eq!(register(pool, name, &of_generation(*next)), *next);
                            *next += 1;
                        }
                        1 => pool.prefetch(&[name]),
                        2 => drop(pool.unload(name).unwrap()),
                        3 => drop(pool.try_lease(&[name]).map(drop)),
                        _ => check_some(pool, &[name, NAMES[draws.below(6)]]),
                    }
                }
            });
        }
    });
    until(|| NAMES.iter().all(|name| pool.unload(name).unwrap()) && pool.stats().resident == 0);
    assert_eq!(pool.stats().resident_bytes, 0);
}

/// What was registered as generation `generation`.
fn of_generation(generation: u64) -> Factors {
    of_rank(1 + generation as usize % 8, generation)
}

fn check_some(pool: &Pool, names: &[&str]) {
    match pool.lease(names) {
        Ok(lease) => {
            let generations = (0..names.len()).map(|slot| lease.generation(slot).unwrap());
            let slots: Vec<Factors> = generations.map(of_generation).collect();
            holds(&lease, &slots.iter().collect::<Vec<_>>());
        }
        // The others hold most of the budget at the moment.
        Err(Error::TooLarge { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}
