//! Every batch has a plan that covers it once, within the limits, with kernels that exist.

use proptest::prelude::*;

use super::*;
use crate::lora::routes::Routes;

/// Slots and their numbers in the pool differ, so that one taken for the other shows.
fn residents(slots: usize) -> Vec<u32> {
    (0..slots as u32).map(|slot| 5000 - 3 * slot).collect()
}

fn planned(routes: &Routes) -> (Segments, BatchPlan) {
    let segments = Segments::new(routes, 0..routes.rows());
    let plan = BatchPlan::new(&segments, &residents(routes.slots())).unwrap();
    (segments, plan)
}

fn of_lengths(lengths: &[usize]) -> Routes {
    let each = lengths.iter().enumerate();
    Routes::of_slots(each.flat_map(|(slot, &rows)| std::iter::repeat_n(Some(slot as u32), rows)))
}

fn chunks_of<'p>(plan: &'p BatchPlan, chunks: &Chunks) -> impl Iterator<Item = &'p [u32]> {
    plan.words[chunks.first as usize..][..4 * chunks.count as usize].chunks_exact(4)
}

/// The positions of a launch, after a check of every chunk.
fn positions_of(plan: &BatchPlan, chunks: &Chunks) -> Vec<u32> {
    let table = |at: u32, index: u32| plan.words[(at + index) as usize];
    let mut positions = Vec::new();
    for chunk in chunks_of(plan, chunks) {
        let range = chunk[1]..chunk[1] + chunk[2];
        assert!(chunk[2] > 0 && range.end <= plan.positions, "{chunk:?}");
        match chunks.family {
            Family::Stream(most) | Family::Tile(most) => {
                assert!(chunk[2] <= most, "{chunk:?} in {:?}", chunks.family);
                let is_own = |position: u32| table(plan.slots_at, position) == chunk[0];
                assert!(range.clone().all(is_own), "{chunk:?} has another adapter's positions");
                positions.extend(range);
            }
            Family::Dense(most) => {
                assert!(chunk[2] <= most, "{chunk:?}");
                positions.extend(range.map(|index| table(plan.by_row_at, index)));
            }
            Family::Routed => {
                let of_row: Vec<u32> = range.map(|index| table(plan.by_row_at, index)).collect();
                let is_of_row = |position: &u32| table(plan.rows_at, *position) == chunk[0];
                assert!(of_row.iter().all(is_of_row), "{chunk:?} has another row's positions");
                positions.extend(of_row);
            }
        }
    }
    positions
}

fn each_once<'c>(plan: &BatchPlan, launches: impl IntoIterator<Item = &'c Chunks>) {
    let mut all: Vec<u32> = launches.into_iter().flat_map(|chunks| positions_of(plan, chunks)).collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..plan.positions), "positions are missing or there twice: {all:?}");
}

/// The families that the table at [`Families::choose`] gives.
fn expected_families(lengths: &[u32]) -> Vec<Family> {
    let long: Vec<u32> = lengths.iter().copied().filter(|length| *length > 4).collect();
    let small = lengths.len() - long.len();
    let rows = if long.iter().sum::<u32>() > 32 * long.len() as u32 { 64 } else { 32 };
    let tiles: u32 = long.iter().map(|length| length.div_ceil(rows)).sum();
    match (long.is_empty(), small) {
        (true, 0) => vec![],
        (true, _) if lengths.iter().all(|length| *length == 1) => vec![Family::Stream(1)],
        (true, _) => vec![Family::Stream(4)],
        (false, small) if small as u32 <= 8 + 2 * tiles => vec![Family::Tile(rows)],
        (false, _) => vec![Family::Stream(4), Family::Tile(rows)],
    }
}

