//! The grid changes no bit: with it, without it and by definition the results are the same.

use std::f64::consts::{FRAC_PI_2, PI};

use ndarray::{Array2, ArrayView2, Axis, concatenate, s};
use tilefold::distance::{self, Metric};
use tilefold::neighbours::{
    Filter, Filters, Params, Radius, RadiusParams, count_within, nearest, nearest_of_each, within,
    within_of_each,
};
use tilefold::{Device, Points};

use crate::neighbours::bits;
use crate::support::cases::{Draws, duplicates, ties, uniform};

/// Tables whose cells are even, uneven, few, degenerate, far out, huge, tiny, and one that is all but empty; most have
/// `count` points, and queries for about a seventh of that.
fn tables(columns: usize, count: usize) -> Vec<(&'static str, Array2<f64>, Array2<f64>)> {
    let wide = |rows: Array2<f32>| rows.mapv(f64::from);
    let (points, queries) =
        (wide(uniform(count, columns, 1.0, 80)), wide(uniform(count * 3 / 20, columns, 1.3, 81)));
    let mut clustered = points.mapv(|v| 1e-3 * v);
    clustered.slice_mut(s![..count / 10, ..]).mapv_inplace(|v| 1e6 * v);
    let mut flat = points.clone();
    flat.column_mut(columns - 1).fill(0.25);
    let grid = ties(8, 2);
    let whole = |rows: &Array2<f32>| {
        let rows = wide(rows.clone());
        if columns == 3 {
            concatenate![Axis(1), rows, rows.slice(s![.., ..1])]
        } else {
            rows.slice(s![.., ..columns]).to_owned()
        }
    };
    // All others share a cell.
    let mut outlier = points.clone();
    outlier.row_mut(7).fill(1e18);
    let scaled = |scale: f64| (points.mapv(|v| v * scale), queries.mapv(|v| v * scale));
    let mut all = vec![
        ("clustered", clustered, queries.clone()),
        ("flat", flat, queries.clone()),
        ("ties", whole(&grid.centroids), whole(&grid.points)),
        ("twins", wide(duplicates(count * 3 / 4, columns, 3, 82)), queries.clone()),
        ("one point", points.slice(s![..1, ..]).to_owned(), queries.clone()),
        ("equal points", Array2::zeros((50, columns)), queries.clone()),
        ("one far row", outlier, queries.clone()),
        ("far", points.mapv(|v| v + 1e6), queries.mapv(|v| v + 1e6)),
        ("far queries", points.clone(), queries.mapv(|v| v - 1e9)),
    ];
    for (name, scale) in [("huge", 1e140), ("small", 1e-140), ("squares underflow", 1e-170), ("tiny", 1e-310)]
    {
        let (points, queries) = scaled(scale);
        all.push((name, points, queries));
    }
    all.push(("plain", points, queries));
    all
}

fn measures() -> Vec<distance::Params> {
    let plain = [Metric::SquaredEuclidean, Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev];
    let minkowski = [0.5, 1.5, 3.0].map(|p| distance::Params::new(Metric::Minkowski).p(p));
    plain.into_iter().map(distance::Params::new).chain(minkowski).collect()
}

#[test]
fn the_nearest_are_the_same() {
    for columns in 1..=3 {
        for (name, points, queries) in tables(columns, 400) {
            for measure in measures() {
                for count in [1, 3, 40] {
                    let params = Params::of(measure.clone(), count.min(points.nrows()));
                    let search = |device: &Device, params: &Params| {
                        bits(&nearest(device, points.view(), queries.view(), params).unwrap())
                    };
                    let expected = search(&Device::reference(), &params);
                    let about = format!("{name}, {columns} columns, {}, {count}", measure.metric);
                    assert!(search(&Device::cpu(), &params.clone().with_grid(true)) == expected, "{about}");
                    assert!(search(&Device::cpu(), &params.with_grid(false)) == expected, "{about}, no grid");
                }
            }
        }
    }
}

