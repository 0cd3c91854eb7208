//! Scheduling policies and the trace simulator: rules that hold for every policy, and runs small enough to count by
//! hand.

use proptest::prelude::*;

use crate::draws::made_up::bits;
use crate::{
    Arrivals, BaseCost, CacheLimits, Cluster, DeviceLimits, Error, FairTokens, Fcfs, FewAdapters, FittedCost,
    Lengths, LoopCost, MeasuredPoint, NoLora, Placement, Policy, Punica, RankAware, Report, Request,
    ServedAdapter, Simulation, StepCost, StepPlan, TableRow, TableSettings, Trace, TraceBuilder, fit,
    punica_a100_points, punica_table,
};

/// One second a step, whatever is in it.
fn second() -> BaseCost {
    BaseCost { fixed_seconds: 1.0, source: "made up: one second a step".to_owned(), ..BaseCost::zero() }
}

/// Equally many requests to each adapter, in a random order.
fn uniform(requests: u32, adapters: u32) -> Vec<u32> {
    let random = bits(2);
    let mut order: Vec<u32> = (0..requests).collect();
    order.sort_unstable_by_key(|&request| random(0, u64::from(request)));
    order.into_iter().map(|request| request % adapters).collect()
}

/// Requests of which most go to the first adapters.
fn popular(requests: u32, adapters: u32) -> Vec<u32> {
    let random = bits(1);
    let share = |request| (random(0, u64::from(request)) >> 11) as f64 / (1_u64 << 53) as f64;
    (0..requests).map(|request| (share(request).powi(2) * f64::from(adapters)) as u32).collect()
}

/// A quarter of what proptest tries by itself, also where `PROPTEST_CASES` asks for more or fewer.
fn cases() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.div_ceil(4), failure_persistence: None, ..asked }
}

/// An adapter that needs no copy.
const BASE_MODEL: ServedAdapter = ServedAdapter { rank: 0, bytes: 0, weight: 1.0 };

fn request(adapter: u32, prompt_tokens: u32, decode_steps: u32, arrival_seconds: f64) -> Request {
    Request { id: 0, adapter, prompt_tokens, decode_steps, arrival_seconds, priority: 0 }
}

#[track_caller]
fn run(
    simulation: &Simulation,
    trace: &Trace,
    adapters: &[ServedAdapter],
    base: &BaseCost,
    policy: &mut dyn Policy,
) -> Report {
    simulation.run(trace, adapters, StepCost { base, lora: &NoLora }, policy).unwrap()
}

/// Every policy, with a fitted cost for the one that needs it.
fn policies<'a>(base: &'a BaseCost, lora: &'a FittedCost) -> Vec<Box<dyn Policy + 'a>> {
    vec![
        Box::new(Fcfs),
        Box::new(Punica::default()),
        Box::new(FairTokens::default()),
        Box::new(FewAdapters::new(2)),
        Box::new(RankAware::new(StepCost { base, lora }, 25e-3)),
    ]
}

#[test]
fn one_request_by_hand() {
    let trace = Trace::new(vec![request(0, 10, 2, 5.0)]).unwrap();
    let report = run(&Simulation::new(), &trace, &[BASE_MODEL], &second(), &mut Fcfs);
    assert_eq!((report.seconds, report.output_tokens, report.steps), (8.0, 3, 3));
    assert_eq!(report.first_token_seconds.p50, 1.0);
    assert_eq!((report.per_token_seconds.p50, report.end_to_end_seconds.max), (1.0, 3.0));
    assert_eq!((report.tokens_per_second, report.devices[0].busy_share), (3.0 / 8.0, 3.0 / 8.0));
}

#[test]
fn a_request_joins_the_step_after_the_one_under_way() {
    let trace = Trace::new(vec![request(0, 10, 3, 0.0), request(0, 10, 0, 0.5)]).unwrap();
    let report = run(&Simulation::new(), &trace, &[BASE_MODEL], &second(), &mut Fcfs);
    assert_eq!((report.steps, report.seconds), (4, 4.0));
    assert_eq!(report.first_token_seconds.max, 1.5, "from 0.5 to the end of the second step");
}