fn check(routes: &Routes) -> BatchPlan {
    let (segments, plan) = planned(routes);
    assert_eq!(plan.positions as usize, routes.count());
    each_once(&plan, &plan.shrink);
    each_once(&plan, &plan.expand);
    if let Some(dense) = &plan.dense {
        each_once(&plan, [dense]);
        assert!(plan.used <= 8);
    }
    let families: Vec<Family> = plan.shrink.iter().map(|chunks| chunks.family).collect();
    assert_eq!(families, expected_families(&plan.lengths));
    assert!(plan.expand.len() <= 2 && plan.words.len() <= 16 * routes.count());
    let is_routed = |chunks: &Chunks| chunks.family == Family::Routed;
    if segments.has_several {
        // One workgroup adds up all routes of a row: as many chunks as rows with routes.
        let rows = (0..routes.rows()).filter(|row| !routes.of_row(*row).is_empty()).count();
        assert!(plan.expand.len() == 1 && is_routed(&plan.expand[0]));
        assert_eq!(plan.expand[0].count as usize, rows);
    } else {
        assert!(plan.expand.iter().all(|chunks| is_routed(chunks) == (families == [Family::Stream(1)])));
    }
    plan
}

fn check_shrink(plan: &BatchPlan, inputs: usize, ranks: &[u32], limits: &Limits) {
    let shrink = plan.shrink_of(inputs, ranks, limits);
    let (most, total) = (ranks.iter().copied().max().unwrap_or(0), ranks.iter().sum::<u32>());
    assert!(shrink.launches.len() <= 2 && shrink.stride == most);
    each_once(plan, &shrink.launches);
    let is_dense = shrink.launches.iter().any(|chunks| matches!(chunks.family, Family::Dense(_)));
    assert!(shrink.columns * shrink.column_tiles >= if is_dense { total } else { most });
    // The planes split the blocks without a gap, none is empty.
    assert_eq!(shrink.blocks as usize, inputs.div_ceil(BLOCK as usize));
    assert_eq!(shrink.planes, shrink.blocks.div_ceil(shrink.blocks_per_plane));
    // Anything between would add the blocks in another order.
    assert!([1, shrink.blocks].contains(&shrink.planes), "{} planes of {}", shrink.planes, shrink.blocks);
    let one_plane = 4 * u64::from(plan.positions) * u64::from(most);
    assert!(shrink.shrunk_bytes(plan.positions) <= shrunk_limit(limits).max(one_plane));
    for chunks in &shrink.launches {
        let [across, along] = grid_of(chunks.count, limits);
        let grid = [shrink.planes * shrink.column_tiles.max(shrink.rank_groups), across, along];
        assert!(grid.iter().all(|n| (1..=limits.max_workgroups_per_dimension).contains(n)), "{grid:?}");
        assert!(across * along >= chunks.count && across * (along - 1) < chunks.count);
    }
    #[cfg(all(feature = "gpu", feature = "test-hooks"))]
    for chunks in &shrink.launches {
        let columns = if matches!(chunks.family, Family::Stream(_)) { 32 } else { shrink.columns };
        let shrink = (chunks.family, columns);
        assert!(crate::lora::gpu::kernels::SHRINKS.contains(&shrink), "{shrink:?} is not tested");
    }
}

fn limits(binding: u32, budget: u32, workgroups: u32) -> Limits {
    Limits {
        max_binding_bytes: 1 << binding,
        window_bytes: 1 << binding,
        budget_bytes: 1 << budget,
        max_workgroups_per_dimension: workgroups,
        ..Limits::for_tests()
    }
}

#[test]
fn every_family_is_chosen() {
    let families = |lengths: &[usize]| {
        let plan = check(&of_lengths(lengths));
        let of = |chunks: &[Chunks]| chunks.iter().map(|chunks| chunks.family).collect::<Vec<_>>();
        (of(&plan.shrink), of(&plan.expand), plan.dense.map(|chunks| chunks.family))
    };
    let (stream, tile) = (Family::Stream(4), Family::Tile(64));
    assert_eq!(families(&[1; 70]), (vec![Family::Stream(1)], vec![Family::Routed], None));
    assert_eq!(families(&[1, 4, 2]), (vec![stream], vec![stream], None));
    assert_eq!(families(&[1; 9].map(|n| 5 * n)), (vec![Family::Tile(32)], vec![Family::Tile(32)], None));
    assert_eq!(families(&[70, 1]), (vec![tile], vec![tile], None));
    let mixed = [vec![40], vec![1; 20]].concat();
    assert_eq!(families(&mixed), (vec![stream, tile], vec![stream, tile], None));
    assert_eq!(families(&[]), (vec![], vec![], None));
}

