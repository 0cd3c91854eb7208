//! Every device call of a small fit fails in turn: a typed error or the right answer, no panic, no leaked buffer.

#![cfg(all(feature = "gpu", feature = "test-hooks"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ndarray::Array2;
use tilefold::kmeans::{self, Fit, Params};
use tilefold::{Device, Error, Fault};

use crate::kmeans_bits::same_bits;
use crate::support::faults::Work;
use crate::support::{backends, cases};

/// More calls than a small fit makes; a fit that goes beyond never ends.
const MOST_CALLS: u64 = 2000;

fn problem() -> (Array2<f32>, Params) {
    (cases::uniform(70, 5, 1.0, 95), Params::new(6).max_iter(3).tol(0.0).seed(1))
}

fn expected() -> Fit {
    let (points, params) = problem();
    kmeans::fit(&Device::cpu(), points.view(), &params).unwrap()
}

/// Fails call after call until a fit makes fewer calls than that.
fn fail_every_call(fault: Fault, open: impl Fn() -> Device, typed: impl Fn(&Error) -> bool) {
    let ((points, params), expected) = (problem(), expected());
    let mut device = open();
    let mut refused = 0;
    for call in 1.. {
        assert!(call <= MOST_CALLS, "the fit never ends");
        if fault == Fault::Lost {
            // A device is re-created once only.
            device = open();
        }
        // Warm: pipelines and pooled buffers exist, as in the second fit of a program.
        if call > 1 && call % 2 == 0 {
            same_bits(&kmeans::fit(&device, points.view(), &params).unwrap(), &expected, "warm");
        }
        let before = device.live_buffers();
        device.inject_fault(call, fault);
        let outcome = kmeans::fit(&device, points.view(), &params);
        let calls = device.device_calls();
        device.inject_fault(0, fault);
        match &outcome {
            Ok(fit) => same_bits(fit, &expected, &format!("{fault:?} at call {call}")),
            Err(error) => {
                refused += 1;
                assert!(typed(error), "{fault:?} at call {call}: {error}");
                assert!(error.to_string().len() < 300, "{error}");
            }
        }
        assert_eq!(device.live_buffers(), before, "{fault:?} at call {call} leaks buffers");
        let next = kmeans::fit(&device, points.view(), &params);
        let next = next.unwrap_or_else(|error| panic!("the fit after {fault:?} at call {call}: {error}"));
        same_bits(&next, &expected, &format!("the fit after {fault:?} at call {call}"));
        assert_eq!(device.live_buffers(), before, "the fit after {fault:?} at call {call} leaks buffers");
        if outcome.is_ok() && calls < call {
            println!("{fault:?}: N = 1 to {} failed, {refused} with an error", call - 1);
            assert!(call > 3, "a fit makes more than {call} calls");
            // Memory that is short once is asked for in smaller windows, a lost device is opened again; what the
            // driver refuses is a fault of the crate's own and is told.
            assert_eq!(refused > 0, fault == Fault::Validation, "{refused} of {} refused", call - 1);
            return;
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_fit_survives_memory_that_runs_out() {
    fail_every_call(Fault::OutOfMemory, backends::gpu, |error| {
        matches!(error, Error::DeviceMemory { .. } | Error::TooLarge { .. })
    });
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn what_the_driver_refuses_is_told() {
    fail_every_call(Fault::Validation, backends::gpu, |error| matches!(error, Error::DeviceRefused { .. }));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_fit_survives_a_lost_device() {
    fail_every_call(Fault::Lost, backends::gpu, |error| matches!(error, Error::DeviceLost { .. }));
}

/// A device that stays lost, full or broken: see `support/faults.rs` for what must hold.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn fits_survive_what_lasts() {
    let ((points, params), expected) = (problem(), expected());
    Work {
        name: "a fit",
        open: &|device| device,
        run: &|device| kmeans::fit(device, points.view(), &params),
        device: &|fit: &Fit| fit.device.clone(),
        is_right: &|fit| {
            same_bits(fit, &expected, "a fit");
            true
        },
    }
    .survives_what_lasts();
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn models_survive_every_fault() {
    let ((points, _), expected) = (problem(), expected());
    let model = &expected.model;
    Work {
        name: "predict",
        open: &|device| device,
        run: &|device| model.predict(device, points.view()),
        device: &|found| found.device.clone(),
        is_right: &|found| found.labels == expected.labels,
    }
    .survives(6);
    let of_cpu = model.nearest(&Device::cpu(), points.view(), 3).unwrap();
    Work {
        name: "the nearest centroids",
        open: &|device| device,
        run: &|device| model.nearest(device, points.view(), 3),
        device: &|found| found.device.clone(),
        is_right: &|found| found.indices == of_cpu.indices && found.distances == of_cpu.distances,
    }
    .survives(6);
}

/// Prediction too, and prepared data outlives a fault.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn predict_and_prepared_data_survive_faults() {
    let ((points, params), expected) = (problem(), expected());
    let device = backends::gpu();
    let before = device.live_buffers();
    for fault in [Fault::OutOfMemory, Fault::Validation] {
        for call in 1.. {
            assert!(call <= MOST_CALLS, "predict never ends");
            device.inject_fault(call, fault);
            let outcome = expected.model.predict(&device, points.view());
            let calls = device.device_calls();
            device.inject_fault(0, fault);
            assert_eq!(device.live_buffers(), before, "{fault:?} at call {call} of predict leaks buffers");
            match outcome {
                Ok(labels) => assert_eq!(labels.labels, expected.labels),
                Err(Error::DeviceMemory { .. } | Error::DeviceRefused { .. }) => continue,
                Err(error) => panic!("{fault:?} at call {call} of predict: {error}"),
            }
            if calls < call {
                println!("predict, {fault:?}: N = 1 to {} failed", call - 1);
                break;
            }
        }
        let data = kmeans::Data::new(&device, points.view(), &params).unwrap();
        for call in [1, 2, 3, 5, 8, 13, 21] {
            device.inject_fault(call, fault);
            let _ = data.fit(&params);
            device.inject_fault(0, fault);
            same_bits(&data.fit(&params).unwrap(), &expected, "prepared data after a fault");
        }
        drop(data);
        assert_eq!(device.live_buffers(), before, "prepared data leaks buffers");
    }
}
