//! Every metric that no product screens: values of `f32` leave pairs out, `f64` decides. Results have the bits of the
//! reference, around tile boundaries, for near ties, and where values leave the range of the type.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView2, array};
use tilefold::distance::{self, Metric};
use tilefold::neighbours::{
    Filter, Filters, Params, Radius, RadiusParams, Within, count_within, nearest, nearest_of_each, within,
    within_of_each,
};
use tilefold::{Device, Error, Points};

use crate::distance_metrics::{metrics, table, with_parameters};
use crate::neighbours::bits;
use crate::neighbours_exact::with_recheck;
use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, uniform};

on_every_backend!(
    tails_have_the_bits_of_the_reference,
    double_precision_has_the_bits_of_the_reference,
    sets_filters_and_farthest_have_the_bits_of_the_reference,
    windows_change_no_bit,
    near_ties_are_decided_in_f64,
    near_ties_fail_without_bound,
    infinite_divergences_come_last,
    values_beyond_the_type_come_last,
    numbers_of_all_sizes_are_exact,
    many_equal_distances_come_by_index,
    inverses_of_low_rank_are_exact,
);

/// The metrics that have no tile of products, with parameters.
fn measures(depth: usize) -> Vec<distance::Params> {
    let plain = [Metric::Manhattan, Metric::Chebyshev].map(distance::Params::new);
    let others = metrics(depth).filter(|params| params.metric != Metric::NanEuclidean);
    plain.into_iter().chain(others).collect()
}

/// Whether the device is said to have done the work itself, where it can.
#[track_caller]
fn check_device(device: &Device, named: &str, is_double: bool) {
    if is_double {
        assert!(named.starts_with(&device.name()), "{named}");
    } else {
        assert_eq!(named, device.name());
    }
}

/// The nearest, the farthest, and those within a radius, all with the bits of the reference.
#[track_caller]
fn check(device: &Device, measure: &distance::Params, points: &Points, queries: &Points, is_double: bool) {
    let metric = measure.metric;
    let count = points.rows().min(3);
    let mut radius = 0.0;
    for farthest in [false, true] {
        let params = Params::of(measure.clone(), count).farthest(farthest);
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let expected = nearest(&Device::reference(), points.view(), queries.view(), &params).unwrap();
        assert_eq!(bits(&found), bits(&expected), "{metric}, farthest {farthest}");
        check_device(device, &found.device, is_double);
        radius += 0.5 * expected.distances.into_f64()[[0, count - 1]];
    }
    let params = RadiusParams::of(measure.clone(), radius);
    let found = within(device, points.view(), queries.view(), &params).unwrap();
    let expected = within(&Device::reference(), points.view(), queries.view(), &params).unwrap();
    assert_eq!(
        (&found.offsets, &found.indices),
        (&expected.offsets, &expected.indices),
        "{metric}, {radius}"
    );
    assert_eq!(found.distances, expected.distances, "{metric}, {radius}");
    check_device(device, &found.device, is_double);
    let counted = count_within(device, points.view(), queries.view(), &params).unwrap();
    assert_eq!(counted.total as usize, expected.indices.len(), "{metric}, {radius}");
    check_device(device, &counted.device, is_double);
}

fn tails_have_the_bits_of_the_reference(device: &Device) {
    for (rows, others, depth) in
        [(1, 1, 2), (3, 65, 2), (31, 33, 5), (129, 17, 7), (5, 257, 33), (2, 130, 65), (33, 3, 193)]
    {
        for measure in measures(depth) {
            let points = table(measure.metric, others, depth, 120);
            let queries = table(measure.metric, rows, depth, 121);
            check(device, &measure, &points.view().into(), &queries.view().into(), false);
        }
    }
}

