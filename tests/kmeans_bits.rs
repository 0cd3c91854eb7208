//! The same bits whatever performs the work: threads, devices, windows, memory layouts, element types, files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::kmeans::{self, Fit, Init, Params};
use tilefold::{Device, Points, Table};

use crate::support::backends::on_every_backend;
use crate::support::cases::{self, BlobsShape};
use crate::support::compare::{self, must};

on_every_backend! {
    devices_and_threads_change_no_bit, windows_change_no_bit, streaming_changes_no_bit,
    layouts_and_types_change_no_bit, mapped_files_give_the_bits_of_arrays, repeated_fits_have_the_same_bits,
    a_transposed_init_changes_no_bit
}

/// Everything but the names and times, and the share of rechecked rows, which is the tile's own.
#[track_caller]
pub fn same_bits(fit: &Fit, expected: &Fit, what: &str) {
    assert_eq!(fit.labels, expected.labels, "{what}: labels");
    let centroids = |fit: &Fit| fit.model.centroids().mapv(f64::to_bits);
    assert_eq!(centroids(fit), centroids(expected), "{what}: centroids");
    assert_eq!(fit.inertia.to_bits(), expected.inertia.to_bits(), "{what}: inertia");
    assert_eq!((fit.n_iter, fit.converged), (expected.n_iter, expected.converged), "{what}");
    assert_eq!(fit.cluster_sizes, expected.cluster_sizes, "{what}: sizes");
    let history = |fit: &Fit| {
        let bits = |i: &kmeans::Iteration| (i.inertia.to_bits(), i.changed, i.shift.to_bits());
        fit.history.iter().map(bits).collect::<Vec<_>>()
    };
    assert_eq!(history(fit), history(expected), "{what}: history");
    assert_eq!(model_file(fit), model_file(expected), "{what}: model file");
}

fn model_file(fit: &Fit) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    fit.model.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// Data of several kinds with parameters; the sizes are odd and span several blocks of rows.
fn problems() -> Vec<(&'static str, Array2<f32>, Params)> {
    let blobs = BlobsShape { rows: 1500, columns: 17, clusters: 9, spread: 2.0, offset: 1e4 };
    let weights = (0..700).map(|row| 0.25 + f64::from(row % 11) / 7.0).collect();
    vec![
        ("noise", cases::uniform(2100, 6, 1.0, 70), Params::new(33).max_iter(6).tol(0.0)),
        ("blobs", cases::blobs(blobs, 71).points, Params::new(12).max_iter(20)),
        ("weighted", cases::uniform(700, 9, 3.0, 72), Params::new(17).max_iter(5).weights(weights)),
        ("spherical", cases::uniform(700, 33, 3.0, 73), Params::new(9).max_iter(5).spherical(true)),
        ("duplicates", cases::duplicates(600, 5, 7, 74), Params::new(11).max_iter(5)),
        ("parallel", cases::uniform(900, 5, 1.0, 75), Params::new(20).init(Init::Parallel).max_iter(3)),
        ("random", cases::uniform(900, 5, 1.0, 76), Params::new(20).init(Init::Random).n_init(3).max_iter(3)),
        ("wide", cases::uniform(61, 500, 1.0, 77), Params::new(5).max_iter(3)),
    ]
}

fn devices_and_threads_change_no_bit(device: &Device) {
    for (name, points, params) in problems() {
        let fit = kmeans::fit(device, points.view(), &params).unwrap();
        println!("{name}: {:.4} of the rows rechecked on {}", fit.rechecked, fit.device);
        assert!((0.0..=1.0).contains(&fit.rechecked));
        let threads = [1, 2, 3].map(|threads| {
            let cpu = Device::cpu_with_threads(threads).unwrap();
            kmeans::fit(&cpu, points.view(), &params).unwrap()
        });
        same_bits(&threads[1], &threads[0], name);
        same_bits(&threads[2], &threads[0], name);
        if device.name() != "reference" {
            same_bits(&fit, &threads[0], name);
            continue;
        }
        // The definition adds in f64, not on a grid: equal labels, nearly equal numbers.
        assert_eq!(fit.labels, threads[0].labels, "{name}");
        assert!((fit.inertia - threads[0].inertia).abs() <= 1e-9 * fit.inertia, "{name}");
        let (oracle, got) = (fit.model.centroids(), threads[0].model.centroids());
        let oracle: Vec<f64> = oracle.iter().copied().collect();
        let got: Vec<compare::Wide> = got.iter().map(|&c| compare::Wide(c)).collect();
        must(compare::close(&oracle, &got, |i| 1e-11 * (1.0 + oracle[i].abs())));
    }
}

fn windows_change_no_bit(device: &Device) {
    for (name, points, params) in problems() {
        let expected = kmeans::fit(device, points.view(), &params).unwrap();
        let model = &expected.model;
        for bytes in [4_000, 33_333, 1 << 20, 1 << 40] {
            let device = device.clone().with_window_bytes(bytes);
            let fit = kmeans::fit(&device, points.view(), &params).unwrap();
            same_bits(&fit, &expected, &format!("{name}, windows of {bytes} bytes"));
            assert_eq!(model.predict(&device, points.view()).unwrap().labels, expected.labels);
        }
    }
}

