//! k-means against an f64 Lloyd of the tests' own (`support/lloyd.rs`), over sizes, kinds of data and iterations.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::Device;
use tilefold::kmeans::{self, Fit, Init, Params};

use crate::support::backends::on_every_backend;
use crate::support::cases::{self, BlobsShape, Draws};
use crate::support::compare::{self, Distances, must};
use crate::support::lloyd::{self, Outcome, Problem};

on_every_backend! {
    any_number_of_rows_is_labelled_right, any_number_of_columns_is_labelled_right,
    any_number_of_clusters_is_labelled_right, fits_of_any_length_are_those_of_plain_lloyd, blobs_are_found,
    duplicated_rows_fill_one_cluster_per_distinct_row, ties_on_a_grid_go_to_the_lowest_index,
    centroids_are_weighted_means, every_element_type_gives_the_same_fit, predict_labels_new_points
}

/// Decisions by a smaller margin may fall either way: points that are not multiples of one power of two are rounded to
/// f32 once they are centred.
const CLEAR: f64 = 3e-7;

/// One comparison.
#[derive(Clone)]
pub struct Case {
    pub points: Array2<f32>,
    pub init: Array2<f32>,
    pub weights: Option<Vec<f64>>,
}

impl Case {
    /// The first centroids are rows spread over the data.
    pub fn new(points: Array2<f32>, n_clusters: usize) -> Self {
        let rows: Vec<usize> = (0..n_clusters).map(|k| k * points.nrows() / n_clusters).collect();
        let init = points.select(ndarray::Axis(0), &rows);
        Self { points, init, weights: None }
    }

    pub fn params(&self, max_iter: usize, tol: f64) -> Params {
        let init = Init::Centroids(self.init.mapv(f64::from));
        let params = Params::new(self.init.nrows()).init(init).max_iter(max_iter).tol(tol);
        match &self.weights {
            Some(weights) => params.weights(weights.clone()),
            None => params,
        }
    }

    pub fn oracle(&self, max_iter: usize, tol: f64) -> Outcome {
        let (points, init) = (self.points.mapv(f64::from), self.init.mapv(f64::from));
        lloyd::lloyd(&Problem { points, init, weights: self.weights.clone(), max_iter, tol })
    }

    /// Fits and compares. Returns whether the oracle's decisions were clear, so that labels had to be equal.
    #[track_caller]
    pub fn check(&self, device: &Device, max_iter: usize, tol: f64) -> bool {
        let fit = kmeans::fit(device, self.points.view(), &self.params(max_iter, tol)).unwrap();
        self.certify(&fit);
        let oracle = self.oracle(max_iter, tol);
        if oracle.margin < CLEAR {
            println!(
                "unclear: margin {:e}, {:?}, k = {}",
                oracle.margin,
                self.points.dim(),
                self.init.nrows()
            );
            return false;
        }
        let what = format!("{:?}, k = {}, {max_iter} iterations", self.points.dim(), self.init.nrows());
        assert_eq!(fit.labels.to_vec(), oracle.labels, "{what}");
        assert_eq!((fit.n_iter, fit.converged), (oracle.n_iter, oracle.converged), "{what}");
        let size = self.size();
        let slack = 1e-6 * oracle.inertia + 1e-12 * size;
        assert!((fit.inertia - oracle.inertia).abs() <= slack, "{what}: {} {}", fit.inertia, oracle.inertia);
        let oracle: Vec<f64> = oracle.centroids.iter().copied().collect();
        let got: Vec<compare::Wide> = fit.model.centroids().iter().map(|&c| compare::Wide(c)).collect();
        must(compare::close(&oracle, &got, |_| 1e-6 * (size / self.points.nrows() as f64).sqrt() + 1e-30));
        true
    }

    /// Sum of squares around the first row: the scale of rounding errors.
    fn size(&self) -> f64 {
        let points = self.points.mapv(f64::from);
        points.outer_iter().map(|x| lloyd::squared_distance(x, points.row(0))).sum()
    }

    /// What holds whatever way near ties fell: labels are nearest to the returned centroids, inertia and sizes are
    /// those of the labels, the history falls.
    #[track_caller]
    pub fn certify(&self, fit: &Fit) {
        let points = self.points.mapv(f64::from);
        let (centroids, size) = (fit.model.centroids(), self.size());
        let distances = lloyd::all_distances(&points, &centroids);
        let largest = distances.iter().copied().fold(0.0, f64::max);
        let labels = fit.labels.to_vec();
        let table = Distances { values: &distances, columns: centroids.nrows() };
        must(compare::nearest(table, &labels, |_| CLEAR * largest));
        let direct = lloyd::inertia(&points, self.weights.as_deref(), &centroids, &labels);
        let slack = 1e-6 * direct + 1e-12 * size;
        assert!((fit.inertia - direct).abs() <= slack, "inertia {}, directly {direct}", fit.inertia);
        let mut sizes = vec![0; centroids.nrows()];
        labels.iter().for_each(|&label| sizes[label as usize] += 1);
        assert_eq!(fit.cluster_sizes, sizes);
        assert_eq!(fit.history.len(), fit.n_iter);
        for pair in fit.history.windows(2) {
            assert!(pair[1].inertia <= pair[0].inertia * (1.0 + 1e-9) + 1e-9 * size, "{:?}", fit.history);
        }
        let last = fit.history.last().unwrap();
        assert!(fit.inertia <= last.inertia * (1.0 + 1e-9) + 1e-9 * size, "{} {last:?}", fit.inertia);
        assert!((0.0..=1.0).contains(&fit.rechecked), "{}", fit.rechecked);
    }
}

