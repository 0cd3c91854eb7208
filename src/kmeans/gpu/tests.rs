//! Passes of one submission beside those of the CPU: labels, counts and sums, where many rows are nearly ties.

use ndarray::{Array1, Array2};

use super::{GpuPasses, ResidentSlot};
use crate::cancel::Cancel;
use crate::data::Points;
use crate::device::{Backend, Device, Pacer, Prediction};
use crate::kmeans::cpu::Cpu;
use crate::kmeans::lloyd::Passes;
use crate::kmeans::params::Params;
use crate::kmeans::problem::Problem;
use crate::tile::nearest::gpu::single_submission::Settled;
use crate::tile::operands::columns::Columns;

/// How passes went.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Taken {
    pub at_once: usize,
    pub moved: usize,
    pub again: usize,
}

impl Taken {
    pub fn count(&mut self, settled: &Settled) {
        match settled {
            Settled::AtOnce(_, moved) => {
                self.at_once += 1;
                self.moved += moved.len();
            }
            Settled::Again(_) => self.again += 1,
        }
    }
}

/// Whole numbers below 2^22: the first `k` rows are anchors, the others lie between two of them or close to one.
fn nearly_ties(rows: usize, columns: usize, k: usize, share: f64) -> Array2<f32> {
    let draws = crate::random::Stream::new(columns as u64, 3);
    let anchor = |index: usize, column: usize| match column {
        0 => 2.0 * (draws.bits((index * columns) as u64) % 4) as f32,
        _ => 2.0 * (draws.unit((index * columns + column) as u64) * 2_097_152.0 - 1_048_576.0).floor() as f32,
    };
    Array2::from_shape_fn((rows, columns), |(row, column)| {
        let own = |at: u64| draws.bits((1 << 40) + 4 * row as u64 + at);
        let (left, right) = (own(0) as usize % k, own(1) as usize % k);
        if row < k {
            return anchor(row, column);
        }
        if draws.unit((1 << 41) + row as u64) >= share {
            return anchor(left, column) + (own(2) % 64) as f32;
        }
        let step = if column == 0 { (own(3) % 9) as f32 - 4.0 } else { 0.0 };
        (anchor(left, column) + anchor(right, column)) / 2.0 + step
    })
}

/// Four passes from centroids that trade places.
fn passes(device: &Device, points: &Array2<f32>, k: usize, weights: Option<&[f64]>) -> Taken {
    let columns = points.ncols();
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    let problem = Problem::new(Points::from(points.view()), weights, false, &Cancel::new()).unwrap();
    let params = Params::new(k);
    let slot = ResidentSlot::default();
    let mut on_gpu = GpuPasses::new(gpu, &problem, &params, &slot).unwrap();
    let mut on_cpu = Cpu::new(&problem, &params).unwrap();
    on_gpu.reset().unwrap();
    on_cpu.reset().unwrap();
    let mut anchors = vec![0.0_f32; k * columns];
    problem.load(0, &mut anchors).unwrap();
    for pass in 0..4 {
        let centroids = Array1::from_shape_fn(k * columns, |at| {
            f64::from(anchors[(at + pass * columns) % (k * columns)])
        });
        let book = Columns::new(centroids.as_slice().unwrap(), columns);
        let (found, expected) = (on_gpu.assign(&book).unwrap(), on_cpu.assign(&book).unwrap());
        assert_eq!(found.changed, expected.changed, "pass {pass}");
        assert!(on_gpu.labels().unwrap() == on_cpu.labels().unwrap(), "labels of pass {pass}");
        assert!(on_gpu.sums() == on_cpu.sums(), "sums of pass {pass}");
    }
    on_gpu.taken
}

fn gpu() -> Device {
    Device::gpu("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1")
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn decisions_of_the_host_move_rows_in_the_sums() {
    let points = nearly_ties(900, 33, 7, 0.45);
    let weights: Vec<f64> = (0..900).map(|row| 0.1 + f64::from(row % 17)).collect();
    for weights in [None, Some(&weights[..])] {
        let taken = passes(&gpu().with_matrix_units(false), &points, 7, weights);
        assert_eq!((taken.at_once, taken.again), (4, 0));
        assert!(taken.moved > 20, "{taken:?}: the data has no ties");
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn more_rows_than_were_brought_go_through_the_tiers() {
    let points = nearly_ties(3000, 8, 5, 0.95);
    let taken = passes(&gpu().with_matrix_units(false), &points, 5, None);
    assert_eq!((taken.at_once, taken.again), (0, 4));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn both_tiers_of_a_screen_go_at_once() {
    let points = nearly_ties(1500, 40, 9, 0.15);
    let taken = passes(&gpu().with_plain_matrices(16), &points, 9, None);
    assert_eq!((taken.at_once, taken.again), (4, 0));
    assert!(taken.moved > 5, "{taken:?}: the data has no ties");
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn windows_are_even_and_change_no_bit() {
    // A thousandth of 4,194,304 rows, and of bindings of 128 MiB and 2 GiB.
    let points = nearly_ties(4195, 128, 8, 0.02);
    for (bytes, windows) in [((128 << 20) / 1000, 17), ((2 << 30) / 1000, 2)] {
        let device = gpu().with_matrix_units(false).with_window_bytes(bytes);
        passes(&device, &points, 8, None);
        let rows = on_gpu(&device, &points, 8, |passes| {
            passes.labels.iter().map(|labels| labels.size_bytes() / 4).collect::<Vec<_>>()
        });
        assert_eq!((rows.len(), rows.iter().sum::<u64>()), (windows, 4195));
        assert!(rows.iter().all(|rows| (4195 / windows as u64..=4195 / windows as u64 + 1).contains(rows)));
    }
}

/// What `look` finds out about passes that are about to begin.
fn on_gpu<R>(device: &Device, points: &Array2<f32>, k: usize, look: impl FnOnce(&mut GpuPasses) -> R) -> R {
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    let problem = Problem::new(Points::from(points.view()), None, false, &Cancel::new()).unwrap();
    let (params, slot) = (Params::new(k), ResidentSlot::default());
    look(&mut GpuPasses::new(gpu, &problem, &params, &slot).unwrap())
}

/// How often the host waits in each of three passes.
fn waits(device: &Device, points: &Array2<f32>, k: usize) -> [u64; 3] {
    on_gpu(device, points, k, |passes| {
        let mut anchors = vec![0.0_f32; k * points.ncols()];
        passes.problem.load(0, &mut anchors).unwrap();
        let anchors: Vec<f64> = anchors.into_iter().map(f64::from).collect();
        let book = Columns::new(&anchors, points.ncols());
        passes.reset().unwrap();
        [(); 3].map(|()| {
            let before = passes.gpu.counters();
            passes.assign(&book).unwrap();
            passes.gpu.counters().since(&before).waits
        })
    })
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn a_device_of_known_speed_waits_in_the_first_pass_as_in_the_others() {
    // 2.5 times ten million multiplications and additions: more than a device gets that nothing is known of.
    let points = nearly_ties(3000, 64, 64, 0.0);
    let unknown = gpu().with_matrix_units(false);
    assert!(waits(&unknown, &points, 64)[0] >= 2);
    let learnt = unknown.opened_gpu().unwrap().pacer("nearest", [64, 64]).rows(u64::MAX, 1.0);
    assert_ne!(learnt, Pacer::new().rows(u64::MAX, 1.0), "the device keeps what a fit learns");
    let known = gpu().with_matrix_units(false);
    known.pace_as(1e13);
    assert_eq!(waits(&known, &points, 64), [1; 3]);
}