#[test]
fn a_copy_never_holds_up_a_step() {
    let cache = CacheLimits { budget_bytes: 100, bytes_per_second: 1.0, latency_seconds: 0.0 };
    let simulation = Simulation::new().limits(DeviceLimits { cache, ..DeviceLimits::default() });
    let slow = ServedAdapter { rank: 1, bytes: 5, weight: 1.0 };
    let trace = Trace::new(vec![request(1, 10, 0, 0.0), request(0, 10, 7, 0.0)]).unwrap();
    let report = run(&simulation, &trace, &[BASE_MODEL, slow], &second(), &mut Fcfs);
    assert_eq!(report.seconds, 8.0, "the copy takes 5 s beside the 8 steps");
    assert_eq!(report.first_token_seconds.max, 6.0, "the copied adapter joins the sixth step");
    assert_eq!((report.cache.misses, report.cache.hits, report.cache.load_seconds), (1, 1, 5.0));
}

/// Bursts on three devices with too few keys and values and too small a store.
fn hard_run(policy: &mut dyn Policy, lora: &FittedCost) -> (Trace, Report) {
    let arrivals = Arrivals::Gamma { rate: 12.0, cv: 3.0 };
    let lengths = Lengths::Uniform { prompt_tokens: (1, 200), decode_steps: (0, 150) };
    let builder = TraceBuilder::new(popular(300, 12));
    let trace = builder.arrivals(arrivals).lengths(lengths).build(&bits(5)).unwrap();
    let mut requests = trace.requests().to_vec();
    requests.iter_mut().for_each(|request| request.priority = (request.id % 3) as i32);
    let trace = Trace::new(requests).unwrap();
    let adapters = ServedAdapter::cycle(12, &[8, 64, 16, 0]).unwrap();
    let cache = CacheLimits { budget_bytes: adapters[1].bytes * 2, ..CacheLimits::default() };
    let limits = DeviceLimits { batch: 8, kv_tokens: 700, cache };
    let base = BaseCost::punica_a100_7b();
    let cost = StepCost { base: &base, lora };
    let report = Simulation::new().devices(3).limits(limits).run(&trace, &adapters, cost, policy).unwrap();
    (trace, report)
}

#[test]
fn every_request_ends_under_every_policy_and_runs_repeat_bit_for_bit() {
    let (base, lora) = (BaseCost::punica_a100_7b(), fit(&punica_a100_points()).unwrap().times(224.0));
    let mut evictions = 0;
    for (policy, again) in policies(&base, &lora).iter_mut().zip(&mut policies(&base, &lora)) {
        let (trace, report) = hard_run(policy.as_mut(), &lora);
        let name = policy.name();
        assert_eq!(report.output_tokens, trace.output_tokens(), "{name}");
        assert!(report.first_token_seconds.max.is_finite() && report.seconds > 0.0, "{name}");
        assert!(report.devices.iter().all(|device| device.busy_share <= 1.0 + 1e-9), "{name}");
        assert!(report.cache.evictions > 0 && report.mean_batch <= 8.0, "{name}: {report:?}");
        assert_eq!(report, hard_run(again.as_mut(), &lora).1, "{name}");
        evictions += report.evictions;
    }
    assert!(evictions > 0, "the key-value caches were meant to be too small");
}

#[test]
fn the_newest_is_evicted_and_its_prefill_goes_over_what_it_generated() {
    // 12 tokens of keys and values: both fit with 5 each, and not with 6 and 7.
    let limits = DeviceLimits { batch: 4, kv_tokens: 12, ..DeviceLimits::default() };
    let trace = Trace::new(vec![request(0, 3, 6, 0.0), request(0, 3, 6, 0.0)]).unwrap();
    let base = BaseCost { prefill_token_seconds: 1000.0, ..second() };
    let report = run(&Simulation::new().limits(limits), &trace, &[BASE_MODEL], &base, &mut Punica::default());
    assert_eq!((report.evictions, report.output_tokens), (1, 14));
    // The second gave tokens in its prefill and in 2 steps; then it waits and is prefilled over 3 + 3 tokens.
    let prefilled = (report.seconds / 1000.0).floor();
    assert_eq!(prefilled, 3.0 + 3.0 + 6.0, "{report:?}");
}

