//! Medoids of matrices whose numbers lie far apart, against plain searches whose sums lose no digit, on every backend.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Ordering;

use ndarray::{Array2, ArrayView2};
use tilefold::kmedoids::{Dissimilarities, Fit, Init, Method, Params, fit, fit_points};
use tilefold::{Device, Error};

use crate::kmedoids::{apart, methods, plain_swap, try_places};
use crate::support::backends::{gpu, on_every_backend};
use crate::support::cases::Draws;

on_every_backend!(
    one_large_entry_changes_no_medoid,
    few_objects_far_from_all_change_no_medoid,
    numbers_of_any_size_are_summed_exactly,
    ties_and_zeros_beside_large_numbers_stay_ties,
    silhouettes_keep_their_digits,
    infinity_is_more_than_all_that_is_finite,
    infinity_is_refused_where_it_means_nothing,
    points_far_from_all_others_change_no_medoid,
);

/// A sum without rounding: numbers that do not overlap (Shewchuk, 1997), and how many infinite ones there are.
#[derive(Debug, Default, Clone)]
struct Exact {
    infinite: usize,
    parts: Vec<f64>,
}

impl Exact {
    fn of(terms: impl IntoIterator<Item = f64>) -> Self {
        terms.into_iter().fold(Self::default(), Self::with)
    }

    fn with(mut self, mut term: f64) -> Self {
        if term.is_infinite() {
            self.infinite += 1;
            return self;
        }
        let mut kept = Vec::new();
        for mut part in self.parts {
            if term.abs() < part.abs() {
                std::mem::swap(&mut term, &mut part);
            }
            let sum = term + part;
            let rest = part - (sum - term);
            if rest != 0.0 {
                kept.push(rest);
            }
            term = sum;
        }
        if term != 0.0 {
            kept.push(term);
        }
        self.parts = kept;
        self
    }

