//! Medoids against plain searches in `f64` that this file writes itself, on every backend.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, ArrayView2};
use tilefold::Device;
use tilefold::kmedoids::{Dissimilarities, Fit, Init, Method, Params, fit};

use crate::support::backends::on_every_backend;
use crate::support::cases::{Draws, uniform};

on_every_backend!(
    pam_is_plain_pam,
    faster_pam_is_plain_faster_pam,
    no_swap_improves_what_a_search_ends_with,
    no_loss_is_below_the_optimum,
    silhouettes_are_plain_silhouettes,
    alternating_ends_where_no_cluster_has_a_better_medoid,
    the_number_of_medoids_is_chosen_by_silhouette,
    clara_with_all_objects_is_pam,
    one_medoid_is_the_best_and_all_have_no_loss,
    equal_objects_have_no_loss,
);

/// Distances of random points: no two alike.
pub fn apart(objects: usize, seed: u64) -> Array2<f32> {
    let points = uniform(objects, 3, 1.0, seed);
    Array2::from_shape_fn((objects, objects), |(i, j)| {
        let differences = &points.row(i) - &points.row(j);
        differences.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt() as f32
    })
}

/// Whole numbers from a small range: ties everywhere, sums exact in any order.
pub fn ties(objects: usize, seed: u64) -> Array2<f32> {
    let mut draws = Draws::new(seed);
    let mut matrix = Array2::zeros((objects, objects));
    for i in 0..objects {
        for j in 0..i {
            let value = (1 + draws.below(6)) as f32;
            (matrix[[i, j]], matrix[[j, i]]) = (value, value);
        }
    }
    matrix
}

/// No entry equals the one across the diagonal.
pub fn asymmetric(objects: usize, seed: u64) -> Array2<f32> {
    let mut draws = Draws::new(seed);
    Array2::from_shape_fn((objects, objects), |(i, j)| if i == j { 0.0 } else { draws.unit() as f32 + 0.1 })
}

pub fn loss(matrix: &ArrayView2<f32>, medoids: &[usize]) -> f64 {
    let nearest = |object: usize| {
        medoids.iter().map(|&medoid| f64::from(matrix[[object, medoid]])).fold(f64::INFINITY, f64::min)
    };
    (0..matrix.nrows()).map(nearest).sum()
}

/// The sum of d1 / d2.
pub fn ratios(matrix: &ArrayView2<f32>, medoids: &[usize]) -> f64 {
    let ratio = |object: usize| {
        let mut all: Vec<f64> = medoids.iter().map(|&medoid| f64::from(matrix[[object, medoid]])).collect();
        all.sort_by(f64::total_cmp);
        if all[0] == 0.0 { 0.0 } else { all[0] / all[1] }
    };
    (0..matrix.nrows()).map(ratio).sum()
}

/// Everything that a result says, recomputed. Rounding of sums: one unit per term, and the grid's.
#[track_caller]
pub fn check(found: &Fit, matrix: &ArrayView2<f32>) {
    let objects = matrix.nrows();
    let expected = loss(matrix, &found.medoids);
    let largest = matrix.iter().fold(0.0_f32, |largest, d| largest.max(d.abs()));
    let slack = objects as f64 * f64::EPSILON * f64::from(largest) * objects as f64;
    assert!((found.loss - expected).abs() <= slack, "loss {} is {expected}", found.loss);
    for (object, &label) in found.labels.iter().enumerate() {
        let of = |medoid: usize| matrix[[object, medoid]];
        let nearest = found.medoids[label as usize];
        for (place, &medoid) in found.medoids.iter().enumerate() {
            assert!(
                of(nearest) < of(medoid) || (of(nearest) == of(medoid) && label as usize <= place),
                "object {object}: {label} {place}"
            );
        }
    }
    let mut distinct = found.medoids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), found.medoids.len(), "{:?}", found.medoids);
    assert_eq!(found.silhouette.is_some(), found.medoids.len() > 1 && matrix.iter().all(|d| *d >= 0.0));
    if let Some(silhouette) = found.silhouette {
        let expected = 1.0 - ratios(matrix, &found.medoids) / objects as f64;
        assert!((silhouette - expected).abs() < 1e-12, "silhouette {silhouette} is {expected}");
    }
}

