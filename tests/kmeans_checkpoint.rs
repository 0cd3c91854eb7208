//! Which fit a checkpoint belongs to: other data, weights and parameters are refused with what differs, and the same ones go
//! on to the bits of a fit afresh, in whatever form the data comes and whoever works.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use ndarray::{Array2, Axis, array, concatenate, s};
use tilefold::data::{Indices, SparseRows, SparseValues, write_csv, write_npy};
use tilefold::kmeans::{self, Control, Init, Model, Params, Prune};
use tilefold::{Device, ElementType, Error, Points, Table};

use crate::kmeans_bits::same_bits;
use crate::kmeans_sparse::compressed;
use crate::support::backends::{self, on_every_backend};
use crate::support::cases::{self, Draws};

on_every_backend! {
    other_parameters_are_refused_by_name, other_points_are_refused, other_weights_are_refused,
    the_same_points_in_any_form_go_on, what_changes_no_bit_may_differ, fewer_iterations_than_done_are_refused,
    an_earlier_checkpoint_is_refused_and_an_earlier_model_loads
}

/// Where the files of earlier versions are: made by this command at the time, from the eight rows beside them, with k 3,
/// tol 0, seed 1 and max_iter 2.
const EARLIER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kmeans");

fn points() -> Array2<f32> {
    cases::uniform(140, 4, 1.0, 60)
}

fn params() -> Params {
    Params::new(9).tol(0.0).seed(5)
}

/// Files of a checkpoint after two iterations. The reference neither writes nor reads any.
struct Begun {
    _folder: tempfile::TempDir,
    path: PathBuf,
    content: Vec<u8>,
}

impl Begun {
    fn new<'a>(device: &Device, points: impl Into<Points<'a>>, params: &Params) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        kmeans::fit(device, points, &params.clone().max_iter(2).checkpoint(&path)).unwrap();
        if device.name() == "reference" {
            assert!(!path.exists());
            return None;
        }
        let content = std::fs::read(&path).unwrap();
        Some(Self { _folder: folder, path, content })
    }

    /// The message with which the file is refused.
    #[track_caller]
    fn refused<'a>(&self, device: &Device, points: impl Into<Points<'a>>, params: &Params) -> String {
        std::fs::write(&self.path, &self.content).unwrap();
        let error = kmeans::fit(device, points, &params.clone().checkpoint(&self.path)).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error}");
        assert_eq!(std::fs::read(&self.path).unwrap(), self.content, "a refused checkpoint stays as it was");
        let message = error.to_string();
        assert!(message.starts_with(self.path.to_str().unwrap()), "{message}");
        assert!(message.ends_with("; remove it to start afresh"), "{message}");
        message
    }

    /// Goes on, and compares with a fit afresh.
    #[track_caller]
    fn goes_on<'a>(&self, device: &Device, points: &Points<'a>, params: &Params, what: &str) {
        std::fs::write(&self.path, &self.content).unwrap();
        let afresh = kmeans::fit(device, points.view(), params).unwrap();
        let counter = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = counter.clone();
        let counting = params.clone().checkpoint(&self.path).callback(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Control::Continue
        });
        let fit = kmeans::fit(device, points.view(), &counting).unwrap();
        same_bits(&fit, &afresh, what);
        let done = counter.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(done + 2, afresh.n_iter, "{what}: it did not go on from the file");
    }
}

fn other_parameters_are_refused_by_name(device: &Device) {
    let typed = |wanted| {
        let mut params = params();
        params.centroid_type = wanted;
        params
    };
    let given = Array2::from_shape_fn((9, 4), |(row, column)| (row * 4 + column) as f64 / 40.0);
    let mut moved = given.clone();
    moved[[5, 2]] = f64::from_bits(moved[[5, 2]].to_bits() + 1);
    let mut eight = params();
    eight.n_clusters = 8;
    let one = |init| params().init(init).n_init(1);
    let cases = [
        (params(), params().tol(0.001), "tol 0.001", "tol 0.0"),
        (params().tol(0.001), params(), "tol 0.0", "tol 0.001"),
        (params(), params().seed(6), "seed 6", "seed 5"),
        (params(), params().seed(5 + (1 << 40)), "seed 1099511627781", "seed 5"),
        (params(), params().n_init(2), "n_init 2", "n_init 1"),
        (params(), params().spherical(true), "spherical true", "spherical false"),
        (params(), one(Init::Random), "init random", "init k-means++"),
        (one(Init::Parallel), params(), "init k-means++", "init k-means||"),
        (params(), one(Init::Centroids(given.clone())), "these given centroids", "init k-means++"),
        (one(Init::Centroids(given)), one(Init::Centroids(moved)), "these given", "other given centroids"),
        (params(), typed(Some(ElementType::F32)), "centroid_type f32", "centroid_type none"),
        (typed(Some(ElementType::F64)), params(), "centroid_type none", "centroid_type f64"),
        (params(), eight, "n_clusters 8", "n_clusters 9"),
        (params(), params().init(Init::Random), "n_init 10 and init random", "n_init 1 and init k-means++"),
    ];
    for (saved, wanted, expected, got) in cases {
        let Some(begun) = Begun::new(device, points().view(), &saved) else { return };
        let message = begun.refused(device, points().view(), &wanted);
        let expected = format!("expected a checkpoint of a fit with {expected}");
        assert!(message.contains(&expected), "{expected} is missing: {message}");
        assert!(message.contains(&format!("got one with {got}")), "{got} is missing: {message}");
        begun.goes_on(device, &Points::from(points().view()), &saved, got);
    }
}

