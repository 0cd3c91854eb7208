//! Filters, wrong input, cancelling: what a search refuses and what it never returns.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::s;
use tilefold::distance::Metric;
use tilefold::neighbours::{
    Filter, Filters, Neighbours, Params, RadiusParams, nearest, nearest_of_each, within,
};
use tilefold::{Cancel, Device, Error};

use crate::neighbours::{SCREENED, check, slack, wide};
use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, uniform};

on_every_backend!(
    filters_are_kept,
    wrong_input_is_named,
    too_large_results_are_refused,
    cancelling_ends_a_search,
    overflow_is_an_error,
    integers_that_f64_would_round_are_refused
);

fn filters_are_kept(device: &Device) {
    let (points, queries) = (uniform(203, 7, 1.0, 30), uniform(45, 7, 1.0, 31));
    let mut draws = Draws::new(32);
    let allowed: Vec<Vec<bool>> = [0.5, 0.06, 0.97]
        .iter()
        .map(|&share| (0..203).map(|at| draws.unit() < share || at < 6).collect())
        .collect();
    let bitmap = |bits: &[bool]| {
        let byte =
            |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (at, &bit)| byte | u8::from(bit) << at);
        Filter::Bitmap(bits.chunks(8).map(byte).collect())
    };
    let ids = |bits: &[bool]| Filter::Ids((0..203_u32).rev().filter(|&at| bits[at as usize]).collect());
    let of_query: Vec<u32> = (0..45).map(|query| query * 7 % 3).collect();
    let filters = vec![bitmap(&allowed[0]), ids(&allowed[1]), bitmap(&allowed[2])];
    for metric in SCREENED {
        let params = Params::new(metric, 6).filters(Filters::per_query(filters.clone(), of_query.clone()));
        let found = nearest(device, points.view(), queries.view(), &params).unwrap();
        let points = wide(points.view());
        let left_out = |query: usize, index: usize| !allowed[of_query[query] as usize][index];
        check(&found, (metric, false), &points, &wide(queries.view()), left_out, slack(metric, &points));
    }
    let params = Params::new(Metric::Euclidean, 5).includes_self(false);
    let params = params.filters(Filters::for_all(ids(&allowed[1])));
    let found = nearest_of_each(device, points.view(), &params).unwrap();
    let points = wide(points.view());
    let left_out = |query: usize, index: usize| query == index || !allowed[1][index];
    check(&found, (Metric::Euclidean, false), &points, &points, left_out, 0.0);
}

#[track_caller]
fn is_parameter(outcome: Result<Neighbours, Error>, named: &str) {
    match outcome {
        Err(Error::Parameter { name, .. }) => assert_eq!(name, named),
        other => panic!("{other:?}"),
    }
}