/// BUILD, from its description: always the object that makes the loss smallest.
fn plain_build(matrix: &ArrayView2<f32>, count: usize) -> Vec<usize> {
    let mut medoids = Vec::new();
    for _ in 0..count {
        let with = |object: usize| {
            let mut medoids = medoids.clone();
            medoids.push(object);
            loss(matrix, &medoids)
        };
        let others = (0..matrix.nrows()).filter(|object| !medoids.contains(object));
        let best = others.min_by(|&a, &b| with(a).total_cmp(&with(b))).unwrap();
        medoids.push(best);
    }
    medoids
}

/// SWAP, from its description: the best of all exchanges while it makes the sum smaller.
pub fn plain_swap<T, S: PartialOrd>(
    matrix: &ArrayView2<T>,
    mut medoids: Vec<usize>,
    sum: fn(&ArrayView2<T>, &[usize]) -> S,
) -> Vec<usize> {
    loop {
        let mut best = (sum(matrix, &medoids), medoids.clone());
        for candidate in (0..matrix.nrows()).filter(|candidate| !medoids.contains(candidate)) {
            try_places(&medoids, candidate, &mut best, |swapped| sum(matrix, swapped));
        }
        if best.1 == medoids {
            return medoids;
        }
        medoids = best.1;
    }
}

/// Puts a candidate in each medoid's place, and keeps the first with the least sum where that is below the best.
pub fn try_places<S: PartialOrd>(
    medoids: &[usize],
    candidate: usize,
    best: &mut (S, Vec<usize>),
    sum: impl Fn(&[usize]) -> S,
) {
    for place in 0..medoids.len() {
        let mut swapped = medoids.to_vec();
        swapped[place] = candidate;
        let sum = sum(&swapped);
        if sum < best.0 {
            *best = (sum, swapped);
        }
    }
}

/// FasterPAM's order: candidates one after the other, the best place of each at once, until a round changes nothing.
fn plain_eager(
    matrix: &ArrayView2<f32>,
    mut medoids: Vec<usize>,
    sum: fn(&ArrayView2<f32>, &[usize]) -> f64,
) -> (Vec<usize>, usize) {
    let (objects, mut since, mut swaps, mut candidate) = (matrix.nrows(), 0, 0, 0);
    while since < objects {
        since += 1;
        let with = |place: usize| {
            let mut swapped = medoids.clone();
            swapped[place] = candidate;
            sum(matrix, &swapped)
        };
        if !medoids.contains(&candidate) {
            let place = (0..medoids.len()).min_by(|&a, &b| with(a).total_cmp(&with(b))).unwrap();
            if with(place) < sum(matrix, &medoids) {
                medoids[place] = candidate;
                (since, swaps) = (1, swaps + 1);
            }
        }
        candidate = (candidate + 1) % objects;
    }
    (medoids, swaps)
}

fn matrices() -> Vec<Array2<f32>> {
    vec![apart(37, 1), ties(33, 2), asymmetric(35, 3), apart(65, 4), ties(5, 5), asymmetric(2, 6)]
}

fn pam_is_plain_pam(device: &Device) {
    for matrix in matrices() {
        let matrix = matrix.view();
        for count in [1, 2, 3, 5] {
            let count = count.min(matrix.nrows());
            let params = Params::new(count).method(Method::Pam).init(Init::Build);
            let first = fit(device, matrix, &params.clone().max_iter(0)).unwrap();
            assert_eq!(first.medoids, plain_build(&matrix, count), "BUILD of {count}");
            assert!(!first.converged && first.n_iter == 0);
            let found = fit(device, matrix, &params).unwrap();
            assert_eq!(found.medoids, plain_swap(&matrix, first.medoids, loss), "SWAP of {count}");
            assert!(found.converged && found.n_iter == found.n_swaps + 1);
            check(&found, &matrix);
        }
    }
}

fn faster_pam_is_plain_faster_pam(device: &Device) {
    for (seed, matrix) in matrices().iter().enumerate() {
        let matrix = matrix.view();
        for count in [1, 2, 4, 7] {
            let count = count.min(matrix.nrows());
            let params = Params::new(count).seed(seed as u64);
            let first = fit(device, matrix, &params.clone().max_iter(0)).unwrap().medoids;
            let (medoids, swaps) = plain_eager(&matrix, first, loss);
            let found = fit(device, matrix, &params).unwrap();
            assert_eq!((&found.medoids, found.n_swaps), (&medoids, swaps), "{count} of {}", matrix.nrows());
            assert!(found.converged);
            check(&found, &matrix);
        }
    }
}