/// Rows of -1 and 1, as many of each in every column.
fn balanced_codes(seed: u64) -> Array2<f32> {
    let mut draws = Draws::new(seed);
    let mut codes = Array2::from_elem((64, 16), 1.0);
    for mut column in codes.columns_mut() {
        (0..32).for_each(|row| column[row] = -1.0);
        (1..64).for_each(|row| column.swap(row, draws.below(row + 1)));
    }
    codes
}

fn shuffled(points: &Array2<f32>, seed: u64) -> Array2<f32> {
    let mut draws = Draws::new(seed);
    let mut rows: Vec<usize> = (0..points.nrows()).collect();
    (1..rows.len()).for_each(|at| rows.swap(at, draws.below(at + 1)));
    points.select(Axis(0), &rows)
}

fn other_points_are_refused(device: &Device) {
    let mut draws = Draws::new(3);
    let categories: Vec<usize> = (0..400).map(|_| draws.below(15)).collect();
    let one_hot = Array2::from_shape_fn((400, 15), |(row, column)| f32::from(categories[row] == column));
    let half = cases::uniform(70, 4, 1.0, 60);
    let symmetric = concatenate![Axis(0), half, half.mapv(|value| -value)];
    let mirrored = &symmetric * &array![[1.0_f32, -1.0, 1.0, 1.0]];
    let swapped = symmetric.select(Axis(1), &[1, 0, 2, 3]);
    let mut nudged = points();
    nudged[[139, 3]] = f32::from_bits(nudged[[139, 3]].to_bits() ^ 1);
    let mut exchanged = points();
    exchanged.swap([3, 1], [90, 1]);
    let mut zeros = points();
    zeros.slice_mut(s![10..20, ..]).fill(0.0);
    let moved_zeros = concatenate![Axis(0), zeros.slice(s![10.., ..]), zeros.slice(s![..10, ..])];
    let tables = [
        ("other balanced codes", balanced_codes(1), balanced_codes(2)),
        ("shuffled one-hot rows", one_hot.clone(), shuffled(&one_hot, 4)),
        ("a mirrored column", symmetric.clone(), mirrored),
        ("swapped columns", symmetric.clone(), swapped),
        ("all signs changed", symmetric.clone(), symmetric.mapv(|value| -value)),
        ("one bit of one value", points(), nudged),
        ("exchanged values", points(), exchanged),
        ("other rows of zeros", zeros, moved_zeros),
        ("rows backwards", points(), points().slice(s![..;-1, ..]).to_owned()),
    ];
    for (what, saved, other) in tables {
        let Some(begun) = Begun::new(device, saved.view(), &params()) else { return };
        let message = begun.refused(device, other.view(), &params());
        assert!(message.contains("with these points, got one with other points"), "{what}: {message}");
    }
    let Some(begun) = Begun::new(device, points().view(), &params()) else { return };
    let message = begun.refused(device, points().slice(s![..100, ..]), &params());
    assert!(message.contains("with 100 rows, got one with 140 rows;"), "{message}");
    let message = begun.refused(device, points().slice(s![.., ..3]), &params());
    assert!(message.contains("with 3 columns, got one with 4 columns;"), "{message}");
    let zeros_added = concatenate![Axis(0), points(), Array2::zeros((2, 4))];
    let message = begun.refused(device, zeros_added.view(), &params());
    assert!(message.contains("with 142 rows, got one with 140 rows;"), "{message}");
}

fn other_weights_are_refused(device: &Device) {
    // Equal sums, and equal sums of index times weight.
    let halved = |rows: [usize; 2]| {
        let mut weights = vec![1.0; 140];
        rows.into_iter().for_each(|row| weights[row] = 0.5);
        params().weights(weights)
    };
    let doubled = params().weights(vec![2.0; 140]);
    let of_one = || params().weights(vec![1.0; 140]);
    let cases = [
        (halved([0, 3]), halved([1, 2]), "these weights", "other weights"),
        (of_one(), doubled, "these weights", "other weights"),
        (params(), halved([0, 3]), "these weights", "no weights"),
        (halved([0, 3]), params(), "no weights", "other weights"),
    ];
    for (saved, wanted, expected, got) in cases {
        let Some(begun) = Begun::new(device, points().view(), &saved) else { return };
        let message = begun.refused(device, points().view(), &wanted);
        assert!(message.contains(&format!("with {expected}, got one with {got};")), "{message}");
        begun.goes_on(device, &Points::from(points().view()), &saved, "the same weights");
    }
}