    fn value(&self) -> f64 {
        if self.infinite > 0 { f64::INFINITY } else { self.parts.iter().sum() }
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Exact {
    /// Fewer infinite terms first, then the finite rest, by the sign of its last and largest part.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let difference = other.parts.iter().fold(self.clone(), |sum, part| sum.with(-part));
        let sign = difference.parts.last().copied().unwrap_or(0.0);
        self.infinite.cmp(&other.infinite).then(sign.partial_cmp(&0.0)?).into()
    }
}

type Sum = fn(&ArrayView2<f64>, &[usize]) -> Exact;

fn sorted(matrix: &ArrayView2<f64>, medoids: &[usize], object: usize) -> Vec<f64> {
    let mut all: Vec<f64> = medoids.iter().map(|&medoid| matrix[[object, medoid]]).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn loss(matrix: &ArrayView2<f64>, medoids: &[usize]) -> Exact {
    Exact::of((0..matrix.nrows()).map(|object| sorted(matrix, medoids, object)[0]))
}

fn ratios(matrix: &ArrayView2<f64>, medoids: &[usize]) -> Exact {
    Exact::of((0..matrix.nrows()).map(|object| {
        let all = sorted(matrix, medoids, object);
        if all[0] == 0.0 { 0.0 } else { all[0] / all[1] }
    }))
}

/// Candidates one after the other, the best place of each at once, until a round changes nothing.
fn eager(matrix: &ArrayView2<f64>, mut medoids: Vec<usize>, sum: Sum) -> Vec<usize> {
    let (objects, mut since, mut candidate) = (matrix.nrows(), 0, 0);
    while since < objects {
        since += 1;
        if !medoids.contains(&candidate) {
            let mut best = (sum(matrix, &medoids), medoids.clone());
            try_places(&medoids, candidate, &mut best, |swapped| sum(matrix, swapped));
            if best.1 != medoids {
                (medoids, since) = (best.1, 1);
            }
        }
        candidate = (candidate + 1) % objects;
    }
    medoids
}

/// The object with which the loss is smallest, one after the other.
fn build(matrix: &ArrayView2<f64>, count: usize) -> Vec<usize> {
    let mut medoids: Vec<usize> = Vec::new();
    while medoids.len() < count {
        let mut best: Option<(Exact, usize)> = None;
        for candidate in (0..matrix.nrows()).filter(|candidate| !medoids.contains(candidate)) {
            let mut with = medoids.clone();
            with.push(candidate);
            let sum = loss(matrix, &with);
            if best.as_ref().is_none_or(|(least, _)| sum < *least) {
                best = Some((sum, candidate));
            }
        }
        medoids.push(best.unwrap().1);
    }
    medoids
}

#[track_caller]
fn has_its_loss(found: &Fit, matrix: &ArrayView2<f64>) {
    let exact = loss(matrix, &found.medoids).value();
    let is_right = found.loss == exact || (found.loss - exact).abs() <= 1e-9 * exact.abs();
    assert!(is_right, "loss {} of {:?} is {exact}", found.loss, found.medoids);
    for (object, &label) in found.labels.iter().enumerate() {
        let least = sorted(matrix, &found.medoids, object)[0];
        assert_eq!(matrix[[object, found.medoids[label as usize]]], least, "object {object}");
    }
}

/// FasterPAM, PAM and BUILD find what plain exact searches find, given as `f64` and as `f32` where that holds the numbers.
#[track_caller]
fn is_searched_exactly(device: &Device, matrix: &ArrayView2<f64>, count: usize) {
    let narrow = matrix.mapv(|d| d as f32);
    let is_narrow = matrix.iter().zip(&narrow).all(|(&wide, &narrow)| wide == f64::from(narrow));
    for seed in 0..2 {
        let params = Params::new(count).seed(seed);
        let fitted = |params: &Params| -> Vec<Fit> {
            let wide = fit(device, Dissimilarities::from(matrix.view()), params).unwrap();
            let narrow = is_narrow.then(|| fit(device, narrow.view(), params).unwrap());
            [Some(wide), narrow].into_iter().flatten().collect()
        };
        let first = fitted(&params.clone().max_iter(0)).remove(0).medoids;
        for found in fitted(&params) {
            // No loss is the least there is, in whatever order its medoids were found.
            if found.loss != 0.0 {
                assert_eq!(found.medoids, eager(matrix, first.clone(), loss), "FasterPAM");
            }
            has_its_loss(&found, matrix);
        }
        for found in fitted(&params.clone().method(Method::Pam)) {
            if found.loss != 0.0 {
                assert_eq!(found.medoids, plain_swap(matrix, first.clone(), loss), "PAM");
            }
            has_its_loss(&found, matrix);
        }
    }
    let built = fit(device, matrix.view(), &Params::new(count).init(Init::Build).max_iter(0)).unwrap();
    if built.loss != 0.0 {
        assert_eq!(built.medoids, build(matrix, count), "BUILD");
    }
    has_its_loss(&built, matrix);
}

/// All but the searches that the tests above write out: the loss is that of the medoids.
#[track_caller]
fn every_method_has_its_loss(device: &Device, matrix: &ArrayView2<f64>, count: usize) {
    for method in methods(device) {
        for init in [Init::Random, Init::Lab, Init::PlusPlus, Init::Heuristic, Init::Build] {
            let found = fit(device, matrix.view(), &Params::new(count).method(method).init(init)).unwrap();
            has_its_loss(&found, matrix);
        }
    }
}

fn symmetric(objects: usize, mut of: impl FnMut(usize, usize) -> f64) -> Array2<f64> {
    let mut matrix = Array2::zeros((objects, objects));
    for i in 0..objects {
        for j in 0..i {
            let d = of(i, j);
            (matrix[[i, j]], matrix[[j, i]]) = (d, d);
        }
    }
    matrix
}

/// Two groups that are 20 apart.
fn two_groups(seed: u64) -> Array2<f64> {
    let near = apart(30, seed).mapv(f64::from);
    symmetric(30, |i, j| near[[i, j]] + if (i < 15) == (j < 15) { 0.0 } else { 20.0 })
}

fn one_large_entry_changes_no_medoid(device: &Device) {
    let expected = fit(&Device::reference(), two_groups(1).view(), &Params::new(2)).unwrap();
    for large in [1e6, 1e9, 1e12, 1e14, 1e16, 1e18, 1e20, 1e38, 1e100, 1e300, f64::MAX] {
        let mut matrix = two_groups(1);
        (matrix[[0, 29]], matrix[[29, 0]]) = (large, large);
        let found = fit(device, matrix.view(), &Params::new(2)).unwrap();
        assert_eq!(found.medoids, expected.medoids, "{large}");
        assert!((found.loss - expected.loss).abs() <= 1e-9 * expected.loss, "{large}: {}", found.loss);
        is_searched_exactly(device, &matrix.view(), 3);
        if large < 1e300 {
            every_method_has_its_loss(device, &matrix.view(), 2);
        }
    }
    let matrix = ndarray::array![
        [0.0, 1.3, 1e20, 1e20],
        [1.3, 0.0, 1e20, 1e20],
        [1e20, 1e20, 0.0, 0.7],
        [1e20, 1e20, 0.7, 0.0]
    ];
    let found = fit(device, matrix.view(), &Params::new(2)).unwrap();
    assert_eq!(found.loss, 2.0);
    is_searched_exactly(device, &matrix.view(), 1);
}

fn few_objects_far_from_all_change_no_medoid(device: &Device) {
    for large in [1e12, 1e16, 1e20] {
        // One object, and groups that no medoid is left for: what is far cancels, and the rest decides.
        let one = symmetric(20, |i, j| if i == 19 { large } else { apart(20, 2)[[i, j]].into() });
        let varied = symmetric(20, |i, j| {
            let near = f64::from(apart(20, 2)[[i, j]]);
            if i == 19 { large * (1.0 + near / 8.0) } else { near }
        });
        let groups = symmetric(24, |i, j| if i % 4 == j % 4 { apart(24, 3)[[i, j]].into() } else { large });
        for matrix in [one, varied, groups] {
            for count in [1, 2, 3] {
                is_searched_exactly(device, &matrix.view(), count);
            }
        }
    }
}

fn numbers_of_any_size_are_summed_exactly(device: &Device) {
    for (seed, most) in [(4, 20.0), (5, 44.0), (6, 120.0), (7, 300.0)] {
        let mut draws = Draws::new(seed);
        let mut number = || 10.0_f64.powf(most * (2.0 * draws.unit() - 1.0));
        let even = symmetric(18, |_, _| number());
        let skewed = Array2::from_shape_fn((18, 18), |_| number());
        let mut signed = skewed.clone();
        signed.iter_mut().step_by(3).for_each(|d| *d = -*d);
        for matrix in [even, skewed, signed] {
            for count in [1, 3, 6] {
                is_searched_exactly(device, &matrix.view(), count);
            }
            if matrix.iter().all(|d| *d >= 0.0) {
                every_method_has_its_loss(device, &matrix.view(), 3);
            }
        }
    }
}

fn ties_and_zeros_beside_large_numbers_stay_ties(device: &Device) {
    let mut draws = Draws::new(8);
    let numbers = [0.0, 0.0, 0.1, 0.2, 0.3, 1e-20, 1e20, 5e-324, 1e300];
    for _ in 0..3 {
        let matrix = symmetric(20, |_, _| numbers[draws.below(9)]);
        for count in [1, 2, 5, 20] {
            is_searched_exactly(device, &matrix.view(), count);
        }
    }
}

fn silhouettes_keep_their_digits(device: &Device) {
    for large in [1e9, 1e20, 1e200] {
        let near = apart(24, 9).mapv(f64::from);
        let matrix = symmetric(24, |i, j| if i % 2 == j % 2 { near[[i, j]] } else { large + near[[i, j]] });
        for count in [2, 3] {
            let params = Params::new(count).init(Init::Given((0..count).collect()));
            let first: Vec<usize> = (0..count).collect();
            let found = fit(device, matrix.view(), &params.clone().method(Method::FasterMsc)).unwrap();
            assert_eq!(found.medoids, eager(&matrix.view(), first.clone(), ratios), "{large}");
            let found = fit(device, matrix.view(), &params.method(Method::PamMedSil)).unwrap();
            assert_eq!(found.medoids, plain_swap(&matrix.view(), first, ratios), "{large}");
        }
    }
}

fn infinity_is_more_than_all_that_is_finite(device: &Device) {
    let near = apart(24, 10).mapv(f64::from);
    let apart = symmetric(24, |i, j| if i % 3 == j % 3 { near[[i, j]] } else { f64::INFINITY });
    for count in 1..5 {
        is_searched_exactly(device, &apart.view(), count);
        let found = fit(device, apart.view(), &Params::new(count)).unwrap();
        assert_eq!(found.loss.is_finite(), count >= 3, "{count}");
        assert_eq!(found.silhouette, None);
        for method in [Method::Alternating, Method::Clara { samples: 3, size: Some(20) }] {
            for init in [Init::Random, Init::Lab, Init::PlusPlus, Init::Heuristic] {
                let params = Params::new(count).method(method).init(init);
                has_its_loss(&fit(device, apart.view(), &params).unwrap(), &apart.view());
            }
        }
    }
    let mut one = two_groups(11);
    (one[[3, 20]], one[[20, 3]]) = (f64::INFINITY, f64::INFINITY);
    is_searched_exactly(device, &one.view(), 2);
    let nothing = Array2::from_elem((6, 6), f64::INFINITY);
    let found = fit(device, nothing.view(), &Params::new(2)).unwrap();
    assert_eq!((found.loss, found.labels), (f64::INFINITY, vec![0; 6]));
}

fn infinity_is_refused_where_it_means_nothing(device: &Device) {
    let mut matrix = two_groups(12);
    matrix[[7, 3]] = f64::INFINITY;
    for method in methods(device) {
        let outcome = fit(device, matrix.view(), &Params::new(2).method(method));
        let is_taken = matches!(
            method,
            Method::FasterPam
                | Method::Pam
                | Method::Alternating
                | Method::Clara { .. }
                | Method::Clarans { .. }
        );
        match outcome {
            Ok(_) => assert!(is_taken, "{method:?}"),
            Err(Error::Value { argument: "dissimilarities", row: 7, column: 3, expected, .. }) => {
                assert!(!is_taken && expected.starts_with("a finite number, which "), "{expected}");
            }
            other => panic!("{method:?}: {other:?}"),
        }
    }
}

fn points_far_from_all_others_change_no_medoid(device: &Device) {
    let mut draws = Draws::new(13);
    let mut points =
        Array2::from_shape_fn((40, 2), |(i, _)| draws.unit() as f32 + if i < 20 { 0.0 } else { 30.0 });
    points.row_mut(39).fill(1e18);
    for max_bytes in [1 << 30, 6000] {
        let params = Params::new(3).max_bytes(max_bytes);
        let found = fit_points(device, points.view(), &params).unwrap();
        let near = |object: usize| {
            let of = |&medoid: &usize| {
                let differences = &points.row(object) - &points.row(medoid);
                differences.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt()
            };
            found.medoids.iter().map(of).fold(f64::INFINITY, f64::min)
        };
        let exact: f64 = (0..40).map(near).sum();
        assert!(exact < 40.0, "{:?}", found.medoids);
        assert!((found.loss - exact).abs() <= 1e-5 * exact, "{} {exact}", found.loss);
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
#[cfg_attr(not(feature = "gpu"), ignore = "built without the feature gpu")]
fn exact_sums_beside_a_gpu_are_said_to_be_the_cpus() {
    let mut matrix = two_groups(14).mapv(|d| d as f32);
    (matrix[[0, 29]], matrix[[29, 0]]) = (1e20, 1e20);
    let found = fit(&gpu(), matrix.view(), &Params::new(2)).unwrap();
    assert!(found.device.contains("; swaps on cpu"), "{}", found.device);
    let expected = fit(&Device::cpu(), matrix.view(), &Params::new(2)).unwrap();
    assert_eq!((found.medoids, found.loss.to_bits()), (expected.medoids, expected.loss.to_bits()));
}