fn no_swap_improves_what_a_search_ends_with(device: &Device) {
    for init in
        [Init::Random, Init::Lab, Init::PlusPlus, Init::Heuristic, Init::Build, Init::Given(vec![4, 2, 0])]
    {
        let matrix = ties(29, 7);
        let found = fit(device, matrix.view(), &Params::new(3).init(init)).unwrap();
        assert_eq!(plain_swap(&matrix.view(), found.medoids.clone(), loss), found.medoids);
        check(&found, &matrix.view());
    }
}

fn no_loss_is_below_the_optimum(device: &Device) {
    let matrix = apart(14, 8);
    let matrix = matrix.view();
    let mut least = f64::INFINITY;
    for a in 0..14 {
        for b in 0..a {
            for c in 0..b {
                least = least.min(loss(&matrix, &[a, b, c]));
            }
        }
    }
    for method in methods(device) {
        let found = fit(device, matrix, &Params::new(3).method(method)).unwrap();
        assert!(found.loss >= least - 1e-12, "{method:?}: {} {least}", found.loss);
        check(&found, &matrix);
    }
}

/// All methods that a device has.
pub fn methods(device: &Device) -> Vec<Method> {
    let mut methods = vec![
        Method::FasterPam,
        Method::Pam,
        Method::Alternating,
        Method::Clara { samples: 3, size: None },
        Method::FasterMsc,
        Method::PamMedSil,
        Method::DynMsc { fewest: 2 },
    ];
    if device.name() != "reference" {
        methods.extend([
            Method::Clarans { searches: 2, patience: Some(90) },
            Method::OneBatch { size: None },
            Method::OneBatch { size: Some(5) },
        ]);
    }
    methods
}

fn silhouettes_are_plain_silhouettes(device: &Device) {
    for (seed, matrix) in [apart(31, 9), asymmetric(28, 10)].iter().enumerate() {
        let matrix = matrix.view();
        for count in [2, 3, 4, 6] {
            let params = Params::new(count).seed(seed as u64);
            let first = fit(device, matrix, &params.clone().max_iter(0)).unwrap().medoids;
            let found = fit(device, matrix, &params.clone().method(Method::FasterMsc)).unwrap();
            assert_eq!(found.medoids, plain_eager(&matrix, first.clone(), ratios).0);
            check(&found, &matrix);
            let found = fit(device, matrix, &params.method(Method::PamMedSil)).unwrap();
            assert_eq!(found.medoids, plain_swap(&matrix, first, ratios));
            check(&found, &matrix);
        }
    }
}

fn alternating_ends_where_no_cluster_has_a_better_medoid(device: &Device) {
    for matrix in [apart(40, 11), ties(40, 12)] {
        let params = Params::new(4).method(Method::Alternating);
        let found = fit(device, matrix.view(), &params).unwrap();
        assert!(found.converged);
        check(&found, &matrix.view());
        for (place, &medoid) in found.medoids.iter().enumerate() {
            let members: Vec<usize> =
                (0..40).filter(|&object| found.labels[object] as usize == place).collect();
            let sum = |of: usize| members.iter().map(|&object| f64::from(matrix[[object, of]])).sum::<f64>();
            assert!(members.iter().all(|&object| sum(object) >= sum(medoid) - 1e-12));
        }
    }
}

/// Five groups that are well apart.
fn groups() -> Array2<f32> {
    let mut draws = Draws::new(13);
    let points: Vec<f64> = (0..50).map(|object| f64::from(object % 5) * 100.0 + draws.unit()).collect();
    Array2::from_shape_fn((50, 50), |(i, j)| (points[i] - points[j]).abs() as f32)
}

fn the_number_of_medoids_is_chosen_by_silhouette(device: &Device) {
    let matrix = groups();
    let found = fit(device, matrix.view(), &Params::new(9).method(Method::DynMsc { fewest: 2 })).unwrap();
    assert_eq!(found.medoids.len(), 5);
    assert_eq!(found.tried.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [9, 8, 7, 6, 5, 4, 3, 2]);
    let of_five = found.tried.iter().find(|(count, _)| *count == 5).unwrap().1;
    assert!(found.tried.iter().all(|(_, silhouette)| *silhouette <= of_five));
    assert!((found.silhouette.unwrap() - of_five).abs() < 1e-12);
    check(&found, &matrix.view());
}

