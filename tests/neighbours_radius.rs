//! Radius searches against distances in `f64`: the same indices, counted and filled.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::Array2;
use tilefold::Device;
use tilefold::distance::Metric;
use tilefold::neighbours::{
    Filter, Filters, Graph, Params, Radius, RadiusParams, Symmetry, Values, Within, count_within,
    count_within_of_each, nearest_of_each, within, within_of_each,
};

use crate::neighbours::{SCREENED, value, wide};
use crate::support::backends::on_every_backend;
use crate::support::cases::{tail_shapes, ties, uniform};

on_every_backend!(
    shapes_around_every_boundary_are_exact,
    every_geometric_metric_is_exact,
    points_at_the_radius_are_within,
    each_query_may_have_its_radius,
    results_come_sorted_or_by_index,
    filters_are_kept,
    no_points_and_all_points_are_found,
    graphs_hold_what_was_found,
);

/// Indices within a radius, and those so near to it that a formula in another order may differ.
fn expected(
    metric: Metric,
    points: &Array2<f64>,
    query: &[f64],
    radius: f64,
    slack: f64,
) -> (Vec<u32>, Vec<u32>) {
    let (mut inside, mut near) = (Vec::new(), Vec::new());
    for (index, point) in points.outer_iter().enumerate() {
        let got = value(metric, query, &point.to_vec());
        let beyond = if metric == Metric::InnerProduct { radius - got } else { got - radius };
        if beyond <= slack {
            near.push(index as u32);
        }
        if beyond <= -slack {
            inside.push(index as u32);
        }
    }
    (inside, near)
}

#[track_caller]
fn check(
    found: &Within,
    metric: Metric,
    points: &Array2<f64>,
    queries: &Array2<f64>,
    radius: &Radius,
    slack: f64,
) {
    assert_eq!(found.offsets.len(), queries.nrows() + 1);
    let distances = found.distances.to_f64();
    for (query, row) in queries.outer_iter().enumerate() {
        let own = found.offsets[query] as usize..found.offsets[query + 1] as usize;
        let radius = match radius {
            Radius::One(radius) => *radius,
            Radius::Each(radii) => radii[query],
        };
        let row = row.to_vec();
        let (inside, near) = expected(metric, points, &row, radius, slack);
        let mut indices = found.indices[own.clone()].to_vec();
        for (&index, got) in indices.iter().zip(&distances[own]) {
            let exact = value(metric, &row, &points.row(index as usize).to_vec());
            assert!((got - exact).abs() <= slack + 6e-8 * exact.abs() + 1e-45, "{metric}: {got} {exact}");
        }
        indices.sort_unstable();
        assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "{metric}: an index twice");
        assert!(
            inside.iter().all(|index| indices.binary_search(index).is_ok()),
            "{metric}: {query} misses one"
        );
        assert!(
            indices.iter().all(|index| near.binary_search(index).is_ok()),
            "{metric}: {query} has one more"
        );
    }
}

fn slack(metric: Metric) -> f64 {
    if matches!(metric, Metric::SquaredEuclidean | Metric::Euclidean) { 0.0 } else { 1e-12 }
}

fn shapes_around_every_boundary_are_exact(device: &Device) {
    for shape in tail_shapes() {
        let (queries, points) =
            (uniform(shape.rows, shape.depth, 1.0, 40), uniform(shape.others, shape.depth, 1.0, 41));
        let radius = (shape.depth as f64 * 2.0 / 3.0).sqrt();
        let params = RadiusParams::new(Metric::Euclidean, radius);
        let found = within(device, points.view(), queries.view(), &params).unwrap();
        let counted = count_within(device, points.view(), queries.view(), &params).unwrap();
        assert_eq!(counted.total as usize, found.indices.len());
        for (pair, count) in found.offsets.windows(2).zip(counted.counts) {
            assert_eq!(pair[1] - pair[0], count);
        }
        let (points, queries) = (wide(points.view()), wide(queries.view()));
        check(&found, Metric::Euclidean, &points, &queries, &params.radius, 0.0);
    }
}

