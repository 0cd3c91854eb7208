//! The arithmetic against a CPU's, on a real adapter.

use super::kernels::{FAULTS, check_kernel};
use super::operation::Operation;
use super::self_test::{compute, first_difference, is_exact, table};
use crate::device::{Backend, Device, Gpu, Prediction};
use crate::random::Stream;

fn with_gpu(check: impl FnOnce(&Device, &Gpu)) {
    let device = Device::gpu("").expect("no adapter: install a Vulkan driver or set TILEFOLD_WITHOUT_GPU=1");
    let much = Prediction { flops: f64::MAX, upload_bytes: 0.0 };
    let Backend::Gpu(gpu) = device.resolve(&much) else { panic!("no GPU: {}", device.name()) };
    check(&device, gpu);
}

/// Every operation on all pairs.
#[track_caller]
fn equal_on_host(gpu: &Gpu, pairs: &[[u64; 2]]) {
    for operation in Operation::ALL {
        let cases: Vec<_> = pairs.iter().filter_map(|[a, b]| operation.case(*a, *b)).collect();
        let results = compute(gpu, &cases, "").unwrap();
        assert_eq!(first_difference(&cases, &results), None);
    }
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn the_self_test_passes_and_finds_faults() {
    with_gpu(|device, gpu| {
        println!("{} cases", table().len());
        assert!(is_exact(gpu).unwrap());
        for (fault, ..) in FAULTS {
            assert_ne!(check_kernel(fault).unwrap().source, check_kernel("").unwrap().source, "{fault}");
            device.plant_soft_fault(fault);
            assert!(!is_exact(gpu).unwrap(), "{fault} went unnoticed");
        }
        device.plant_soft_fault("");
        assert!(is_exact(gpu).unwrap());
    });
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn random_operands_give_the_bits_of_a_cpu() {
    let draws = Stream::new(1, 0);
    let pairs: Vec<_> = (0..100_000).map(|at| [draws.bits(2 * at), draws.bits(2 * at + 1)]).collect();
    with_gpu(|_, gpu| equal_on_host(gpu, &pairs));
}