fn clara_with_all_objects_is_pam(device: &Device) {
    for matrix in [apart(45, 14), ties(30, 15), asymmetric(30, 16)] {
        let params = Params::new(4).init(Init::Build);
        let all = Method::Clara { samples: 1, size: Some(matrix.nrows()) };
        let clara = fit(device, matrix.view(), &params.clone().method(all)).unwrap();
        let pam = fit(device, matrix.view(), &params.method(Method::Pam)).unwrap();
        assert_eq!((clara.medoids, clara.loss), (pam.medoids, pam.loss));
    }
}

fn one_medoid_is_the_best_and_all_have_no_loss(device: &Device) {
    let matrix = apart(17, 17);
    for method in methods(device) {
        let all = fit(device, matrix.view(), &Params::new(17).method(method)).unwrap();
        check(&all, &matrix.view());
        if !matches!(method, Method::DynMsc { .. }) {
            assert_eq!(all.loss, 0.0, "{method:?}");
        }
        if !matches!(method, Method::FasterMsc | Method::PamMedSil | Method::DynMsc { .. }) {
            let one = fit(device, matrix.view(), &Params::new(1).method(method)).unwrap();
            check(&one, &matrix.view());
            let least = (0..17).map(|object| loss(&matrix.view(), &[object])).fold(f64::INFINITY, f64::min);
            let is_exact = !matches!(method, Method::OneBatch { size: Some(_) });
            assert!(!is_exact || (one.loss - least).abs() < 1e-12, "{method:?}");
        }
    }
    let single = Array2::<f32>::zeros((1, 1));
    let found = fit(device, single.view(), &Params::new(1)).unwrap();
    assert_eq!((found.medoids, found.labels, found.loss), (vec![0], vec![0], 0.0));
}

fn equal_objects_have_no_loss(device: &Device) {
    let zeros = Array2::<f32>::zeros((12, 12));
    for method in methods(device) {
        for init in [Init::Build, Init::Lab, Init::PlusPlus, Init::Heuristic, Init::Random] {
            let found = fit(device, zeros.view(), &Params::new(4).method(method).init(init)).unwrap();
            assert_eq!(found.loss, 0.0, "{method:?}");
            check(&found, &zeros.view());
        }
    }
}

#[test]
fn every_type_and_layout_gives_the_same() {
    let device = Device::cpu();
    let matrix = ties(30, 18);
    let expected = fit(&device, matrix.view(), &Params::new(4)).unwrap();
    let packed: Vec<i32> =
        (0..30).flat_map(|i| (0..i).map(move |j| (i, j))).map(|at| matrix[at] as i32).collect();
    let (f64s, i32s) = (matrix.mapv(f64::from), matrix.mapv(|value| value as i32));
    let bytes = matrix.mapv(|value| value as u8);
    let forms = [
        Dissimilarities::from(f64s.view()),
        Dissimilarities::from(i32s.view()),
        Dissimilarities::from(tilefold::Points::from(bytes.view())),
        Dissimilarities::lower_triangle(30, &packed).unwrap(),
    ];
    for form in forms {
        assert_eq!(form.objects(), 30);
        let found = fit(&device, form, &Params::new(4)).unwrap();
        assert_eq!((&found.medoids, found.loss), (&expected.medoids, expected.loss));
    }
    // By columns, and with gaps.
    let skewed = asymmetric(30, 19);
    let expected = fit(&device, skewed.view(), &Params::new(4)).unwrap();
    let mut by_columns = Array2::zeros((30, 30).f());
    by_columns.assign(&skewed);
    let mut wider = Array2::zeros((60, 33));
    wider.slice_mut(ndarray::s![..;2, 3..]).assign(&skewed);
    for view in [by_columns.view(), wider.slice(ndarray::s![..;2, 3..])] {
        let found = fit(&device, view, &Params::new(4)).unwrap();
        assert_eq!((&found.medoids, found.loss.to_bits()), (&expected.medoids, expected.loss.to_bits()));
    }
    let large = Array2::from_shape_fn((20, 20), |(i, j)| (i as i32 - j as i32).abs() * 90_000_001);
    let found = fit(&device, large.view(), &Params::new(2)).unwrap();
    let expected = fit(&device, large.mapv(|d| f64::from(d / 90_000_001)).view(), &Params::new(2)).unwrap();
    assert_eq!((&found.medoids, found.loss), (&expected.medoids, expected.loss * 90_000_001.0));
}

use ndarray::ShapeBuilder;