fn every_geometric_metric_is_exact(device: &Device) {
    let (points, queries) = (uniform(140, 12, 1.0, 42), uniform(31, 12, 1.0, 43));
    for (metric, radius) in [
        (Metric::SquaredEuclidean, 6.0),
        (Metric::Euclidean, 2.5),
        (Metric::Cosine, 0.8),
        (Metric::InnerProduct, -0.3),
        (Metric::InnerProduct, 1.0),
        (Metric::Manhattan, 7.0),
        (Metric::Chebyshev, 1.2),
    ] {
        let params = RadiusParams::new(metric, radius);
        let found = within(device, points.view(), queries.view(), &params).unwrap();
        assert!(
            !found.indices.is_empty() && found.indices.len() < 140 * 31,
            "{metric}: {}",
            found.indices.len()
        );
        let reference = within(&Device::reference(), points.view(), queries.view(), &params).unwrap();
        assert_eq!((&found.offsets, &found.indices), (&reference.offsets, &reference.indices), "{metric}");
        assert_eq!(found.distances, reference.distances, "{metric}");
        let (points, queries) = (wide(points.view()), wide(queries.view()));
        check(&found, metric, &points, &queries, &params.radius, slack(metric));
    }
}

/// Whole numbers lie exactly at the radius.
fn points_at_the_radius_are_within(device: &Device) {
    let grid = ties(12, 2);
    let points = wide(grid.points.view());
    for (metric, radius) in [
        (Metric::Euclidean, 5.0),
        (Metric::SquaredEuclidean, 25.0),
        (Metric::Euclidean, 0.0),
        (Metric::InnerProduct, 60.0),
    ] {
        let params = RadiusParams::new(metric, radius);
        let found = within_of_each(device, grid.points.view(), &params).unwrap();
        check(&found, metric, &points, &points, &params.radius, 0.0);
        let counted = count_within_of_each(device, grid.points.view(), &params).unwrap();
        assert_eq!(counted.total as usize, found.indices.len());
    }
}

fn each_query_may_have_its_radius(device: &Device) {
    let (points, queries) = (uniform(90, 3, 1.0, 44), uniform(40, 3, 1.0, 45));
    let radii: Vec<f64> = (0..40).map(|query| f64::from(query) * 0.05).collect();
    let params = RadiusParams::new(Metric::Euclidean, Radius::Each(radii));
    let found = within(device, points.view(), queries.view(), &params).unwrap();
    check(&found, Metric::Euclidean, &wide(points.view()), &wide(queries.view()), &params.radius, 0.0);
    let params = RadiusParams::new(Metric::Euclidean, Radius::Each(vec![1.0; 39]));
    let message = within(device, points.view(), queries.view(), &params).unwrap_err().to_string();
    assert_eq!(message, "radius: expected 40 values, one per query, got 39");
}

fn results_come_sorted_or_by_index(device: &Device) {
    let points = uniform(120, 5, 1.0, 46);
    for metric in SCREENED {
        let params = RadiusParams::new(metric, 0.9);
        let plain = within_of_each(device, points.view(), &params).unwrap();
        let sorted = within_of_each(device, points.view(), &params.clone().sorted(true)).unwrap();
        assert_eq!(plain.offsets, sorted.offsets);
        let values = sorted.distances.to_f64();
        for own in plain.offsets.windows(2).map(|pair| pair[0] as usize..pair[1] as usize) {
            assert!(plain.indices[own.clone()].is_sorted());
            let sign = if metric == Metric::InnerProduct { -1.0 } else { 1.0 };
            assert!(values[own.clone()].is_sorted_by(|a, b| sign * a <= sign * b), "{metric}");
            let mut indices = sorted.indices[own.clone()].to_vec();
            indices.sort_unstable();
            assert_eq!(indices, plain.indices[own]);
        }
        let alone = within_of_each(device, points.view(), &params.includes_self(false)).unwrap();
        let own = (0..120).filter(|&row| {
            let range = alone.offsets[row] as usize..alone.offsets[row + 1] as usize;
            alone.indices[range].contains(&(row as u32))
        });
        assert_eq!(own.count(), 0, "{metric}");
    }
}