#[test]
fn all_within_are_the_same() {
    for columns in 1..=3 {
        for (name, points, queries) in tables(columns, 160) {
            let spread = queries.iter().chain(&points).fold(0.0_f64, |most, v| most.max(v.abs()));
            for measure in measures() {
                let unit = if measure.metric == Metric::SquaredEuclidean { spread * spread } else { spread };
                let shared: Vec<f64> = (0..queries.nrows()).map(|row| 0.025 * row as f64 * unit).collect();
                for radius in [0.0.into(), (0.3 * unit).into(), f64::INFINITY.into(), Radius::Each(shared)] {
                    let params = RadiusParams::of(measure.clone(), radius);
                    let search = |device: &Device, params: &RadiusParams| {
                        let found = within(device, points.view(), queries.view(), params).unwrap();
                        let counted = count_within(device, points.view(), queries.view(), params).unwrap();
                        assert_eq!(counted.total as usize, found.indices.len());
                        let values: Vec<u64> = found.distances.to_f64().iter().map(|v| v.to_bits()).collect();
                        (found.offsets, found.indices, values)
                    };
                    let expected = search(&Device::reference(), &params);
                    let about = format!("{name}, {columns} columns, {}, {:?}", measure.metric, params.radius);
                    assert!(search(&Device::cpu(), &params.clone().with_grid(true)) == expected, "{about}");
                    let shell = params.clone().beyond(match &params.radius {
                        Radius::One(radius) => Radius::One(0.5 * radius.min(1e300)),
                        Radius::Each(radii) => Radius::Each(radii.iter().map(|r| 0.5 * r).collect()),
                    });
                    let expected = search(&Device::reference(), &shell);
                    assert!(
                        search(&Device::cpu(), &shell.clone().with_grid(true)) == expected,
                        "shell, {about}"
                    );
                    assert!(
                        search(&Device::cpu(), &shell.with_grid(false)) == expected,
                        "no grid, shell, {about}"
                    );
                }
            }
        }
    }
}

#[test]
fn shells_share_nothing_and_leave_out_nothing() {
    let points = ties(12, 2).points.mapv(f64::from);
    let edges = [0.0, 1.0, 2.0, 5.0, 13.0];
    let whole =
        within_of_each(&Device::cpu(), points.view(), &RadiusParams::new(Metric::Euclidean, 13.0)).unwrap();
    let mut total = points.nrows();
    for pair in edges.windows(2) {
        let params = RadiusParams::new(Metric::Euclidean, pair[1]).beyond(pair[0]).with_grid(true);
        let shell = within_of_each(&Device::cpu(), points.view(), &params).unwrap();
        let values = shell.distances.to_f64();
        assert!(!values.is_empty() && values.iter().all(|v| *v > pair[0] && *v <= pair[1]), "{pair:?}");
        total += values.len();
    }
    let equal =
        within_of_each(&Device::cpu(), points.view(), &RadiusParams::new(Metric::Euclidean, 0.0)).unwrap();
    assert_eq!(total - points.nrows() + equal.indices.len(), whole.indices.len());
}

/// Poles, rounded beyond as `f32` does, both sides of the date line, antipodes, and the same place under two longitudes.
fn places(count: usize, seed: u64) -> Array2<f64> {
    let mut draws = Draws::new(seed);
    let mut rows = Array2::from_shape_fn((count, 2), |(_, column)| {
        (2.0 * draws.unit() - 1.0) * if column == 0 { FRAC_PI_2 } else { PI }
    });
    let pole = f64::from(std::f32::consts::FRAC_PI_2);
    let edges = [
        [FRAC_PI_2, 0.0],
        [FRAC_PI_2, 2.0],
        [-FRAC_PI_2, 1.0],
        [pole, 3.0],
        [-pole, -3.0],
        [0.3, PI],
        [0.3, -PI],
        [0.3, PI - 1e-9],
        [0.3, 1e-9 - PI],
        [-0.3, 0.0],
        [0.1, 4.0],
        [0.1, 4.0 - 2.0 * PI],
        [0.0, 0.0],
        [0.0, 1e-12],
    ];
    for (mut row, edge) in rows.outer_iter_mut().zip(edges) {
        row.assign(&ndarray::aview1(&edge));
    }
    rows
}

#[test]
fn haversine_is_the_same() {
    let (points, queries) = (places(500, 83), places(80, 84));
    for count in [1, 10, 500] {
        let params = Params::new(Metric::Haversine, count);
        let search = |device: &Device, params: &Params| {
            bits(&nearest(device, points.view(), queries.view(), params).unwrap())
        };
        let expected = search(&Device::reference(), &params);
        assert!(search(&Device::cpu(), &params.clone().with_grid(true)) == expected, "{count}");
    }
    for radius in [0.0, 1e-9, 0.05, 0.7, FRAC_PI_2, PI - 1e-9, PI, 10.0] {
        let params = RadiusParams::new(Metric::Haversine, radius);
        let search = |device: &Device, params: &RadiusParams| {
            let found = within(device, points.view(), queries.view(), params).unwrap();
            (found.offsets, found.indices, found.distances)
        };
        let expected = search(&Device::reference(), &params);
        assert!(search(&Device::cpu(), &params.with_grid(true)) == expected, "{radius}");
    }
}