fn double_precision_has_the_bits_of_the_reference(device: &Device) {
    for (rows, others, depth) in [(9, 140, 2), (33, 70, 21)] {
        for measure in measures(depth) {
            let points = table(measure.metric, others, depth, 122).mapv(f64::from);
            let queries = table(measure.metric, rows, depth, 123).mapv(f64::from);
            check(device, &measure, &points.view().into(), &queries.view().into(), true);
        }
    }
}

/// Points that are prepared in three windows are those that are prepared at once.
#[cfg(feature = "test-hooks")]
fn windows_change_no_bit(device: &Device) {
    let measured = |depth| measures(depth).into_iter().map(move |measure| (measure, depth));
    for (measure, depth) in [2, 70].into_iter().flat_map(measured) {
        let points = table(measure.metric, 150, depth, 51);
        let queries = table(measure.metric, 40, depth, 52);
        let params = Params::of(measure.clone(), 9).with_window(64).with_grid(false);
        let (x, y) = (|| queries.view(), || points.view());
        let found = nearest(device, y(), x(), &params).unwrap();
        let whole = nearest(&Device::reference(), y(), x(), &params).unwrap();
        assert_eq!(bits(&found), bits(&whole), "{}", measure.metric);
        check_device(device, &found.device, false);
        let found = nearest_of_each(device, y(), &params).unwrap();
        let whole = nearest_of_each(&Device::reference(), y(), &params).unwrap();
        assert_eq!(bits(&found), bits(&whole), "{} with itself", measure.metric);
        let radius = whole.distances.into_f64()[[0, 5]];
        let params = RadiusParams::of(measure.clone(), radius).with_window(64).with_grid(false);
        let found = within(device, y(), x(), &params).unwrap();
        let whole = within(&Device::reference(), y(), x(), &params).unwrap();
        assert_eq!((&found.offsets, &found.indices), (&whole.offsets, &whole.indices), "{}", measure.metric);
        let counted = count_within(device, y(), x(), &params).unwrap();
        assert_eq!(counted.total as usize, whole.indices.len(), "{}", measure.metric);
    }
}

#[cfg(not(feature = "test-hooks"))]
fn windows_change_no_bit(_: &Device) {}

fn sets_filters_and_farthest_have_the_bits_of_the_reference(device: &Device) {
    for measure in measures(6) {
        let points = table(measure.metric, 150, 6, 124);
        for farthest in [false, true] {
            let params = Params::of(measure.clone(), 4).farthest(farthest).includes_self(false);
            let of_query = (0..150).map(|query| query % 2).collect();
            let filters = vec![
                Filter::Ids((0..150).filter(|id| id % 3 != 1).collect()),
                Filter::Ids((20..140).collect()),
            ];
            for params in [params.clone(), params.filters(Filters::per_query(filters, of_query))] {
                let found = nearest_of_each(device, points.view(), &params).unwrap();
                let expected = nearest_of_each(&Device::reference(), points.view(), &params).unwrap();
                assert_eq!(bits(&found), bits(&expected), "{}", measure.metric);
                check_device(device, &found.device, false);
            }
        }
        let each: Vec<f64> = (0..150).map(|query| f64::from(query % 5) * 0.2).collect();
        let params = RadiusParams::of(measure.clone(), Radius::Each(each)).includes_self(false).sorted(true);
        let found = within_of_each(device, points.view(), &params).unwrap();
        let expected = within_of_each(&Device::reference(), points.view(), &params).unwrap();
        assert_eq!(
            (found.offsets, found.indices),
            (expected.offsets, expected.indices),
            "{}",
            measure.metric
        );
    }
}

/// Points that are apart by less than a value of `f32` resolves, far from the queries.
struct NearTies {
    points: Array2<f64>,
    queries: Array2<f64>,
}

const COUNT: usize = 5;