fn filters_are_kept(device: &Device) {
    let (points, queries) = (uniform(80, 4, 1.0, 47), uniform(20, 4, 1.0, 48));
    let ids: Vec<u32> = (0..80).filter(|id| id % 3 == 1).collect();
    let params = RadiusParams::new(Metric::Euclidean, 1.0);
    let all = within(device, points.view(), queries.view(), &params).unwrap();
    let params = params.filters(Filters::for_all(Filter::Ids(ids)));
    let some = within(device, points.view(), queries.view(), &params).unwrap();
    let expected: Vec<u32> = all.indices.iter().copied().filter(|id| id % 3 == 1).collect();
    assert!(!expected.is_empty());
    assert_eq!(some.indices, expected);
}

fn no_points_and_all_points_are_found(device: &Device) {
    let points = uniform(70, 6, 1.0, 49);
    let far = uniform(9, 6, 1.0, 50).mapv(|v| v + 100.0);
    let found =
        within(device, points.view(), far.view(), &RadiusParams::new(Metric::Euclidean, 1.0)).unwrap();
    assert_eq!((found.offsets, found.indices.len()), (vec![0; 10], 0));
    for radius in [1e9, f64::INFINITY] {
        let params = RadiusParams::new(Metric::Euclidean, radius);
        let found = within(device, points.view(), far.view(), &params).unwrap();
        assert_eq!(found.indices.len(), 630);
    }
    for (radius, count) in [(f64::NEG_INFINITY, 630), (f64::INFINITY, 0)] {
        let params = RadiusParams::new(Metric::InnerProduct, radius);
        assert_eq!(within(device, points.view(), far.view(), &params).unwrap().indices.len(), count);
    }
}

fn graphs_hold_what_was_found(device: &Device) {
    let points = uniform(60, 3, 1.0, 51);
    let params = Params::new(Metric::Euclidean, 4).includes_self(false);
    let found = nearest_of_each(device, points.view(), &params).unwrap();
    let is_edge = |row: usize, column: usize| found.indices.row(row).iter().any(|&i| i as usize == column);
    let dense = |graph: &Graph| {
        let mut dense = Array2::<f64>::zeros((60, 60));
        let Values::F32(values) = &graph.values else { panic!("f32 points") };
        for row in 0..60 {
            let own = graph.offsets[row] as usize..graph.offsets[row + 1] as usize;
            assert!(graph.indices[own.clone()].is_sorted_by(|a, b| a < b));
            for at in own {
                dense[[row, graph.indices[at] as usize]] = f64::from(values[at]);
            }
        }
        dense
    };
    for symmetry in [Symmetry::Directed, Symmetry::Either, Symmetry::Both] {
        let graph = Graph::of_neighbours(&found, 60, symmetry);
        assert_eq!((graph.rows, graph.columns), (60, 60));
        for ((row, column), &got) in dense(&graph).indexed_iter() {
            let (there, back) = (is_edge(row, column), is_edge(column, row));
            let expected = match symmetry {
                Symmetry::Directed => there,
                Symmetry::Either => there || back,
                Symmetry::Both => there && back,
            };
            assert_eq!(got != 0.0, expected, "{symmetry:?} {row} {column}");
        }
    }
    let params = RadiusParams::new(Metric::Euclidean, 0.5).includes_self(false);
    let found = within_of_each(device, points.view(), &params).unwrap();
    let graph = dense(&Graph::of_within(&found, 60));
    assert_eq!(graph, graph.t());
    assert_eq!(graph.iter().filter(|&&v| v != 0.0).count(), found.indices.len());
}