#[test]
fn what_one_device_evicts_goes_on_at_the_other() {
    // Punica fills device 1, which has no tokens left after a while, though its batch is far from full.
    let limits = DeviceLimits { batch: 4, kv_tokens: 12, ..DeviceLimits::default() };
    let trace = Trace::new(vec![request(0, 3, 6, 0.0), request(0, 3, 6, 0.0)]).unwrap();
    let simulation = Simulation::new().devices(2).limits(limits);
    let report = run(&simulation, &trace, &[BASE_MODEL], &second(), &mut Punica::light(0.0));
    assert_eq!((report.evictions, report.migrations), (1, 0));
    // The first ends after 7 s; the second gave 3 tokens in 4 s and then 4 more.
    assert_eq!((report.seconds, report.devices[0].steps, report.devices[1].steps), (8.0, 4, 7));
}

#[test]
fn sixteen_adapters_in_a_budget_of_eight_cost_the_copies_and_a_last_round() {
    let adapters = ServedAdapter::cycle(16, &[16]).unwrap();
    let lengths = Lengths::Uniform { prompt_tokens: (8, 64), decode_steps: (8, 64) };
    let base = BaseCost::punica_a100_7b();
    for arrivals in [Arrivals::AtOnce, Arrivals::Poisson { rate: 20.0 }] {
        let builder = TraceBuilder::new(uniform(800, 16)).lengths(lengths);
        let trace = builder.arrivals(arrivals).build(&bits(0)).unwrap();
        let with_room_for = |count: u64| {
            let cache = CacheLimits { budget_bytes: count * adapters[0].bytes, ..CacheLimits::default() };
            let limits = DeviceLimits { cache, ..DeviceLimits::default() };
            run(&Simulation::new().limits(limits).patience_seconds(0.5), &trace, &adapters, &base, &mut Fcfs)
        };
        let (all, half) = (with_room_for(16), with_room_for(8));
        assert!(half.cache.evictions > 0 && all.cache.evictions == 0);
        // When no request waits any more, the last ones may need more adapters than there is room for: one life longer.
        let life = 65.0 * half.per_token_seconds.max;
        let most = all.seconds + half.cache.load_seconds + life;
        assert!(half.seconds <= most, "{} {}", half.seconds, all.seconds);
        assert!(half.tokens_per_second >= 0.95 * all.tokens_per_second);
        // A request waits until it is impatient, and then for the requests of one adapter to end.
        let wait = half.first_token_seconds.max - all.first_token_seconds.max;
        assert!(wait <= 0.5 + life + half.cache.load_seconds, "{:?}", half.first_token_seconds);
    }
}

#[test]
fn an_adapter_that_waits_too_long_gets_its_turn() {
    // Adapter 0 always has a request in flight; there is room for one adapter.
    let adapters = ServedAdapter::cycle(2, &[8]).unwrap();
    let mut requests: Vec<Request> = (0..200).map(|id| request(0, 4, 4, f64::from(id))).collect();
    requests.push(request(1, 4, 0, 10.5));
    let trace = Trace::new(requests).unwrap();
    let cache = CacheLimits { budget_bytes: adapters[0].bytes, ..CacheLimits::default() };
    let simulation =
        Simulation::new().limits(DeviceLimits { cache, ..DeviceLimits::default() }).patience_seconds(3.0);
    let report = run(&simulation, &trace, &adapters, &second(), &mut Fcfs);
    assert!(report.first_token_seconds.max < 15.0, "{:?}", report.first_token_seconds);
    assert_eq!(report.cache.loads, 3, "the first, the other, and the first again");
    let patient = run(&simulation.patience_seconds(1e9), &trace, &adapters, &second(), &mut Fcfs);
    assert!(patient.first_token_seconds.max > 150.0, "{:?}", patient.first_token_seconds);
}

