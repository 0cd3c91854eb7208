//! The arithmetic against a CPU's, on a real adapter.

use super::kernels::{FAULTS, check_kernel};
use super::operation::Operation;
use super::self_test::{compute, first_difference, is_exact};
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

/// 2^20 pairs: all bits at random; exponents near each other; integers; few bits in the significand.
fn random_pairs() -> Vec<[u64; 2]> {
    const FIELD: u64 = 0x7ff << 52;
    let draws = Stream::new(1, 0);
    let pair = |at: u64| {
        let [a, b, c] = [0, 1, 2].map(|part| draws.bits(3 * at + part));
        let few = |bits: u64| bits & (u64::MAX << (bits % 53) | FIELD);
        let near = |bits: u64| {
            (bits & !FIELD) | ((a & FIELD) >> 52).wrapping_add(c % 131).wrapping_sub(65) << 52 & FIELD
        };
        match at % 6 {
            0 => [a, b],
            1 => [a, near(b)],
            2 => [few(a), few(near(b))],
            3 => [a >> (c % 64), b >> (c >> 8 & 63)],
            4 => {
                [c % 64, c >> 8 & 63].map(|by| (a ^ b) as i64 >> by).map(|integer| (integer as f64).to_bits())
            }
            // Quotients and products around the least numbers, and scales and f32's ends.
            _ => [(a & !FIELD) | (800 + c % 400) << 52, (b & !FIELD) | (1800 + (c >> 16) % 200) << 52],
        }
    };
    (0..1 << 20).map(pair).collect()
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn random_operands_give_the_bits_of_a_cpu() {
    with_gpu(|_, gpu| equal_on_host(gpu, &random_pairs()));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn pairs_of_edges_give_the_bits_of_a_cpu() {
    let significands =
        [0, 1, 0x1000_0000, 0x3000_0000, 0x5_5555_5555_5555, 0x8_0000_0000_0001, 0xf_ffff_ffff_ffff];
    let fields = [
        0, 1, 2, 53, 54, 512, 872, 873, 874, 896, 897, 969, 970, 971, 1022, 1023, 1024, 1075, 1076, 1077,
        1085, 1086, 1150, 1151, 1535, 2045, 2046_u64,
    ];
    let edges: Vec<u64> = fields
        .into_iter()
        .flat_map(|field| significands.map(|significand| field << 52 | significand))
        .collect();
    let signed = edges.iter().flat_map(|edge| [*edge, edge | 1 << 63]);
    let pairs: Vec<_> = signed.flat_map(|a| edges.iter().map(move |b| [a, *b])).collect();
    with_gpu(|_, gpu| equal_on_host(gpu, &pairs));
}

#[test]
#[cfg_attr(without_gpu, ignore = "TILEFOLD_WITHOUT_GPU=1")]
fn every_leading_part_of_a_divisor_divides() {
    let ones = 0x3ff << 52;
    let cases: Vec<_> = (0..1_u64 << 15)
        .flat_map(|leading| [0, (1 << 37) - 1, 1 << 36].map(|rest| ones | leading << 37 | rest))
        .flat_map(|divisor| [ones, ones | ((1 << 52) - 1), divisor - 1].map(|a| (a, divisor)))
        .filter_map(|(a, divisor)| Operation::Divide.case(a, divisor))
        .collect();
    with_gpu(|_, gpu| {
        assert_eq!(first_difference(&cases, &compute(gpu, &cases, "").unwrap()), None);
    });
}