/// The nearest of all images within one box in each direction, by hand.
fn image_distance(metric: Metric, x: &[f64], y: &[f64], lengths: &[f64]) -> f64 {
    let along = x.iter().zip(y).zip(lengths).map(|((x, y), length)| {
        [-1.0, 0.0, 1.0].map(|image| (x - y + image * length).abs()).into_iter().fold(f64::INFINITY, f64::min)
    });
    match metric {
        Metric::Manhattan => along.sum(),
        Metric::Chebyshev => along.fold(0.0, f64::max),
        Metric::Euclidean => along.map(|d| d * d).sum::<f64>().sqrt(),
        _ => along.map(|d| d * d).sum(),
    }
}

#[test]
fn boxes_that_repeat_are_the_same() {
    let lengths = [1.0, 2.5, 0.7];
    for columns in 1..=3 {
        let lengths = &lengths[..columns];
        let inside = |rows, seed| {
            let mut draws = Draws::new(seed);
            let mut table =
                Array2::from_shape_fn((rows, columns), |(_, column)| draws.unit() * lengths[column]);
            table.row_mut(0).fill(0.0);
            table.row_mut(1).assign(&ndarray::aview1(lengths));
            table
        };
        let (points, queries) = (inside(300, 85), inside(50, 86));
        for metric in [Metric::SquaredEuclidean, Metric::Euclidean, Metric::Manhattan, Metric::Chebyshev] {
            let params = Params::new(metric, 7).periodic(lengths.to_vec());
            let search = |device: &Device, params: &Params| {
                nearest(device, points.view(), queries.view(), params).unwrap()
            };
            let reference = search(&Device::reference(), &params);
            let expected = bits(&reference);
            assert!(
                bits(&search(&Device::cpu(), &params.clone().with_grid(true))) == expected,
                "{metric} {columns}"
            );
            assert!(
                bits(&search(&Device::cpu(), &params.with_grid(false))) == expected,
                "{metric} {columns}"
            );
            let values = reference.distances.into_f64();
            for (row, query) in queries.outer_iter().enumerate() {
                let query = query.to_vec();
                let mut all: Vec<f64> = points
                    .outer_iter()
                    .map(|point| image_distance(metric, &query, &point.to_vec(), lengths))
                    .collect();
                all.sort_by(f64::total_cmp);
                for (got, expected) in values.row(row).iter().zip(all) {
                    assert!((got - expected).abs() <= 1e-14, "{metric} {columns}: {got} {expected}");
                }
            }
            for radius in [0.0, 0.2, 0.6, 9.0] {
                let params = RadiusParams::new(metric, radius).periodic(lengths.to_vec());
                let search = |device: &Device, params: &RadiusParams| {
                    let found = within(device, points.view(), queries.view(), params).unwrap();
                    (found.offsets, found.indices, found.distances)
                };
                let expected = search(&Device::reference(), &params);
                assert!(
                    search(&Device::cpu(), &params.with_grid(true)) == expected,
                    "{metric} {columns} {radius}"
                );
            }
        }
    }
}

#[test]
fn filters_and_own_places_are_kept() {
    let points = uniform(500, 2, 1.0, 87);
    let ids: Vec<u32> = (0..500).filter(|id| id % 3 != 1).collect();
    let filters = Filters::for_all(Filter::Ids(ids));
    let params = Params::new(Metric::Euclidean, 6).includes_self(false).filters(filters.clone());
    let expected = bits(&nearest_of_each(&Device::reference(), points.view(), &params).unwrap());
    let found = nearest_of_each(&Device::cpu(), points.view(), &params.with_grid(true)).unwrap();
    assert_eq!(bits(&found), expected);
    let params = RadiusParams::new(Metric::Euclidean, 0.2).includes_self(false).filters(filters);
    let expected = within_of_each(&Device::reference(), points.view(), &params).unwrap();
    let found = within_of_each(&Device::cpu(), points.view(), &params.with_grid(true)).unwrap();
    assert_eq!((found.offsets, found.indices), (expected.offsets, expected.indices));
}

/// Every element type has places, sparse rows too.
#[test]
fn whole_and_half_numbers_are_the_same() {
    let rows = uniform(200, 2, 100.0, 88).mapv(|v| v.abs().floor());
    let check = |points: Points| {
        let params = Params::new(Metric::Manhattan, 5);
        let search =
            |device: &Device, params: &Params| bits(&nearest_of_each(device, points.view(), params).unwrap());
        assert_eq!(
            search(&Device::cpu(), &params.clone().with_grid(true)),
            search(&Device::reference(), &params)
        );
    };
    check(ArrayView2::from(&rows.mapv(|v| v as u8)).into());
    check(ArrayView2::from(&rows.mapv(|v| v as i64)).into());
    check(ArrayView2::from(&rows.mapv(half::f16::from_f32)).into());
}