/// Runs cases; at least nine in ten must have been clear.
#[track_caller]
fn check_all(device: &Device, cases: impl IntoIterator<Item = (Case, usize)>) {
    let (mut clear, mut total) = (0, 0);
    for (case, max_iter) in cases {
        total += 1;
        clear += usize::from(case.check(device, max_iter, 0.0));
    }
    println!("{clear} of {total} cases clear");
    assert!(total > 0 && 10 * clear >= 9 * total, "{clear} of {total} cases clear");
}

fn any_number_of_rows_is_labelled_right(device: &Device) {
    let sizes = [1, 2, 23, 24, 25, 63, 64, 65, 127, 128, 129, 255, 256, 257];
    let cases = sizes.map(|rows| (Case::new(cases::uniform(rows, 5, 1.0, rows as u64), rows.min(4)), 5));
    check_all(device, cases);
}

fn any_number_of_columns_is_labelled_right(device: &Device) {
    let sizes = [
        1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 383, 384,
        385, 511, 512, 513, 784, 1025,
    ];
    let cases = sizes.map(|columns| (Case::new(cases::uniform(29, columns, 1.0, columns as u64), 5), 3));
    check_all(device, cases);
}

fn any_number_of_clusters_is_labelled_right(device: &Device) {
    let sizes = [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129];
    let cases = sizes.map(|k| (Case::new(cases::uniform(2 * k + 3, 6, 1.0, k as u64), k), 3));
    check_all(device, cases);
    for rows in [1, 2, 17, 65] {
        let case = Case::new(cases::uniform(rows, 3, 1.0, 7), rows);
        assert!(case.check(device, 5, 0.0), "k = n = {rows}");
        let fit = kmeans::fit(device, case.points.view(), &case.params(5, 0.0)).unwrap();
        assert_eq!((fit.inertia, fit.n_iter, fit.converged), (0.0, 1, true), "k = n = {rows}");
        assert_eq!(fit.labels.to_vec(), (0..rows as u32).collect::<Vec<_>>());
    }
}

fn fits_of_any_length_are_those_of_plain_lloyd(device: &Device) {
    let shapes = [(300, 9, 7), (257, 33, 17), (129, 3, 12)];
    for (rows, columns, k) in shapes {
        let case = Case::new(cases::uniform(rows, columns, 1.0, 11), k);
        check_all(device, [1, 5, 300].map(|max_iter| (case.clone(), max_iter)));
    }
    // Strict convergence comes well before 300, and the tolerance of scikit-learn before that.
    let case = Case::new(cases::uniform(300, 9, 1.0, 12), 7);
    let strict = kmeans::fit(device, case.points.view(), &case.params(300, 0.0)).unwrap();
    let loose = kmeans::fit(device, case.points.view(), &case.params(300, 0.1)).unwrap();
    assert!(strict.converged && strict.n_iter < 300 && strict.history.last().unwrap().changed == 0);
    assert!(loose.converged && loose.n_iter < strict.n_iter, "{} {}", loose.n_iter, strict.n_iter);
    assert!(case.check(device, 300, 0.1));
}

fn blobs_are_found(device: &Device) {
    let shape = BlobsShape { rows: 400, columns: 8, clusters: 6, spread: 0.05, offset: 0.0 };
    let made = cases::blobs(shape, 5);
    for k in [2, 6, 10] {
        check_all(device, [(Case::new(made.points.clone(), k), 300)]);
    }
    let init: Vec<usize> =
        (0..6).map(|blob| made.labels.iter().position(|&label| label == blob).unwrap()).collect();
    let init = made.points.select(ndarray::Axis(0), &init);
    let case = Case { points: made.points, init, weights: None };
    assert!(case.check(device, 300, 0.0));
    let fit = kmeans::fit(device, case.points.view(), &case.params(300, 0.0)).unwrap();
    assert!(fit.labels.iter().zip(&made.labels).all(|(&got, &label)| got as usize == label));
    assert!(fit.rechecked < 0.01, "{} of the rows of separated blobs were rechecked", fit.rechecked);
}