impl NearTies {
    fn new(metric: Metric, depth: usize, noise: f64) -> Self {
        let mut draws = Draws::new(125 + depth as u64);
        // Of one sign, so that every metric takes them.
        let base: Vec<f64> = (0..depth).map(|_| 0.2 + draws.unit()).collect();
        let mut near = |base: &f64| base * (1.0 + noise * (2.0 * draws.unit() - 1.0));
        let points = Array2::from_shape_fn((150, depth), |(_, column)| near(&base[column]));
        let queries = table(metric, 30, depth, 126).mapv(|value| f64::from(value.abs()) + 0.01);
        Self { points, queries }
    }

    /// The same with rows of `f32`.
    fn rounded(self) -> Self {
        let round = |rows: Array2<f64>| rows.mapv(|value| f64::from(value as f32));
        Self { points: round(self.points), queries: round(self.queries) }
    }

    /// How many queries have other nearest points than in `f64`, and how many have others within the radius of their 40th
    /// nearest, or another count of them. That radius lies halfway to the next.
    fn wrong(
        &self,
        device: &Device,
        measure: &distance::Params,
        is_double: bool,
        recheck: bool,
    ) -> [usize; 2] {
        let (points, queries) = (self.points.view(), self.queries.view());
        let ranked =
            nearest(&Device::reference(), points, queries, &Params::of(measure.clone(), 41)).unwrap();
        let values = ranked.distances.into_f64();
        let radii = values.outer_iter().map(|row| f64::midpoint(row[39], row[40])).collect();
        let around = RadiusParams::of(measure.clone(), Radius::Each(radii)).sorted(true);
        let expected = within(&Device::reference(), points, queries, &around).unwrap();
        let near = with_recheck(Params::of(measure.clone(), COUNT), recheck);
        let around = with_recheck(around, recheck);
        let (points, queries) =
            (self.points.mapv(|value| value as f32), self.queries.mapv(|value| value as f32));
        let (points, queries): (Points, Points) = if is_double {
            (self.points.view().into(), self.queries.view().into())
        } else {
            (points.view().into(), queries.view().into())
        };
        let found = nearest(device, points.view(), queries.view(), &near).unwrap();
        let counted = count_within(device, points.view(), queries.view(), &around).unwrap();
        let listed = within(device, points.view(), queries.view(), &around);
        check_device(device, &found.device, is_double);
        let is_wrong_near =
            |row: &usize| found.indices.row(*row) != ranked.indices.row(*row).slice(ndarray::s![..COUNT]);
        let own = |found: &Within, row: usize| {
            found.indices[found.offsets[row] as usize..found.offsets[row + 1] as usize].to_vec()
        };
        let counts_wrong =
            (0..30).filter(|&row| counted.counts[row] as usize != own(&expected, row).len()).count();
        // Without the bound, counting and filling may differ, and that is told as an error.
        let lists_wrong = listed.map_or(0, |listed| {
            let is_wrong = |row: &usize| own(&listed, *row) != own(&expected, *row);
            (0..30).filter(is_wrong).count()
        });
        [(0..30).filter(is_wrong_near).count(), counts_wrong.max(lists_wrong)]
    }
}

/// Those whose values are not exact in `f32` anyway.
fn inexact(depth: usize) -> Vec<distance::Params> {
    let is_counted = |metric| {
        use Metric::{Dice, Hamming, Jaccard, Matching, RogersTanimoto, RussellRao, SokalSneath, Yule};
        [Dice, Hamming, Jaccard, Matching, RogersTanimoto, RussellRao, SokalSneath, Yule].contains(&metric)
    };
    measures(depth).into_iter().filter(|measure| !is_counted(measure.metric)).collect()
}

fn near_ties_are_decided_in_f64(device: &Device) {
    for depth in [2, 24, 150] {
        for measure in inexact(depth) {
            let single = NearTies::new(measure.metric, depth, 3e-7).rounded();
            assert_eq!(single.wrong(device, &measure, false, true), [0, 0], "{} of {depth}", measure.metric);
            let double = NearTies::new(measure.metric, depth, 1e-9);
            assert_eq!(double.wrong(device, &measure, true, true), [0, 0], "{} of {depth}", measure.metric);
        }
    }
}