#[test]
fn punica_fills_one_device_and_empties_light_ones() {
    let requests = (0..40).map(|id| request(0, 4, if id % 9 == 8 { 400 } else { 20 }, 0.0));
    let trace = Trace::new(requests.collect()).unwrap();
    let simulation = Simulation::new().devices(2);
    let base = BaseCost::punica_a100_7b();
    let report = run(&simulation, &trace, &[BASE_MODEL], &base, &mut Punica::default());
    assert!(report.migrations > 0 && report.migrations < 10, "{report:?}");
    let spread = run(&simulation, &trace, &[BASE_MODEL], &base, &mut Fcfs);
    let least = |report: &Report| report.devices.iter().map(|d| d.busy_share).fold(1.0, f64::min);
    assert!(least(&report) < 0.3 && least(&spread) > 0.8, "{report:?} {spread:?}");
}

#[test]
fn fair_tokens_protect_a_small_tenant_from_a_large_one() {
    // Tenant 0 asks for 400 at once, tenant 1 for 5 shortly after.
    let large = (0..400).map(|_| request(0, 32, 32, 0.0));
    let trace = Trace::new(large.chain((0..5).map(|_| request(1, 32, 32, 1.0))).collect()).unwrap();
    let adapters = ServedAdapter::cycle(2, &[8]).unwrap();
    let base = BaseCost::punica_a100_7b();
    let simulation = Simulation::new().limits(DeviceLimits { batch: 8, ..DeviceLimits::default() });
    let worst_of_small = |policy: &mut dyn Policy| {
        let report = run(&simulation, &trace, &adapters, &base, policy);
        report.end_to_end_seconds
    };
    let (fcfs, fair) = (worst_of_small(&mut Fcfs), worst_of_small(&mut FairTokens::default()));
    // Both do the same work, so the mean hardly moves.
    assert!((fair.mean / fcfs.mean - 1.0).abs() < 0.1, "{fair:?} {fcfs:?}");
    // Two tenants who both always wait: 7 of 8 requests are tenant 0's.
    let requests = (0..800).map(|id| request(u32::from(id % 8 == 0), 32, 32, 0.0));
    let trace = Trace::new(requests.collect()).unwrap();
    let contended = |policy: &mut dyn Policy| {
        let simulation = simulation.clone().window_seconds(2.0);
        let fairness = run(&simulation, &trace, &adapters, &base, policy).fairness;
        assert!(fairness.windows > 3, "{fairness:?}");
        fairness.contended
    };
    let (fcfs, fair) = (contended(&mut Fcfs), contended(&mut FairTokens::default()));
    assert!(fair > 0.99 && fcfs < 0.8, "{fair} {fcfs}");
}

#[test]
fn rank_aware_keeps_decode_steps_short() {
    let lengths = Lengths::Fixed { prompt_tokens: 1, decode_steps: 60 };
    let trace = TraceBuilder::new(uniform(200, 16)).lengths(lengths).build(&bits(0)).unwrap();
    let adapters = ServedAdapter::cycle(16, &[8, 64]).unwrap();
    // Made up: 10 microseconds per rank of a row.
    let lora = FittedCost { rank_row_seconds: 1e-5, ..FittedCost::default() };
    let base = BaseCost::zero();
    let cost = StepCost { base: &base, lora: &lora };
    let most = |policy: &mut dyn Policy| {
        Simulation::new().run(&trace, &adapters, cost, policy).unwrap().per_token_seconds.max
    };
    let target = 4e-3;
    let (aware, plain) = (most(&mut RankAware::new(cost, target)), most(&mut Fcfs));
    // A prefill of one row joins a step now and then.
    assert!(aware <= target * 1.2 && plain > 2.0 * target, "{aware} {plain}");
}