#[test]
fn one_dense_tile_takes_the_place_of_several() {
    let plan = check(&of_lengths(&[9, 8, 7, 8]));
    let few = plan.shrink_of(4096, &[8; 4], &Limits::for_tests());
    assert_eq!((few.launches[0].family, few.column_tiles), (Family::Dense(32), 1));
    let many = plan.shrink_of(4096, &[64; 4], &Limits::for_tests());
    assert_eq!((many.launches[0].family, many.column_tiles), (Family::Tile(32), 1));
}

#[test]
fn launches_do_not_grow_with_the_adapters() {
    for adapters in [1, 2, 64, 1000] {
        for rows in [1, 3, 40] {
            let plan = check(&of_lengths(&vec![rows; adapters]));
            assert_eq!((plan.shrink.len(), plan.expand.len()), (1, 1), "{adapters} of {rows} rows");
        }
    }
}

/// Row offsets in 32 bits overflowed at long contexts (comments in vLLM's `kernel_utils.py`).
#[test]
fn row_offsets_stay_within_32_bits() {
    for binding in [27, 31, 32, 34, 36, 40] {
        for (inputs, outputs) in [(8, 4), (4096, 4096), (128_256, 4), (8, 1 << 24), (1 << 24, 1 << 27)] {
            let sizes = RowSizes { routes: 1, inputs, outputs, rank: 16 };
            let rows = window_rows(&sizes, &limits(binding, 45, 65_535));
            let last = rows as u64 * inputs.max(outputs) as u64;
            assert!(last <= 1 << 32, "{rows} rows of {inputs} and {outputs} in 2^{binding} bytes");
        }
    }
}

fn routes_strategy() -> impl Strategy<Value = Routes> {
    let lengths = prop::collection::vec(prop_oneof![0..3_usize, 0..6_usize, 0..90_usize], 0..24);
    let scattered = (1..40_u32, prop::collection::vec(0..100_u32, 0..200)).prop_map(|(slots, draws)| {
        Routes::of_slots(draws.into_iter().map(|draw| (draw % 7 > 0).then_some(draw % slots)))
    });
    let several = prop::collection::vec(prop::collection::vec(0..9_u32, 0..4), 0..60).prop_map(|rows| {
        let mut routes = Routes::new();
        for row in rows {
            routes.push_scaled(&row.iter().map(|slot| (*slot, 0.5)).collect::<Vec<_>>()).unwrap();
        }
        routes
    });
    prop_oneof![lengths.prop_map(|lengths| of_lengths(&lengths)), scattered, several]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_batch_has_a_plan(
        routes in routes_strategy(), inputs in 1_usize..40_000, widest in 1_u32..=4096, seed: u32,
        binding in 20_u32..37, budget in 24_u32..42,
    ) {
        let plan = check(&routes);
        let rank = |i: u32| if i.is_multiple_of(5) { 0 } else { (i.wrapping_mul(seed | 1) >> 7) % (widest + 1) };
        let ranks: Vec<u32> = (0..plan.used).map(rank).collect();
        check_shrink(&plan, inputs, &ranks, &limits(binding, budget, 65_535));
    }

    #[test]
    fn every_window_fits(
        routes in 1_usize..100, inputs in 1_usize..1 << 24, outputs in 1_usize..1 << 27, rank in 0_usize..=4096,
        narrow in 0_u32..24, binding in 16_u32..41, budget in 20_u32..46,
    ) {
        let (inputs, outputs) = ((inputs >> narrow).max(1), (outputs >> narrow).max(1));
        let limits = limits(binding, budget, 65_535);
        let rows = window_rows(&RowSizes { routes, inputs, outputs, rank }, &limits) as u64;
        prop_assert!(rows >= 1);
        if rows > 1 {
            let widest = inputs.max(outputs) as u64;
            prop_assert!(rows * widest <= 1 << 32);
            prop_assert!(4 * rows * widest <= limits.max_binding_bytes.min(limits.budget_bytes / 4));
            prop_assert!(4 * rows * (routes * rank) as u64 <= shrunk_limit(&limits));
            prop_assert!(4 * 16 * rows * routes as u64 <= limits.max_binding_bytes);
        }
    }
}