/// The check above must be able to fail: without the bound the errors of `f32` decide.
fn near_ties_fail_without_bound(device: &Device) {
    if cfg!(not(feature = "test-hooks")) {
        return;
    }
    for depth in [24, 150] {
        for measure in inexact(depth) {
            let metric = measure.metric;
            let single = NearTies::new(metric, depth, 3e-7).rounded().wrong(device, &measure, false, false);
            let double = NearTies::new(metric, depth, 1e-9).wrong(device, &measure, true, false);
            println!(
                "{metric} of {depth}: without the bound {single:?} and in f64 {double:?} of 30 are wrong"
            );
            if device.name() == "reference" {
                assert_eq!((single, double), ([0; 2], [0; 2]), "the reference has no bound to do without");
                continue;
            }
            // A largest difference is rounded once, and rounding keeps order: equal values stay, and are decided in f64.
            let is_told = metric == Metric::Chebyshev || (single[0] > 0 && single[1] > 4);
            assert!(is_told && double[1] > 4, "{metric} of {depth}: {single:?} {double:?}");
        }
    }
}

/// A pair where the second row has no share and the first has some is infinitely far apart: behind all others, and an error
/// only where it is wanted.
fn infinite_divergences_come_last(device: &Device) {
    let mut draws = Draws::new(130);
    let mut rows = |count: usize| {
        Array2::from_shape_fn((count, 12), |_| if draws.below(3) == 0 { 0.0 } else { draws.unit() as f32 })
    };
    let (mut points, queries) = (rows(200), rows(20));
    for row in 0..30 {
        points.row_mut(row * 6).mapv_inplace(|value| value + 0.1);
    }
    let measure = distance::Params::new(Metric::KullbackLeibler);
    let params = Params::of(measure.clone(), 30);
    let found = nearest(device, points.view(), queries.view(), &params).unwrap();
    let expected = nearest(&Device::reference(), points.view(), queries.view(), &params).unwrap();
    assert_eq!(bits(&found), bits(&expected));
    check_device(device, &found.device, false);
    for params in [params.farthest(true), Params::of(measure.clone(), 200)] {
        let outcome = nearest(device, points.view(), queries.view(), &params);
        assert!(matches!(outcome, Err(Error::Value { argument: "result", .. })), "{outcome:?}");
    }
    for radius in [0.5, 1e30, f64::INFINITY] {
        let params = RadiusParams::of(measure.clone(), radius);
        let counted = count_within(device, points.view(), queries.view(), &params).unwrap();
        let expected = count_within(&Device::reference(), points.view(), queries.view(), &params).unwrap();
        assert_eq!(counted.counts, expected.counts, "{radius}");
    }
}

/// Distances that `f32` does not hold are the farthest: no error before they are wanted.
fn values_beyond_the_type_come_last(device: &Device) {
    let mut points = uniform(90, 5, 1.0, 131);
    points.row_mut(40).fill(-3e38);
    points.row_mut(41).fill(3.1e38);
    let queries = uniform(7, 5, 1.0, 132);
    for metric in [Metric::Manhattan, Metric::Minkowski, Metric::Canberra, Metric::BrayCurtis] {
        let measure = with_parameters(metric, 5);
        let params = Params::of(measure.clone(), 80);
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let expected = nearest(&Device::reference(), points.view(), queries.view(), &params).unwrap();
        assert_eq!(bits(&found), bits(&expected), "{metric}");
        if matches!(metric, Metric::Manhattan | Metric::Minkowski) {
            let outcome = nearest(device, points.view(), queries.view(), &Params::of(measure, 90));
            assert!(matches!(outcome, Err(Error::Value { argument: "result", .. })), "{metric} {outcome:?}");
        }
    }
    let wide = points.mapv(f64::from);
    let params = Params::new(Metric::Manhattan, 3).farthest(true);
    let found = nearest(device, wide.view(), queries.view(), &params).unwrap();
    let expected = nearest(&Device::reference(), wide.view(), queries.view(), &params).unwrap();
    assert_eq!(bits(&found), bits(&expected));
}

