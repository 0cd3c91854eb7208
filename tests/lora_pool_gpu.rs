//! A pool on a GPU: slabs, and every device call failing in turn.

use ndarray::Array2;
use tilefold::lora::{Lease, Pool, Precision, Routes, apply};
use tilefold::{Error, Fault};

use crate::lora_pool::{RANK_BYTES, applied, holds, made, of_rank, pool, register, sharded};
use crate::support::backends;
use crate::support::faults::Work;
use crate::support::lora::{Batch, bits, routes_of};

/// More calls than anything here makes.
const MOST_CALLS: u64 = 500;

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn adapters_in_several_slabs_are_right() {
    // 16 pages to a slab: one adapter of rank 5 each.
    let pool = pool(&backends::gpu().with_window_bytes(1024), 21);
    let all: Vec<_> = (0..5).map(|seed| of_rank(4, seed)).collect();
    let names = ["a", "b", "c", "d", "e"];
    for (name, factors) in names.iter().zip(&all) {
        register(&pool, name, factors);
    }
    let refused = pool.register("f", tilefold::lora::Adapter::single("m", of_rank(6, 1))).unwrap_err();
    let Error::TooLarge { needed_bytes, limit_bytes, .. } = &refused else { panic!("{refused}") };
    assert!(*needed_bytes == 6 * RANK_BYTES && *limit_bytes <= 1024, "{refused}");
    let lease = pool.lease(&names[..4]).unwrap();
    holds(&lease, &all[..4].iter().collect::<Vec<_>>());
    // One row would need two bindings of weights at once.
    let mut routes = Routes::new();
    routes.push_scaled(&[(0, 1.0), (1, 0.5)]).unwrap();
    let batch = Batch::<f32, f32>::new(&[], Precision::F32, routes, 32, 16);
    let mut y = batch.y.clone();
    let refused = lease.step(&batch.routes).unwrap().apply(0, batch.x.view(), &mut [y.view_mut()]);
    assert!(matches!(refused, Err(Error::TooLarge { .. })), "{refused:?}");
    assert_eq!(bits(y.view()), bits(batch.y.view()));
    drop(lease);
    holds(&pool.lease(&names[1..]).unwrap(), &all[1..].iter().collect::<Vec<_>>());
}

fn is_typed(fault: Fault, error: &Error) -> bool {
    assert!(error.to_string().len() < 300, "{error}");
    match fault {
        Fault::OutOfMemory => matches!(error, Error::DeviceMemory { .. }),
        Fault::Lost => matches!(error, Error::DeviceLost { .. }),
        Fault::Validation => matches!(error, Error::DeviceRefused { .. }),
    }
}