fn duplicated_rows_fill_one_cluster_per_distinct_row(device: &Device) {
    for (rows, columns, distinct, k) in [(65, 4, 5, 5), (129, 17, 9, 4), (200, 2, 3, 7)] {
        let mut case = Case::new(cases::duplicates(rows, columns, distinct, 2), k);
        // The first rows are all the distinct ones; with more clusters than those some centroids come twice.
        case.init = case.points.slice(s![..k, ..]).to_owned();
        let fit = kmeans::fit(device, case.points.view(), &case.params(20, 0.0)).unwrap();
        case.certify(&fit);
        assert_eq!(
            fit.cluster_sizes.iter().filter(|&&size| size > 0).count(),
            k.min(distinct),
            "{:?}",
            fit.cluster_sizes
        );
        for (row, x) in case.points.outer_iter().enumerate() {
            let first = case.points.outer_iter().position(|other| other == x).unwrap();
            assert_eq!(fit.labels[row], fit.labels[first], "equal rows {first} and {row}");
        }
    }
}

fn ties_on_a_grid_go_to_the_lowest_index(device: &Device) {
    for (cells, columns) in [(4, 2), (8, 5), (16, 3)] {
        let cases::Ties { points, centroids } = cases::ties(cells, columns);
        // Weightless ties leave the centroids where they are: labels are those of the given centroids.
        let weights = points.outer_iter().map(|x| f64::from(u8::from(x.iter().all(|v| v % 2.0 == 0.0))));
        let case = Case { weights: Some(weights.collect()), points, init: centroids };
        let fit = kmeans::fit(device, case.points.view(), &case.params(3, 0.0)).unwrap();
        assert_eq!(fit.model.centroids(), case.init.mapv(f64::from));
        let distances = lloyd::all_distances(&case.points.mapv(f64::from), &case.init.mapv(f64::from));
        let table = Distances { values: &distances, columns: case.init.nrows() };
        must(compare::lowest_index(table, &fit.labels.to_vec()));
        // And with weights of 1 everything moves: certificates only.
        let moving = Case { weights: None, ..case };
        moving.certify(&kmeans::fit(device, moving.points.view(), &moving.params(10, 0.0)).unwrap());
    }
}

fn centroids_are_weighted_means(device: &Device) {
    let mut draws = Draws::new(21);
    let mut all = Vec::new();
    for (rows, columns, k) in [(130, 7, 5), (65, 33, 9), (257, 2, 16)] {
        for largest in [1.0, 1e-9, 1e12] {
            let mut case = Case::new(cases::uniform(rows, columns, 3.0, rows as u64), k);
            case.weights = Some((0..rows).map(|_| (0.1 + draws.unit()) as f32 as f64 * largest).collect());
            all.push((case, 8));
        }
    }
    check_all(device, all);
}

fn every_element_type_gives_the_same_fit(device: &Device) {
    let whole = cases::uniform(70, 6, 100.0, 4).mapv(|v| v.round().abs());
    let case = Case::new(whole, 6);
    let params = case.params(4, 0.0);
    let expected = kmeans::fit(device, case.points.view(), &params).unwrap();
    case.certify(&expected);
    macro_rules! same {
        ($($type:ty),*) => {$(
            let points = case.points.mapv(|v| v as $type);
            let fit = kmeans::fit(device, points.view(), &params).unwrap();
            assert_eq!(fit.labels, expected.labels, stringify!($type));
            assert_eq!(fit.model, expected.model, stringify!($type));
        )*};
    }
    same!(f64, u8, i8, u16, i16, u32, i32, u64, i64);
    for fit in [
        kmeans::fit(device, case.points.mapv(half::f16::from_f32).view(), &params).unwrap(),
        kmeans::fit(device, case.points.mapv(half::bf16::from_f32).view(), &params).unwrap(),
    ] {
        assert_eq!((&fit.labels, &fit.model), (&expected.labels, &expected.model));
    }
}

fn predict_labels_new_points(device: &Device) {
    let case = Case::new(cases::uniform(150, 11, 1.0, 31), 13);
    let fit = kmeans::fit(device, case.points.view(), &case.params(5, 0.0)).unwrap();
    let again = fit.model.predict(device, case.points.view()).unwrap();
    assert_eq!(again.labels, fit.labels);
    // Up to a million times farther out than the training data.
    for (rows, scale) in [(1, 1.0), (23, 1.0), (97, 30.0), (65, 1e6)] {
        let points = cases::uniform(rows, 11, scale, 32);
        let labels = fit.model.predict(device, points.view()).unwrap().labels.to_vec();
        let distances = lloyd::all_distances(&points.mapv(f64::from), &fit.model.centroids());
        let largest = distances.iter().copied().fold(0.0, f64::max);
        let table = Distances { values: &distances, columns: 13 };
        must(compare::nearest(table, &labels, |_| 1e-7 * largest));
    }
}