/// Numbers beside each other from below the normal ones of `f32` up, and from 1e-200 up in `f64`.
fn numbers_of_all_sizes_are_exact(device: &Device) {
    for (least, most, is_double) in [(-44, 30, false), (-30, 8, false), (-44, -38, false), (-200, 200, true)]
    {
        let mut draws = Draws::new(133);
        let mut rows = |count: usize| {
            Array2::from_shape_fn((count, 6), |_| {
                draws.unit() * 10.0_f64.powi(least + draws.below((most - least) as usize) as i32)
            })
        };
        let (points, queries) = (rows(80), rows(15));
        for measure in inexact(6) {
            if measure.metric == Metric::Haversine {
                continue;
            }
            let compare = |points: Points, queries: Points| {
                for farthest in [false, true] {
                    let params = Params::of(measure.clone(), 4).farthest(farthest);
                    let found = nearest(device, points.view(), queries.view(), &params);
                    let expected = nearest(&Device::reference(), points.view(), queries.view(), &params);
                    match (found, expected) {
                        (Ok(found), Ok(expected)) => {
                            let of = format!("{} {farthest} from 1e{least}", measure.metric);
                            assert_eq!(bits(&found), bits(&expected), "{of}");
                        }
                        (Err(Error::Value { .. }), Err(Error::Value { .. })) => {}
                        other => panic!("{} {farthest} from 1e{least}: {other:?}", measure.metric),
                    }
                }
            };
            if is_double {
                compare(points.view().into(), queries.view().into());
            } else {
                let (points, queries) = (points.mapv(|v| v as f32), queries.mapv(|v| v as f32));
                compare(points.view().into(), queries.view().into());
            }
        }
    }
}

/// More equal distances than lists keep: all are met, the lowest indices win.
fn many_equal_distances_come_by_index(device: &Device) {
    let mut draws = Draws::new(134);
    let points = Array2::from_shape_simple_fn((6000, 4), || draws.below(2) as u8);
    let queries = points.slice(ndarray::s![..40, ..]);
    for metric in [Metric::Jaccard, Metric::Hamming, Metric::Manhattan, Metric::Chebyshev] {
        for farthest in [false, true] {
            let params = Params::new(metric, 9).farthest(farthest);
            let found = nearest(device, points.view(), queries, &params).unwrap();
            let expected = nearest(&Device::reference(), points.view(), queries, &params).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{metric}, farthest {farthest}");
        }
        let params = RadiusParams::new(metric, 0.5);
        let counted = count_within(device, points.view(), queries, &params).unwrap();
        let expected = count_within(&Device::reference(), points.view(), queries, &params).unwrap();
        assert_eq!(counted.counts, expected.counts, "{metric}");
    }
}

/// Directions that do not count: squares are near 0, where the formula in `f64` adds terms of both signs.
fn inverses_of_low_rank_are_exact(device: &Device) {
    let inverse = array![[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 0.0, 1e-9]];
    let mut draws = Draws::new(135);
    let rows = Array2::from_shape_fn((120, 3), |(row, column)| {
        let along = draws.normal() * 100.0;
        let noise = if row % 2 == 0 { 0.0 } else { 1e-4 * draws.normal() };
        ([2.0, -1.0, 0.0][column] * along + noise) as f32
    });
    let measure = distance::Params::new(Metric::Mahalanobis).inverse_covariance(inverse);
    let of = |rows: ArrayView2<f32>| {
        let params = Params::of(measure.clone(), 7);
        let found = nearest(device, rows, rows, &params).unwrap();
        let expected = nearest(&Device::reference(), rows, rows, &params).unwrap();
        assert_eq!(bits(&found), bits(&expected));
    };
    of(rows.view());
    of(rows.mapv(|value| value + 1000.0).view());
}
