//! Runs in bursts beside those of the CPU: the same bits, wherever a burst ends.

use ndarray::Array2;

use super::super::{GpuPasses, ResidentSlot};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::device::{Backend, Counters, Device, Gpu, Prediction};
use crate::kmeans::cpu::Cpu;
use crate::kmeans::lloyd::{Passes, Run, Start, State, run};
use crate::kmeans::params::Params;
use crate::kmeans::problem::Problem;
use crate::random::Stream;

/// How the iterations of a run were taken.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    /// Iterations that began and ended in a burst.
    pub whole: usize,
    pub empty: usize,
    pub many: usize,
}

/// Points around `k` places, a share of them anywhere.
fn blobs(rows: usize, columns: usize, k: usize, spread: f64) -> Array2<f32> {
    let draws = Stream::new((rows * columns) as u64, 5);
    let unit = |at: usize| draws.unit(at as u64);
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        let place = (draws.bits((1 << 40) + row as u64) % k as u64) as usize;
        (10.0 * unit(place * columns + column) + spread * unit((1 << 20) + row * columns + column)) as f32
    })
}

fn device() -> Device {
    Device::gpu("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1")
}

/// A run on the device and on the CPU from the same rows as centroids: equal in every bit.
fn same(
    device: &Device,
    points: &Array2<f32>,
    first: &[usize],
    weights: Option<&[f64]>,
    max_iter: usize,
    tol: f64,
) -> (Run, Taken) {
    same_of(device, points, first, weights, &Params::new(first.len()).max_iter(max_iter).tol(tol))
}

/// The same with parameters of every kind.
fn same_of(
    device: &Device,
    points: &Array2<f32>,
    first: &[usize],
    weights: Option<&[f64]>,
    params: &Params,
) -> (Run, Taken) {
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    let problem =
        Problem::new(Points::from(points.view()), weights, params.spherical, &Cancel::new()).unwrap();
    let mut x = vec![0.0_f32; points.ncols()];
    let mut centroids = Vec::new();
    for &row in first {
        problem.load(row, &mut x).unwrap();
        centroids.extend(x.iter().map(|&x| f64::from(x)));
    }
    let pool = device.host_pool().unwrap();
    let state = || State::new(0, centroids.clone());
    let mut cpu = Cpu::new(&problem, params).unwrap();
    let expected = run(&problem, params, &pool, &mut cpu, state(), |_| Ok(())).unwrap();
    let slot = ResidentSlot::default();
    let mut passes = GpuPasses::new(gpu, &problem, params, &slot).unwrap();
    let found = run(&problem, params, &pool, &mut passes, state(), |_| Ok(())).unwrap();
    let bits = |run: &Run| -> Vec<(u64, u64, u64)> {
        let history = run.state.history.iter();
        history.map(|step| (step.changed, step.shift.to_bits(), step.inertia.to_bits())).collect()
    };
    assert_eq!(bits(&found), bits(&expected));
    assert_eq!(found.state.ended, expected.state.ended);
    assert_eq!(found.state.settled, expected.state.settled);
    let of = |centroids: &[f64]| -> Vec<u64> { centroids.iter().map(|c| c.to_bits()).collect() };
    assert!(of(&found.state.centroids) == of(&expected.state.centroids), "centroids");
    assert!(found.labels == expected.labels, "labels");
    assert_eq!(found.inertia.to_bits(), expected.inertia.to_bits());
    let taken = passes.burst_taken;
    (found, taken)
}

/// What a burst of at most so many passes costs, the reading of its result included.
fn counted(gpu: &Gpu, passes: &mut GpuPasses, centroids: &[f64], most: usize) -> Counters {
    passes.reset().unwrap();
    let before = gpu.counters();
    let start = Start { centroids, is_first: true, most, tolerance: -1.0, cancel: &Cancel::new() };
    let burst = passes.burst(&start).unwrap().unwrap();
    assert_eq!(burst.steps.len(), most, "the run ended");
    assert!(burst.halted.is_none());
    gpu.counters().since(&before)
}