#[test]
fn distinct_adapters_run_as_fast_as_one_with_the_segmented_cost_and_not_with_the_loop() {
    // Made up: 224 operators of 6 microseconds, 2 per adapter beyond the launch, 10 nanoseconds per rank.
    let made_up = |rows: u64, segments: u64, rank: u64| MeasuredPoint {
        rows,
        segments,
        total_rank_rows: rank * rows,
        total_rank: rank * segments,
        seconds: 6e-6
            + 1e-7 * segments as f64
            + 1e-8 * (rank * segments) as f64
            + 1e-10 * (rank * rows) as f64,
    };
    let shapes = [(1, 1), (8, 1), (8, 8), (32, 1), (32, 6), (32, 32), (512, 1), (512, 4)];
    let points: Vec<MeasuredPoint> = shapes
        .iter()
        .flat_map(|&(rows, segments)| [8, 16, 64].map(|rank| made_up(rows, segments, rank)))
        .collect();
    let segmented = fit(&points).unwrap().times(224.0);
    let base = BaseCost::punica_a100_7b();
    let trace = |adapters| TraceBuilder::new(uniform(200, adapters)).build(&bits(0)).unwrap();
    let workloads = [("identical", trace(1)), ("uniform", trace(15)), ("distinct", trace(200))];
    let per_adapter = LoopCost { each: segmented };
    let table = punica_table(&workloads, &segmented, &per_adapter, &base, &TableSettings::default()).unwrap();
    assert_eq!(table.len(), 12);
    for row in &table {
        let words = (&row.workload, row.lora, &row.base[..9]);
        println!("{words:?} {:.0} tokens/s, {:.2}", row.report.tokens_per_second, row.of_first);
    }
    let share = |workload, lora, is_zero: bool| {
        let is = |row: &&TableRow| {
            row.workload == workload && row.lora == lora && row.base.starts_with("zero") == is_zero
        };
        table.iter().find(is).unwrap().of_first
    };
    for workload in ["identical", "uniform", "distinct"] {
        let share = share(workload, "segmented", false);
        assert!((share - 1.0).abs() <= 0.25, "{workload}: {share}");
    }
    assert!(share("distinct", "loop", false) < 0.5);
    assert!(share("distinct", "loop", true) < 0.2 * share("distinct", "segmented", true));
}

proptest! {
    #![proptest_config(cases())]

    /// No policy leaves a request behind, whatever is short: slots, tokens, bytes, copies or patience.
    #[test]
    fn whatever_is_short_every_request_ends(
        seed in 0..1000_u64,
        devices in 1..4_usize,
        batch in 1..6_usize,
        kv_tokens in 41..120_u64,
        adapters in 1..9_usize,
        room in 1..4_u64,
        patience in prop::sample::select(vec![0.0, 0.5, f64::INFINITY]),
        seconds in prop::sample::select(vec![0.0, 0.01, 1.0]),
        prefetch: bool,
    ) {
        let lengths = Lengths::Uniform { prompt_tokens: (1, 20), decode_steps: (0, 19) };
        let builder = TraceBuilder::new(popular(40, adapters as u32));
        let arrivals = Arrivals::Gamma { rate: 2.0, cv: 3.0 };
        let trace = builder.lengths(lengths).arrivals(arrivals).build(&bits(seed)).unwrap();
        let served = ServedAdapter::cycle(adapters, &[8, 16, 0, 4]).unwrap();
        let cache = CacheLimits { budget_bytes: room * served[0].bytes * 2, ..CacheLimits::default() };
        let limits = DeviceLimits { batch, kv_tokens, cache };
        let simulation =
            Simulation::new().devices(devices).limits(limits).patience_seconds(patience).prefetch(prefetch);
        let base = BaseCost { fixed_seconds: seconds, ..BaseCost::zero() };
        let lora = FittedCost::default();
        for mut policy in policies(&base, &lora) {
            let cost = StepCost { base: &base, lora: &lora };
            let report = simulation.run(&trace, &served, cost, policy.as_mut()).unwrap();
            prop_assert_eq!(report.output_tokens, trace.output_tokens(), "{}", policy.name());
        }
    }
}

