//! Distance matrices: what needs a GPU and the hooks of the device layer.

#![cfg(all(feature = "gpu", feature = "test-hooks"))]

use ndarray::s;
use tilefold::distance::{Metric, Params, between, pairwise};
use tilefold::{Device, Error, Fault};

use crate::distance::{bits, widened};
use crate::support::backends;
use crate::support::cases::uniform;

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_small_budget_changes_no_bit() {
    let x = uniform(150, 90, 1.0, 22);
    for metric in [Metric::Euclidean, Metric::Manhattan] {
        let params = Params::new(metric);
        let whole = pairwise(&backends::gpu(), x.view(), &params).unwrap();
        // The rows take 54,000 bytes, so windows of Y have to take turns.
        for budget in [100_000, 60_000, 10_000] {
            let device = backends::gpu().with_memory_budget(budget);
            let found = pairwise(&device, x.view(), &params).unwrap();
            assert_eq!(bits(&found), bits(&whole), "{metric} in {budget} bytes");
        }
        let outcome = pairwise(&backends::gpu().with_memory_budget(500), x.view(), &params);
        assert!(matches!(outcome, Err(Error::TooLarge { limit_bytes: 500, .. })), "{outcome:?}");
        let outcome = pairwise(&backends::gpu().with_window_bytes(256), x.view(), &params);
        assert!(matches!(outcome, Err(Error::TooLarge { needed_bytes: 360, .. })), "{outcome:?}");
    }
}

/// Few rows or columns get smaller tiles, with other steps of the depth; the values are the same.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn the_shape_of_the_tile_changes_no_bit() {
    let device = backends::gpu();
    let (x, y) = (uniform(70, 150, 1.0, 25), uniform(90, 150, 1.0, 26));
    // These two take rows that differ by powers of two at most, whichever rows stand beside them.
    for metric in [Metric::InnerProduct, Metric::Manhattan] {
        let params = Params::new(metric);
        let measured = |rows: usize, columns: usize| {
            let found = between(&device, x.slice(s![..rows, ..]), y.slice(s![..columns, ..]), &params);
            found.unwrap().matrix.as_f32().unwrap().clone()
        };
        let whole = measured(70, 90);
        for (rows, columns) in [(7, 11), (32, 32), (70, 11), (70, 32), (7, 90), (33, 33), (1, 1)] {
            let part = measured(rows, columns);
            for ((row, column), value) in part.indexed_iter() {
                let expected = whole[[row, column]].to_bits();
                assert!(value.to_bits() == expected, "{metric} {rows}x{columns} at {row}, {column}");
            }
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn the_device_says_who_computed() {
    let device = backends::gpu();
    let x = uniform(4, 3, 1.0, 23);
    let params = Params::new(Metric::Cosine);
    assert_eq!(pairwise(&device, x.view(), &params).unwrap().device, device.name());
    let wide = pairwise(&device, widened(&x).view(), &params).unwrap();
    assert!(wide.device.starts_with(&device.name()) && wide.device.contains("; f64 on cpu ("), "{wide:?}");
}

/// Every device call of a small run fails once: a typed error or the right answer, nothing leaks, and the next run is
/// right.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn whichever_call_fails_nothing_leaks() {
    // Two windows of Y: results take 4 x 33 x 33 bytes, more than a window.
    let x = uniform(33, 8, 1.0, 24);
    let params = Params::new(Metric::Euclidean);
    let open = || backends::gpu().with_window_bytes(4096);
    let run = |device: &Device| pairwise(device, x.view(), &params);
    let device = open();
    device.inject_fault(0, Fault::Lost);
    let expected = bits(&run(&device).unwrap());
    let calls = device.device_calls();
    println!("{calls} device calls");
    assert!(calls > 20, "{calls}");
    let (mut recovered, mut failed) = (0, 0);
    for fault in [Fault::OutOfMemory, Fault::Lost, Fault::Validation] {
        for nth in 1..=calls {
            let device = open();
            device.inject_fault(nth, fault);
            match (run(&device), fault) {
                (Ok(found), _) => {
                    assert_eq!(bits(&found), expected, "{fault:?} at {nth}");
                    recovered += 1;
                }
                (Err(Error::DeviceMemory { .. }), Fault::OutOfMemory)
                | (Err(Error::DeviceLost { .. }), Fault::Lost)
                | (Err(Error::DeviceRefused { .. }), Fault::Validation) => failed += 1,
                (other, _) => panic!("{fault:?} at {nth}: {other:?}"),
            }
            assert_eq!(device.live_buffers(), 0, "{fault:?} at {nth}");
            device.inject_fault(0, fault);
            assert_eq!(bits(&run(&device).unwrap()), expected, "after {fault:?} at {nth}");
        }
    }
    println!("{recovered} recovered, {failed} failed with a typed error");
    assert!(recovered > 20, "losses and missing memory are recovered from: {recovered}");
}