/// The same for several bursts.
fn counts<const N: usize>(
    pace: Option<f64>,
    [rows, columns, k]: [usize; 3],
    most: [usize; N],
) -> [Counters; N] {
    let device = device().with_matrix_units(false);
    if let Some(pace) = pace {
        device.pace_as(pace);
    }
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    let points = cases(rows, columns);
    let problem = Problem::new(Points::from(points.view()), None, false, &Cancel::new()).unwrap();
    let slot = ResidentSlot::default();
    let mut passes = GpuPasses::new(gpu, &problem, &Params::new(k), &slot).unwrap();
    let centroids: Vec<f64> = points.rows().into_iter().take(k).flatten().map(|&x| f64::from(x)).collect();
    counted(gpu, &mut passes, &centroids, 1);
    most.map(|most| counted(gpu, &mut passes, &centroids, most))
}

/// Rows without clusters, on which a run takes long.
fn cases(rows: usize, columns: usize) -> Array2<f32> {
    let draws = Stream::new(11, 13);
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        draws.unit((row * columns + column) as u64) as f32 - 0.5
    })
}

/// On a device of 30 TFLOP/s the host is asked once in eight passes, and sends nothing.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn passes_cost_no_conversation() {
    for shape in [[2048, 32, 16], [4000, 16, 32]] {
        let [one, eleven, some, more] = counts(Some(3e13), shape, [1, 11, 15, 23]);
        // The first pass is one submission of those.
        assert!(1 + eleven.submissions - one.submissions <= 4, "{one:?} {eleven:?}");
        assert!(1 + eleven.waits - one.waits <= 4, "{one:?} {eleven:?}");
        let eight = |of: fn(&Counters) -> u64| of(&more) - of(&some);
        assert_eq!(eight(|counters| counters.submissions), 1);
        assert_eq!(eight(|counters| counters.waits), 1);
        assert_eq!(eight(|counters| counters.buffers), 0);
        assert_eq!(eight(|counters| counters.bind_groups), 0);
        assert_eq!(eight(|counters| counters.small_writes), 0);
        assert_eq!(eight(|counters| counters.uploaded_bytes), 0);
        assert_eq!(eight(|counters| counters.downloaded_bytes), 8 * 32);
        // Nothing is made anew for a later burst.
        assert_eq!(more.translations, 0);
        println!("{shape:?}: {eleven:?}");
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn software_is_asked_less_than_once_in_three_passes() {
    let [seven, forty] = counts(None, [4000, 16, 32], [7, 40]);
    let per_pass = |of: fn(&Counters) -> u64| (of(&forty) - of(&seven)) as f64 / 33.0;
    assert!(per_pass(|counters| counters.submissions) <= 0.5, "{forty:?}");
    assert!(per_pass(|counters| counters.waits) <= 0.3, "{forty:?}");
    println!("{forty:?}");
}

fn every(step: usize, k: usize) -> Vec<usize> {
    (0..k).map(|at| step * at).collect()
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_run_has_the_bits_of_the_cpu() {
    let points = blobs(2000, 13, 9, 6.0);
    let device = device().with_matrix_units(false);
    let (found, taken) = same(&device, &points, &every(17, 9), None, 100, 0.0);
    assert!(found.state.history.len() > 8, "{} iterations", found.state.history.len());
    assert_eq!(taken, Taken { whole: found.state.history.len(), empty: 0, many: 0 });
    // More clusters than one sum adds in order, more features than invocations.
    for (rows, columns, k) in [(900, 3, 70), (700, 70, 5), (300, 1, 4), (1000, 130, 66)] {
        let (found, taken) = same(&device, &blobs(rows, columns, k, 6.0), &every(3, k), None, 30, 0.0);
        assert_eq!(taken.whole + taken.empty, found.state.history.len(), "{rows} x {columns}, K {k}");
        assert!(taken.whole > 1, "{taken:?}");
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_run_may_end_at_every_place_of_a_burst() {
    let (points, device) = (blobs(600, 5, 6, 6.0), device().with_matrix_units(false));
    let (all, _) = same(&device, &points, &every(7, 6), None, 100, 0.0);
    let iterations = all.state.history.len();
    assert!((9..60).contains(&iterations), "{iterations} iterations");
    for most in 1..iterations {
        let (found, taken) = same(&device, &points, &every(7, 6), None, most, 0.0);
        assert_eq!((found.state.history.len(), taken.whole), (most, most));
        // A tolerance that this iteration's shift is just within, and one that it is just not.
        let shift = all.state.history[most - 1].shift;
        let problem = Problem::new(Points::from(points.view()), None, false, &Cancel::new()).unwrap();
        let tol = shift * problem.frame.scale * problem.frame.scale / problem.mean_variance;
        for tol in [tol, tol.next_down(), tol.next_up()] {
            same(&device, &points, &every(7, 6), None, 100, tol);
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn weights_and_screens_change_no_bit() {
    let points = blobs(1500, 40, 40, 6.0);
    let weights: Vec<f64> = (0..1500).map(|row| 0.1 + f64::from(row % 17)).collect();
    for device in [device().with_matrix_units(false), device().with_plain_matrices(16)] {
        for weights in [None, Some(&weights[..])] {
            let (found, taken) = same(&device, &points, &every(3, 40), weights, 30, 0.0);
            assert_eq!(taken.whole + taken.empty, found.state.history.len());
            assert!(taken.whole > 1, "{taken:?}");
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn several_windows_are_one_pass() {
    let points = blobs(1500, 40, 40, 6.0);
    for device in [device().with_matrix_units(false), device().with_plain_matrices(16)] {
        for rows in [1400, 500, 230] {
            let device = device.clone().with_window_bytes(4 * 40 * rows);
            let (found, taken) = same(&device, &points, &every(3, 40), None, 30, 0.0);
            assert_eq!(taken.whole + taken.empty, found.state.history.len(), "windows of {rows}");
            assert!(taken.whole > 1, "{taken:?}");
        }
    }
    // Ties in every window: more of them than a burst decides.
    let draws = Stream::new(3, 7);
    let value = |(row, column): (usize, usize)| (draws.bits((row * 4 + column) as u64) % 3) as f32;
    let points = Array2::from_shape_fn((1200, 4), value);
    let first: Vec<usize> =
        (0..1200).filter(|&row| (0..row).all(|other| points.row(other) != points.row(row))).take(8).collect();
    for rows in [1000, 300] {
        same(&device().with_matrix_units(false).with_window_bytes(16 * rows), &points, &first, None, 30, 0.0);
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn directions_and_offsets_have_the_bits_of_the_cpu() {
    let weights: Vec<f64> = (0..900).map(|row| 0.1 + f64::from(row % 17)).collect();
    for device in [device().with_matrix_units(false), device().with_plain_matrices(16)] {
        for weights in [None, Some(&weights[..])] {
            let params = Params::new(40).spherical(true).tol(0.0);
            let (found, taken) = same_of(&device, &blobs(900, 70, 40, 6.0), &every(3, 40), weights, &params);
            assert_eq!(taken.whole + taken.empty, found.state.history.len());
            assert!(taken.whole > 1, "{taken:?}");
        }
        same(&device, &(blobs(900, 20, 40, 6.0) + 1e5), &every(3, 40), None, 30, 0.0);
    }
    // Opposite rows: the sum of a cluster of them is 0, and its direction stays.
    let pair = |row: usize| if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    let points = Array2::from_shape_fn((200, 3), |(row, column)| {
        if row < 100 {
            if column == 0 { pair(row) } else { 0.0 }
        } else {
            (row * (column + 2) % 7) as f32 + 1.0
        }
    });
    same_of(
        &device().with_matrix_units(false),
        &points,
        &[0, 150],
        None,
        &Params::new(2).spherical(true).tol(0.0),
    );
}

/// A device so slow that each submission is one pass, or two, or seven.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn the_size_of_submissions_changes_no_bit() {
    let device = device().with_matrix_units(false);
    for passes in [1.0, 2.0, 7.0, 16.0] {
        device.pace_as((passes + 0.5) * 2.0 * 600.0 * 5.0 * 6.0 / 0.05);
        let (found, taken) = same(&device, &blobs(600, 5, 6, 6.0), &every(7, 6), None, 100, 0.0);
        assert_eq!(taken.whole, found.state.history.len(), "{passes} passes");
    }
}

/// Whole numbers in few values: ties between centroids, and centroids in the middle of rows.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn ties_go_to_the_lowest_index() {
    let draws = Stream::new(3, 7);
    for (values, columns, k) in [(3_u64, 4, 8), (5, 2, 6), (2, 9, 12)] {
        let value =
            |(row, column): (usize, usize)| (draws.bits((row * columns + column) as u64) % values) as f32;
        let points = Array2::from_shape_fn((800, columns), value);
        let mut first: Vec<usize> = Vec::new();
        for row in 0..800 {
            if first.len() < k && first.iter().all(|&other| points.row(other) != points.row(row)) {
                first.push(row);
            }
        }
        for device in [device().with_matrix_units(false), device().with_plain_matrices(16)] {
            let (found, taken) = same(&device, &points, &first, None, 50, 0.0);
            assert!(taken.whole + taken.many + taken.empty > 0, "{taken:?}");
            assert!(found.state.history.iter().any(|step| step.rechecked > 0.0), "no ties");
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn empty_clusters_and_equal_rows_are_the_hosts() {
    // Two of the first centroids are one place, and a far one gets no rows.
    let mut points = blobs(500, 4, 5, 6.0);
    for row in 0..100 {
        let copied = points.row(row % 3).to_owned();
        points.row_mut(row).assign(&copied);
    }
    let device = device().with_matrix_units(false);
    let (_, taken) = same(&device, &points, &[0, 3, 1, 200, 300], None, 50, 0.0);
    assert!(taken.whole > 0, "{taken:?}");
    let line = Array2::from_shape_fn((400, 1), |(row, _)| if row < 399 { (row % 2) as f32 } else { 100.0 });
    let (_, taken) = same(&device, &line, &[0, 1, 399], None, 50, 0.0);
    assert!(taken.whole > 0, "{taken:?}");
}

/// Rows whose elements are subnormal in `f32`, and rows of very different size.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn small_numbers_keep_their_digits() {
    let device = device().with_matrix_units(false);
    let mut points = blobs(600, 6, 6, 6.0);
    points.mapv_inplace(|x| x * 1e-42);
    same(&device, &points, &every(7, 6), None, 50, 0.0);
    let mut points = blobs(600, 6, 6, 6.0);
    for (row, mut values) in points.outer_iter_mut().enumerate() {
        values.mapv_inplace(|x| x * 10.0_f32.powi(-(row as i32 % 40)));
    }
    same(&device, &points, &every(7, 6), None, 50, 0.0);
}

/// Without soft arithmetic that is right there is no burst, and the bits are the same.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_device_that_computes_wrong_goes_pass_by_pass() {
    let device = device().with_matrix_units(false);
    for (fault, ..) in crate::tile::soft::kernels::FAULTS {
        device.plant_soft_fault(fault);
        let (_, taken) = same(&device, &blobs(600, 5, 6, 6.0), &every(7, 6), None, 100, 0.0);
        assert_eq!(taken, Taken::default(), "{fault}");
    }
}

/// Fewer distinct rows than clusters: every pass has an empty cluster, and bursts are tried ever more rarely.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn bursts_that_do_not_pay_are_given_up() {
    let points = Array2::from_shape_fn((300, 2), |(row, column)| ((row * (column + 3)) % 23 % 5) as f32);
    let first: Vec<usize> = (0..40).collect();
    let (found, taken) = same(&device().with_matrix_units(false), &points, &first, None, 60, -1.0);
    println!("{} iterations, {taken:?}", found.state.history.len());
    assert!(taken.empty + taken.many <= 6, "{taken:?}");
}