const FAULTS: [Fault; 3] = [Fault::OutOfMemory, Fault::Validation, Fault::Lost];

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_new_pool_survives_a_fault_at_every_call() {
    let factors = of_rank(3, 1);
    for fault in FAULTS {
        let mut device = backends::gpu();
        for call in 1.. {
            assert!(call < MOST_CALLS, "it never ends");
            if fault == Fault::Lost {
                // A device is opened again once only.
                device = backends::gpu();
            }
            device.inject_fault(call, fault);
            let module = tilefold::lora::Module { name: "m".into(), inputs: 32, outputs: 16 };
            let params = tilefold::lora::PoolParams::new(vec![tilefold::lora::Group::new("g", vec![module])]);
            let outcome = tilefold::lora::Pool::new(&device, params.budget_bytes(8 * RANK_BYTES));
            let calls = device.device_calls();
            device.inject_fault(0, fault);
            if let Err(error) = &outcome {
                assert!(is_typed(fault, error), "{fault:?} at call {call}: {error}");
            }
            drop(outcome);
            assert_eq!(device.live_buffers(), 0, "{fault:?} at call {call}");
            let pool = pool(&device, 8);
            register(&pool, "a", &factors);
            holds(&pool.lease(&["a"]).unwrap(), &[&factors]);
            drop(pool);
            assert_eq!(device.live_buffers(), 0, "{fault:?} at call {call}, the next pool");
            if calls < call {
                assert!(call > 2, "a pool makes more calls");
                break;
            }
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_lease_and_its_step_survive_a_fault_at_every_call() {
    let (first, second, third) = (of_rank(3, 1), of_rank(4, 2), of_rank(2, 3));
    for fault in FAULTS {
        let (mut device, mut refused) = (backends::gpu(), 0);
        for call in 1.. {
            assert!(call < MOST_CALLS, "it never ends");
            if fault == Fault::Lost {
                device = backends::gpu();
            }
            let pool = pool(&device, 9);
            for (name, factors) in [("a", &first), ("b", &second), ("c", &third)] {
                register(&pool, name, factors);
            }
            let before = device.live_buffers();
            let old = pool.lease(&["c"]).unwrap();
            device.inject_fault(call, fault);
            let outcome = pool.lease(&["a", "b"]).and_then(|lease| applied(&lease, &[&first, &second]));
            let calls = device.device_calls();
            device.inject_fault(0, fault);
            if let Err(error) = &outcome {
                refused += 1;
                assert!(is_typed(fault, error), "{fault:?} at call {call}: {error}");
            }
            let about = format!("{fault:?} at call {call}");
            let next = pool.lease(&["b", "c", "a"]).unwrap_or_else(|error| panic!("{about}, next: {error}"));
            holds(&next, &[&second, &third, &first]);
            let still = applied(&old, &[&third]);
            if fault == Fault::Lost && calls >= call {
                assert!(matches!(still, Err(Error::DeviceLost { .. })), "{about}: {still:?}");
            } else {
                still.unwrap_or_else(|error| panic!("{about}, the lease of before: {error}"));
            }
            drop((old, next));
            assert_eq!(device.live_buffers(), before, "{about} leaks buffers");
            for name in ["a", "b", "c"] {
                assert!(pool.unload(name).unwrap(), "{about}");
            }
            assert_eq!((pool.stats().resident, pool.stats().resident_bytes), (0, 0), "{about}");
            if calls < call {
                println!("{fault:?}: N = 1 to {} failed, {refused} with an error", call - 1);
                assert!(call > 8, "a lease, a step and its use make more calls");
                break;
            }
        }
    }
}

/// A pool and what it loads: see `support/faults.rs` for what must hold. On the CPU too the lease gives the same bits.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn loading_survives_every_fault() {
    let (first, second) = (of_rank(3, 1), of_rank(4, 2));
    Work {
        name: "a pool with a lease",
        open: &|device| device,
        run: &|device| {
            let pool = made(device, 9)?;
            register(&pool, "a", &first);
            register(&pool, "b", &second);
            let lease = pool.lease(&["a", "b"])?;
            Ok((pool, lease))
        },
        device: &|(pool, _): &(Pool, Lease)| pool.device_name(),
        is_right: &|(_, lease)| {
            holds(lease, &[&first, &second]);
            true
        },
    }
    .survives(8);
}

/// What is loaded in the background goes on with the CPU too, and so do leases after a step that met the loss.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_pool_outlives_a_device_that_stays_lost() {
    let device = backends::gpu().with_fallback();
    let (pool, factors) = (pool(&device, 8), of_rank(3, 1));
    register(&pool, "a", &factors);
    register(&pool, "b", &factors);
    let old = pool.lease(&["a"]).unwrap();
    holds(&old, &[&factors]);
    assert_eq!(pool.device_name(), device.name());
    device.inject_lasting_fault(1, Fault::Lost);
    assert!(matches!(applied(&old, &[&factors]), Err(Error::DeviceLost { .. })), "its weights are gone");
    while pool.try_lease(&["b"]).unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    holds(&pool.lease(&["a", "b"]).unwrap(), &[&factors, &factors]);
    assert!(pool.device_name().contains("cpu") && pool.device_name().contains("(after "));
    assert!(matches!(applied(&old, &[&factors]), Err(Error::DeviceLost { .. })));
    drop(old);
    assert_eq!((pool.stats().resident, device.live_buffers()), (2, 0));
}

/// Somebody else may meet the loss, and somebody else may open the device again.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_device_that_others_lost_is_told_to_old_leases() {
    for is_prefetched in [false, true] {
        let device = backends::gpu();
        let (pool, factors) = (pool(&device, 8), of_rank(3, 1));
        register(&pool, "a", &factors);
        let old = pool.lease(&["a"]).unwrap();
        let points = crate::support::cases::uniform(70, 5, 1.0, 95);
        let params = tilefold::kmeans::Params::new(6).max_iter(2);
        device.inject_fault(1, Fault::Lost);
        tilefold::kmeans::fit(&device, points.view(), &params).unwrap();
        assert!(!pool.is_resident("a") && pool.stats().resident == 0);
        assert!(matches!(applied(&old, &[&factors]), Err(Error::DeviceLost { .. })));
        if is_prefetched {
            while pool.try_lease(&["a"]).unwrap().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        let new = pool.lease(&["a"]).unwrap();
        drop(old);
        holds(&new, &[&factors]);
        device.inject_fault(1, Fault::Lost);
        assert!(matches!(applied(&new, &[&factors]), Err(Error::DeviceLost { .. })));
        drop(new);
        let refused = pool.lease(&["a"]);
        assert!(
            matches!(refused, Err(Error::DeviceLost { .. })),
            "a device is opened again once: {refused:?}"
        );
        assert!(matches!(pool.lease(&["a"]), Err(Error::DeviceLost { .. })));
        assert_eq!((pool.stats().resident, pool.stats().resident_bytes), (0, 0));
    }
}

/// What one adapter failed to send is sent by the next one that shares it.
#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn shards_that_were_not_sent_are_sent_again() {
    let (device, all) = (backends::gpu(), sharded());
    for call in 1.. {
        assert!(call < MOST_CALLS, "it never ends");
        let pool = pool(&device, 8);
        for (name, factors) in ["a", "b", "c"].iter().zip(&all) {
            register(&pool, name, factors);
        }
        device.inject_fault(call, Fault::Validation);
        let outcome = pool.lease(&["a"]);
        device.inject_fault(0, Fault::Validation);
        holds(&pool.lease(&["b", "c", "a"]).unwrap(), &[&all[1], &all[2], &all[0]]);
        if outcome.is_ok() {
            assert!(call > 3, "a load makes more calls");
            break;
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn a_plain_call_survives_a_fault_at_every_call() {
    let batch = Batch::<f32, f32>::new(&[3, 9], Precision::F32, routes_of(&[3, 2]), 70, 33);
    let expected: Array2<f32> = batch.check(&backends::gpu());
    let slots: Vec<_> = batch.slots.iter().collect();
    for fault in FAULTS {
        let (mut device, mut refused) = (backends::gpu(), 0);
        for call in 1.. {
            assert!(call < MOST_CALLS, "it never ends");
            if fault == Fault::Lost {
                device = backends::gpu();
            }
            device.inject_fault(call, fault);
            let mut y = batch.y.clone();
            let outcome = apply(&device, &slots, &batch.routes, batch.x.view(), y.view_mut());
            let calls = device.device_calls();
            device.inject_fault(0, fault);
            match &outcome {
                Ok(_) => assert_eq!(bits(y.view()), bits(expected.view()), "{fault:?} at call {call}"),
                Err(error) => {
                    refused += 1;
                    assert!(is_typed(fault, error), "{fault:?} at call {call}: {error}");
                    assert_eq!(bits(y.view()), bits(batch.y.view()), "{fault:?} at call {call}");
                }
            }
            assert_eq!(device.live_buffers(), 0, "{fault:?} at call {call}");
            if calls < call {
                // A refusal is a fault of the crate's own and is told; the rest is survived.
                assert_eq!(refused > 0, fault == Fault::Validation, "{fault:?}: {refused} refused");
                break;
            }
        }
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1: no GPU to run on")]
fn the_plain_call_survives_what_lasts() {
    let batch = Batch::<f32, f32>::new(&[3, 9], Precision::F32, routes_of(&[3, 2]), 70, 33);
    let [expected, of_cpu]: [Array2<f32>; 2] =
        [backends::gpu(), backends::cpu()].map(|device| batch.check(&device));
    let slots: Vec<_> = batch.slots.iter().collect();
    Work {
        name: "apply",
        open: &|device| device,
        run: &|device| {
            let mut y = batch.y.clone();
            let applied = apply(device, &slots, &batch.routes, batch.x.view(), y.view_mut())?;
            Ok((applied.device, y))
        },
        device: &|(device, _)| device.clone(),
        is_right: &|(device, y)| {
            let expected = if device.starts_with("cpu") { &of_cpu } else { &expected };
            bits(y.view()) == bits(expected.view())
        },
    }
    .survives_what_lasts();
}