/// A device budget below the size of the rows: windows pass through the device in every iteration.
fn streaming_changes_no_bit(device: &Device) {
    let (rows, columns) = (6000, 64);
    let points = cases::uniform(rows, columns, 1.0, 79);
    let plain = Params::new(6).max_iter(3).tol(0.0);
    let weights = (0..rows).map(|row| 0.5 + (row % 5) as f64).collect();
    for params in [plain.clone(), plain.weights(weights)] {
        let expected = kmeans::fit(device, points.view(), &params).unwrap();
        for budget in [500_000, 900_000, 1_400_000] {
            assert!(budget < rows as u64 * columns as u64 * 4);
            let device = device.clone().with_memory_budget(budget);
            let fit = kmeans::fit(&device, points.view(), &params).unwrap();
            same_bits(&fit, &expected, &format!("streamed under a budget of {budget} bytes"));
        }
    }
}

fn layouts_and_types_change_no_bit(device: &Device) {
    let (rows, columns) = (430, 7);
    let points = cases::uniform(rows, columns, 1.0, 78);
    let params = Params::new(13).max_iter(5);
    let expected = kmeans::fit(device, points.view(), &params).unwrap();
    let check = |view: Points, what: &str| {
        same_bits(&kmeans::fit(device, view.view(), &params).unwrap(), &expected, what);
        assert_eq!(expected.model.predict(device, view).unwrap().labels, expected.labels, "{what}");
    };
    let transposed = points.t().as_standard_layout().to_owned();
    check(transposed.t().into(), "column-major");
    let mut spaced = Array2::from_elem((3 * rows, 2 * columns), f32::NAN);
    spaced.slice_mut(s![..;3, 1..;2]).assign(&points);
    check(spaced.slice(s![..;3, 1..;2]).into(), "every third row, every other column");
    let backwards = points.slice(s![..;-1, ..;-1]).as_standard_layout().to_owned();
    check(backwards.slice(s![..;-1, ..;-1]).into(), "negative strides");
    let mut padded = Array2::from_elem((rows, columns + 3), f32::NAN);
    padded.slice_mut(s![.., ..columns]).assign(&points);
    check(padded.slice(s![.., ..columns]).into(), "padded rows");
    let wide = points.mapv(f64::from);
    check(wide.view().into(), "f64");
    check(wide.t().as_standard_layout().t().into(), "column-major f64");
}

fn mapped_files_give_the_bits_of_arrays(device: &Device) {
    let folder = tempfile::tempdir().unwrap();
    let points = cases::uniform(300, 9, 1.0, 79);
    let params = Params::new(8).max_iter(4);
    let expected = kmeans::fit(device, points.view(), &params).unwrap();
    for name in ["plain.npy", "shifted.npy"] {
        let path = folder.path().join(name);
        tilefold::data::write_npy(&path, points.view()).unwrap();
        if name == "shifted.npy" {
            // One blank more in the header takes the data off its alignment.
            let mut bytes = std::fs::read(&path).unwrap();
            let length = u16::from_le_bytes([bytes[8], bytes[9]]);
            bytes[8..10].copy_from_slice(&(length + 1).to_le_bytes());
            bytes.insert(10 + usize::from(length) - 1, b' ');
            std::fs::write(&path, bytes).unwrap();
        }
        let table = Table::open(&path).unwrap();
        assert_eq!((table.rows(), table.columns()), (300, 9));
        assert!(table.is_mapped() || name != "plain.npy");
        same_bits(&kmeans::fit(device, table.points(), &params).unwrap(), &expected, name);
        assert_eq!(expected.model.predict(device, table.points()).unwrap().labels, expected.labels);
    }
}

fn repeated_fits_have_the_same_bits(device: &Device) {
    let (name, points, params) = problems().swap_remove(0);
    let first = kmeans::fit(device, points.view(), &params).unwrap();
    let before = points.clone();
    for _ in 0..3 {
        same_bits(&kmeans::fit(device, points.view(), &params).unwrap(), &first, name);
    }
    assert_eq!(points, before, "the input must not change");
    // Two fits at once on one device.
    std::thread::scope(|scope| {
        let fits: Vec<_> =
            (0..2).map(|_| scope.spawn(|| kmeans::fit(device, points.view(), &params).unwrap())).collect();
        fits.into_iter().for_each(|fit| same_bits(&fit.join().unwrap(), &first, "at once"));
    });
}

fn a_transposed_init_changes_no_bit(device: &Device) {
    let points = cases::uniform(120, 5, 1.0, 80);
    let init = points.slice(s![..7, ..]).mapv(f64::from);
    let params = |init| Params::new(7).init(Init::Centroids(init)).max_iter(4);
    let expected = kmeans::fit(device, points.view(), &params(init.clone())).unwrap();
    let transposed = init.t().as_standard_layout().to_owned().reversed_axes();
    assert!(!transposed.is_standard_layout());
    same_bits(
        &kmeans::fit(device, points.view(), &params(transposed)).unwrap(),
        &expected,
        "transposed init",
    );
}