/// Values that every type holds, a third of them 0.
fn whole_numbers() -> Array2<f32> {
    cases::uniform(300, 6, 1.0, 66).mapv(|value| (value * 60.0).round().max(0.0))
}

fn the_same_points_in_any_form_go_on(device: &Device) {
    let points = whole_numbers();
    let Some(begun) = Begun::new(device, points.view(), &params()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let go_on = |points: &Points, what: &str| begun.goes_on(device, points, &params(), what);
    go_on(&points.view().into(), "the same array");
    go_on(&points.mapv(f64::from).view().into(), "f64");
    go_on(&points.mapv(half::f16::from_f32).view().into(), "f16");
    go_on(&points.mapv(|value| value as u8).view().into(), "u8");
    go_on(&points.mapv(|value| value as i64).view().into(), "i64");
    go_on(&points.t().as_standard_layout().t().into(), "column-major");
    let backwards = points.slice(s![..;-1, ..;-1]).as_standard_layout().to_owned();
    go_on(&backwards.slice(s![..;-1, ..;-1]).into(), "negative strides");
    let (starts, indices, values) = compressed(&points);
    let (starts, indices) = (Indices::I64(&starts), Indices::I32(&indices));
    let sparse = SparseRows::new(6, starts, indices, SparseValues::F32(&values)).unwrap();
    go_on(&Points::Sparse(sparse), "sparse rows");
    let (npy, csv) = (folder.path().join("rows.npy"), folder.path().join("rows.csv"));
    write_npy(&npy, points.view()).unwrap();
    write_csv(&csv, points.view()).unwrap();
    for file in [&npy, &csv] {
        go_on(&Table::open(file).unwrap().points(), &file.display().to_string());
    }
}

fn what_changes_no_bit_may_differ(device: &Device) {
    let weights: Vec<f64> = (0..140).map(|row| 1.0 + f64::from(row % 7)).collect();
    let (points, params) = (points(), params().weights(weights));
    let Some(begun) = Begun::new(device, points.view(), &params) else { return };
    let view = Points::from(points.view());
    for threads in [1, 2, 3] {
        let cpu = Device::cpu_with_threads(threads).unwrap();
        begun.goes_on(&cpu, &view, &params, &format!("{threads} threads"));
    }
    if cfg!(all(feature = "gpu", not(without_gpu))) {
        begun.goes_on(&backends::gpu(), &view, &params, "on a GPU");
    }
    for bytes in [2_000, 33_333, 1 << 40] {
        let device = device.clone().with_window_bytes(bytes);
        begun.goes_on(&device, &view, &params, &format!("windows of {bytes} bytes"));
    }
    for prune in [Prune::Auto, Prune::Never, Prune::Always] {
        begun.goes_on(device, &view, &params.clone().prune(prune), &format!("{prune:?}"));
    }
    begun.goes_on(device, &view, &params.clone().n_init(1), "the default said aloud");
    begun.goes_on(device, &view, &params.clone().max_iter(5), "another max_iter");
    begun.goes_on(device, &view, &params.clone().tol(-0.0), "a tol of -0.0");
}

fn fewer_iterations_than_done_are_refused(device: &Device) {
    let Some(begun) = Begun::new(device, points().view(), &params().n_init(2)) else { return };
    let message = begun.refused(device, points().view(), &params().n_init(2).max_iter(1));
    let wanted =
        "expected a checkpoint within max_iter 1, got one of 2 iterations, which goes on under max_iter 2";
    assert!(message.contains(wanted), "{message}");
}

fn an_earlier_checkpoint_is_refused_and_an_earlier_model_loads(device: &Device) {
    let table = Table::open(Path::new(EARLIER).join("rows.csv")).unwrap();
    let params = Params::new(3).tol(0.0).seed(1).max_iter(2);
    let Some(mut begun) = Begun::new(device, table.points(), &params) else { return };
    begun.content = std::fs::read(Path::new(EARLIER).join("version_2.checkpoint")).unwrap();
    let message = begun.refused(device, table.points(), &params);
    assert!(
        message.contains("expected a tilefold k-means checkpoint of version 3, got version 2;"),
        "{message}"
    );

    let model = Model::load(Path::new(EARLIER).join("version_1.model")).unwrap();
    let fit = kmeans::fit(device, table.points(), &params).unwrap();
    assert_eq!(model, fit.model);
    assert_eq!(model.predict(device, table.points()).unwrap().labels, fit.labels);
}