fn wrong_input_is_named(device: &Device) {
    let (points, queries) = (uniform(20, 4, 1.0, 33), uniform(6, 4, 1.0, 34));
    for metric in Metric::GEOMETRIC {
        let search = |count| nearest(device, points.view(), queries.view(), &Params::new(metric, count));
        is_parameter(search(0), "count");
        is_parameter(search(21), "count");
        assert!(search(20).is_ok());
        let alone = Params::new(metric, 20).includes_self(false);
        is_parameter(nearest_of_each(device, points.view(), &alone), "count");
        for bad in [f32::NAN, f32::INFINITY] {
            let mut wrong = queries.clone();
            wrong[[3, 2]] = bad;
            match nearest(device, points.view(), wrong.view(), &Params::new(metric, 2)) {
                Err(Error::Value { argument: "queries", row: 3, column: 2, .. }) => {}
                other => panic!("{metric}: {other:?}"),
            }
            match nearest_of_each(device, wrong.view(), &Params::new(metric, 2)) {
                Err(Error::Value { argument: "points", row: 3, column: 2, .. }) => {}
                other => panic!("{metric}: {other:?}"),
            }
        }
        let narrow = queries.slice(s![.., ..3]);
        let outcome = nearest(device, points.view(), narrow, &Params::new(metric, 2));
        assert!(matches!(outcome, Err(Error::Shape { argument: "queries", .. })), "{outcome:?}");
        let outcome = nearest(device, points.slice(s![..0, ..]), queries.view(), &Params::new(metric, 1));
        assert!(matches!(outcome, Err(Error::Shape { argument: "points", .. })), "{outcome:?}");
        let filtered = |filters| {
            let params = Params::new(metric, 2).filters(filters);
            nearest(device, points.view(), queries.view(), &params)
        };
        is_parameter(filtered(Filters::for_all(Filter::Ids(vec![4]))), "count");
        is_parameter(filtered(Filters::for_all(Filter::Ids(vec![4, 20]))), "filters");
        for wrong in [
            Filters::for_all(Filter::Bitmap(vec![255; 2])),
            Filters::per_query(vec![Filter::Ids(vec![1, 2])], vec![0; 5]),
        ] {
            let outcome = filtered(wrong);
            assert!(matches!(outcome, Err(Error::Shape { argument: "filters", .. })), "{outcome:?}");
        }
        let radius =
            |radius| within(device, points.view(), queries.view(), &RadiusParams::new(metric, radius));
        let mut refused = vec![f64::NAN];
        refused.extend((metric != Metric::InnerProduct).then_some(-1e-300));
        for wrong in refused {
            match radius(wrong) {
                Err(Error::Parameter { name: "radius", .. }) => {}
                other => panic!("{metric}: {other:?}"),
            }
        }
    }
    let mut zero = points.clone();
    zero.row_mut(11).fill(0.0);
    match nearest(device, zero.view(), queries.view(), &Params::new(Metric::Cosine, 1)) {
        Err(Error::Value { argument: "points", row: 11, .. }) => {}
        other => panic!("{other:?}"),
    }
}

fn too_large_results_are_refused(device: &Device) {
    let points = uniform(20, 4, 1.0, 35);
    let params = Params::new(Metric::Euclidean, 3);
    match nearest_of_each(device, points.view(), &params.clone().max_bytes(20 * 3 * 8 - 1)) {
        Err(Error::TooLarge { needed_bytes: 480, limit_bytes: 479, .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(nearest_of_each(device, points.view(), &params.max_bytes(480)).is_ok());
    // The count is told before anything is filled.
    let params = RadiusParams::new(Metric::Euclidean, 1e9).max_bytes(400 * 8 - 1);
    match within(device, points.view(), points.view(), &params) {
        Err(Error::TooLarge { what, needed_bytes: 3200, .. }) => assert!(what.contains("400"), "{what}"),
        other => panic!("{other:?}"),
    }
}

fn cancelling_ends_a_search(device: &Device) {
    let points = uniform(50, 3, 1.0, 36);
    let cancel = Cancel::new();
    cancel.cancel();
    for metric in [Metric::Euclidean, Metric::Manhattan] {
        let params = Params::new(metric, 3).cancel(cancel.clone());
        let outcome = nearest_of_each(device, points.view(), &params);
        assert!(matches!(outcome, Err(Error::Cancelled)), "{outcome:?}");
    }
}

fn overflow_is_an_error(device: &Device) {
    let mut points = uniform(20, 4, 1.0, 37);
    points[[7, 1]] = 1e30;
    let params = Params::new(Metric::SquaredEuclidean, 20);
    match nearest_of_each(device, points.view(), &params) {
        Err(Error::Value { argument: "result", .. }) => {}
        other => panic!("{other:?}"),
    }
    let wide = points.mapv(f64::from);
    assert!(nearest_of_each(device, wide.view(), &params).is_ok());
}

fn integers_that_f64_would_round_are_refused(device: &Device) {
    let points = ndarray::array![[0_u64], [1], [3]];
    let queries = ndarray::array![[2_u64], [(1 << 53) + 1]];
    for metric in [Metric::Hamming, Metric::Euclidean, Metric::Manhattan] {
        let text =
            nearest(device, points.view(), queries.view(), &Params::new(metric, 1)).unwrap_err().to_string();
        let got = "got 9007199254740993 in row 1, column 0";
        assert!(
            text.starts_with("queries: expected integers that f64 holds") && text.ends_with(got),
            "{text}"
        );
        let error =
            within(device, queries.view(), points.view(), &RadiusParams::new(metric, 1.0)).unwrap_err();
        assert!(matches!(error, Error::Parameter { name: "points", .. }), "{error}");
    }
}
