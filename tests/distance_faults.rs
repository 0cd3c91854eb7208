//! Every device call of distances fails in turn: see `support/faults.rs` for what must hold. Values of two devices differ
//! within their bounds, so an answer must be, bit for bit, that of the device it names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::{Array2, s};
use tilefold::distance::{Distances, Filled, MatrixView, Metric, Params, between, pairwise, stream};
use tilefold::{Device, Result};

use crate::support::backends;
use crate::support::cases::{Draws, uniform};
use crate::support::faults::Work;

fn bits(found: &Distances) -> Vec<u32> {
    found.matrix.as_f32().unwrap().iter().map(|value| value.to_bits()).collect()
}

/// Windows that hold a part of Y and of X.
fn in_windows(device: Device) -> Device {
    device.with_window_bytes(4096)
}

fn is_of_cpu(device: &str) -> bool {
    device.starts_with("cpu")
}

#[track_caller]
fn matrices(name: &str, least: u64, run: &dyn Fn(&Device) -> Result<Distances>) {
    let expected = bits(&run(&in_windows(backends::gpu())).unwrap());
    let of_cpu = bits(&run(&Device::cpu()).unwrap());
    Work {
        name,
        open: &in_windows,
        run,
        device: &|found: &Distances| found.device.clone(),
        is_right: &|found| bits(found) == if is_of_cpu(&found.device) { &of_cpu[..] } else { &expected[..] },
    }
    .survives(least);
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn matrices_of_rows() {
    let x = uniform(33, 8, 1.0, 24);
    let params = Params::new(Metric::Euclidean);
    matrices("a matrix", 20, &|device| pairwise(device, x.view(), &params));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn matrices_of_packed_bits() {
    let mut draws = Draws::new(25);
    let mut words = |rows| Array2::from_shape_fn((rows, 9), |_| draws.bits() as u8);
    let (x, y) = (words(33), words(40));
    let params = Params::new(Metric::BitJaccard);
    matrices("packed bits", 8, &|device| between(device, x.view(), y.view(), &params));
}

/// A matrix in blocks of rows. What was handed out stays; the block that failed is whole from the CPU.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn streams() {
    const BLOCK: usize = 17;
    type Streamed = (Filled, Array2<f32>);
    let x = uniform(33, 8, 1.0, 26);
    let params = Params::new(Metric::Euclidean).max_bytes(4 * 33 * BLOCK as u64);
    let run = |device: &Device| -> Result<Streamed> {
        let (mut all, mut rows) = (Array2::zeros((33, 33)), 0);
        let filled = stream(device, x.view(), None, &params, |block| {
            let MatrixView::F32(values) = &block.values else { panic!("{block:?}") };
            assert_eq!(block.first_row, rows, "a block is handed out once");
            rows += values.nrows();
            all.slice_mut(s![block.first_row..rows, ..]).assign(values);
            Ok(())
        })?;
        assert_eq!((rows, filled.rows), (33, 33));
        Ok((filled, all))
    };
    let expected = run(&in_windows(backends::gpu())).unwrap().1;
    let of_cpu = run(&Device::cpu()).unwrap().1;
    Work {
        name: "a stream",
        open: &in_windows,
        run: &run,
        device: &|(filled, _): &Streamed| filled.device.clone(),
        is_right: &|(filled, all)| {
            let first_of_cpu = match filled.device.split_once("; from row ") {
                Some((_, rest)) => rest.split(' ').next().unwrap().parse().unwrap(),
                None if is_of_cpu(&filled.device) => 0,
                None => 33,
            };
            assert!(first_of_cpu % BLOCK == 0 || first_of_cpu == 33, "{}", filled.device);
            all.slice(s![..first_of_cpu, ..]) == expected.slice(s![..first_of_cpu, ..])
                && all.slice(s![first_of_cpu.., ..]) == of_cpu.slice(s![first_of_cpu.., ..])
        },
    }
    .survives(20);
}