/// Plans what cannot be.
struct Broken(fn(&Cluster) -> Option<Placement>, fn(&Cluster) -> StepPlan);

impl Policy for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn place(&mut self, cluster: &Cluster) -> Option<Placement> {
        self.0(cluster)
    }

    fn step(&mut self, cluster: &Cluster, _: usize) -> StepPlan {
        self.1(cluster)
    }
}

#[test]
fn a_policy_that_plans_what_cannot_be_is_an_error() {
    fn first(cluster: &Cluster) -> Option<Placement> {
        cluster.waiting().first().map(|job| Placement { job: job.id, device: 0 })
    }
    let plans: [fn(&Cluster) -> StepPlan; 4] = [
        |_| StepPlan::default(),
        |_| StepPlan { decode: vec![0], ..StepPlan::default() },
        |_| StepPlan { prefill: vec![7], ..StepPlan::default() },
        |_| StepPlan { prefill: vec![0, 0], ..StepPlan::default() },
    ];
    let placements: [fn(&Cluster) -> Option<Placement>; 3] =
        [|_| None, |_| Some(Placement { job: 0, device: 9 }), |_| Some(Placement { job: 9, device: 0 })];
    let broken = plans.into_iter().map(|plan| Broken(first, plan));
    for mut policy in broken.chain(placements.into_iter().map(|place| Broken(place, |_| StepPlan::default())))
    {
        let trace = Trace::new(vec![request(0, 5, 5, 0.0)]).unwrap();
        let (base, lora) = (second(), NoLora);
        let cost = StepCost { base: &base, lora: &lora };
        let error = Simulation::new().run(&trace, &[BASE_MODEL], cost, &mut policy).unwrap_err();
        assert!(matches!(error, Error::Parameter { name: "policy", .. }), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
}

#[test]
fn wrong_settings_are_refused() {
    let trace = Trace::new(vec![request(1, 100, 5, 0.0)]).unwrap();
    let adapters = ServedAdapter::cycle(2, &[16]).unwrap();
    let refused = |simulation: Simulation, adapters: &[ServedAdapter], base: &BaseCost| {
        let cost = StepCost { base, lora: &NoLora };
        simulation.run(&trace, adapters, cost, &mut Fcfs).unwrap_err().to_string()
    };
    let limits = DeviceLimits::default();
    let small = CacheLimits { budget_bytes: 5, ..CacheLimits::default() };
    let frozen = CacheLimits { bytes_per_second: f64::NAN, ..CacheLimits::default() };
    let heavy = ServedAdapter { weight: 0.0, ..adapters[0] };
    let endless = BaseCost { fixed_seconds: f64::NAN, ..BaseCost::zero() };
    let new = Simulation::new;
    let messages = [
        (refused(new().devices(0), &adapters, &second()), "devices"),
        (refused(new().limits(DeviceLimits { batch: 0, ..limits }), &adapters, &second()), "batch"),
        (refused(new().limits(DeviceLimits { kv_tokens: 105, ..limits }), &adapters, &second()), "kv_tokens"),
        (refused(new().limits(DeviceLimits { cache: small, ..limits }), &adapters, &second()), "adapter 1"),
        (
            refused(new().limits(DeviceLimits { cache: frozen, ..limits }), &adapters, &second()),
            "bytes_per_second",
        ),
        (refused(new().patience_seconds(f64::NAN), &adapters, &second()), "patience_seconds"),
        (refused(new().window_seconds(0.0), &adapters, &second()), "window_seconds"),
        (refused(new(), &adapters[..1], &second()), "adapter"),
        (refused(new(), &[adapters[0], heavy], &second()), "weight"),
        (refused(new(), &adapters, &endless), "cost"),
    ];
    for (message, word) in messages {
        assert!(message.starts_with(word), "{message}");
    }
    let empty = Trace::new(vec![]).unwrap();
    let report = run(&Simulation::new(), &empty, &[], &second(), &mut Fcfs);
    assert_eq!((report.requests, report.tokens_per_second, report.fairness.total), (0, 0.0, 1.0));
}
