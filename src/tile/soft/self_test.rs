//! Whether a device computes the arithmetic as it is written.
//!
//! Once per device and process one dispatch computes some 6,000 operations on edges: ties, carries into the exponent, integers
//! near 2^53 and 2^62, powers of two, subnormal numbers of both widths, cancellation, and quotients that are whole or
//! next to a tie. A CPU's bits are the right ones, and one other bit is too much.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use bytemuck::{bytes_of, pod_collect_to_vec};

use super::kernels::{CheckParams, SoftCase, check_kernel};
use super::operation::Operation;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::random::Stream;

/// Invocations of a workgroup of the kernel.
const INVOCATIONS: usize = 64;

/// Whether kernels may rest on the arithmetic: one table of edges came out as on a CPU, bit for bit.
///
/// # Errors
/// Those of a device that fails otherwise: lost, or out of memory.
pub(crate) fn is_exact(gpu: &Gpu) -> Result<bool> {
    static VERDICTS: LazyLock<Mutex<HashMap<String, bool>>> = LazyLock::new(Mutex::default);
    let fault = gpu.planted_soft_fault();
    if !fault.is_empty() {
        return Ok(wrong(gpu, fault)?.is_none());
    }
    let mut verdicts = VERDICTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = verdicts.get(&gpu.identity()) {
        return Ok(*known);
    }
    let found = wrong(gpu, "")?;
    if let Some(reason) = &found {
        tracing::warn!(
            device = gpu.name(),
            reason,
            "f64 arithmetic on words failed its self-test and is not used"
        );
    }
    verdicts.insert(gpu.identity(), found.is_none());
    Ok(found.is_none())
}

/// What a device gets wrong, in words.
fn wrong(gpu: &Gpu, fault: &str) -> Result<Option<String>> {
    let cases = table();
    let results = match compute(gpu, &cases, fault) {
        Ok(results) => results,
        // A compiler that refuses the kernel is a reason like any other.
        Err(Error::DeviceRefused { reason, .. }) => return Ok(Some(reason)),
        Err(error) => return Err(error),
    };
    Ok(first_difference(&cases, &results))
}

/// The first case whose result is not a CPU's.
pub(super) fn first_difference(cases: &[SoftCase], results: &[[u32; 2]]) -> Option<String> {
    let differs = |(case, result): &(&SoftCase, &[u32; 2])| case.expected() != **result;
    let (case, result) = cases.iter().zip(results).find(differs)?;
    let expected = case.expected();
    let operation = Operation::ALL[case.operation as usize];
    Some(format!("{operation:?} of {case:x?} is {result:x?}, expected {expected:x?}"))
}

/// The results of one dispatch.
pub(super) fn compute(gpu: &Gpu, cases: &[SoftCase], fault: &str) -> Result<Vec<[u32; 2]>> {
    let pipeline = gpu.pipeline(&check_kernel(fault)?)?;
    let operands = gpu.filled("soft cases", cases)?;
    let results = gpu.buffer("soft results", (8 * cases.len()) as u64)?;
    let params = CheckParams { cases: cases.len() as u32 };
    let workgroups = cases.len().div_ceil(INVOCATIONS) as u32;
    let mut batch = gpu.batch("self-test of soft arithmetic");
    batch.dispatch(&pipeline, &[operands.whole(), results.whole()], bytes_of(&params), [workgroups, 1, 1])?;
    let read = batch.submit_and_read(&[(&results, 0..results.size_bytes())])?;
    Ok(pod_collect_to_vec(&read[0]))
}

/// Numbers at the ends and in the middle of the range, with significands that carry, tie or are sparse.
const EDGES: [u64; 24] = [
    0,
    1 << 63,
    // Subnormal numbers, and the least normal one.
    1,
    0x0008_0000_0000_0001,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x8010_0000_0000_0001,
    0x0035_5555_5555_5555,
    // Whose squares and quotients are around the least ones.
    0x1e60_0000_0000_0000,
    0x2000_0000_0000_0001,
    0x9ff8_0000_0000_0001,
    // Around 1, and one half of the last bit of 1.
    0x3ca0_0000_0000_0000,
    0xbca0_0000_0000_0001,
    0x3cb0_0000_0000_0000,
    0x3fef_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000,
    0xbff0_0000_0000_0001,
    0x3fff_ffff_ffff_ffff,
    0x4000_0000_0000_0000,
    // Around 2^53, and larger.
    0x433f_ffff_ffff_ffff,
    0xc340_0000_0000_0000,
    0x5ff0_0000_1000_0000,
    0x7fe0_0000_0000_0000,
    0x7fef_ffff_ffff_ffff,
];

/// The cases of the self-test.
fn table() -> Vec<SoftCase> {
    use Operation::{
        Add, AddPositive, Divide, FromF32, FromI64, FromU32, Less, Multiply, Negate, Root, Scale, Subtract,
        ToF32,
    };
    let mut cases = Vec::new();
    let mut put = |operation: Operation, a: u64, b: u64| cases.extend(operation.case(a, b));
    for a in EDGES {
        for b in EDGES {
            for operation in [Add, AddPositive, Subtract, Multiply, Divide, Less] {
                put(operation, a, b);
            }
        }
        put(Negate, a, 0);
        put(Root, a, 0);
        for exponent in [-2200_i32, -1100, -1024, -600, -54, -53, -1, 0, 1, 52, 971, 1023, 2100] {
            put(Scale, a, u64::from(exponent.cast_unsigned()));
        }
        // As numbers of the narrow widths, and around them.
        for width in [0, 20, 29, 32] {
            put(FromI64, a >> width, 0);
            put(FromF32, a >> width, 0);
            put(FromU32, a >> width, 0);
        }
    }
    // Sums next to 1 on a tie, odd and even: at each distance half of the last bit, alone or with a lower bit.
    for distance in 1..54 {
        let half = 1_u64 << (distance - 1);
        for lower in [0, 1, half >> 1] {
            let a = (1023 << 52) | distance;
            let b = ((1023 - distance) << 52) | ((half | lower) & ((1 << 52) - 1));
            for operation in [Add, AddPositive, Subtract] {
                put(operation, a, b);
            }
        }
    }
    // Integers around powers of two, and above 2^53 around those on a tie.
    for power in [0, 1, 23, 24, 31, 32, 52, 53, 54, 55, 61, 62, 63] {
        let half = (1_u64 << power) >> 53;
        for above in [0, half, 3 * half] {
            for beside in [-1, 0, 1] {
                let value = (1_u64 << power).wrapping_add(above).wrapping_add_signed(beside);
                put(FromI64, value, 0);
                put(FromI64, value.wrapping_neg(), 0);
                put(FromU32, value, 0);
            }
        }
    }
    // Numbers on a tie between two of f32 and beside one, from below the least to above the largest.
    for field in (870_u64..900).chain([1023, 1040, 1149, 1150, 1151]) {
        for significand in
            [0, 0x1000_0000, 0x3000_0000, 0xf_ffff_f000_0000, 0x8_0000_0000_0000, 0x4_0000_0020_0000]
        {
            for beside in [-1, 0, 1] {
                put(ToF32, ((field << 52) + significand).wrapping_add_signed(beside), 0);
            }
        }
    }
    // A digit of 2048, and products in which the lowest bit of the upper words breaks a tie.
    put(Divide, 0x3ff0_0000_0010_0000, 0x3fff_ffff_ffff_ffff);
    for [a, b] in [[0x8000_0001_u32, 0xffff_fa01], [0xffff_f801, 0xffff_fc01]] {
        put(Multiply, f64::from(a).to_bits(), f64::from(b).to_bits());
    }
    let draws = Stream::new(3, 0);
    for at in 0..60 {
        // A product of 54 bits is on a tie.
        let [a, b] = [0, 1].map(|part| draws.bits(2 * at + part) >> 37 | 1);
        put(Multiply, (a as f64).to_bits(), (b as f64).to_bits());
        // Quotients that are whole, or odd halves of the least subnormal number and so on a tie; and those beside them.
        let divisor = b >> 1 | 1;
        let product = ((a * divisor) as f64).to_bits();
        let divisor = (divisor as f64).to_bits();
        for beside in [-1, 0, 1] {
            let dividend = product.wrapping_add_signed(beside);
            put(Divide, dividend, divisor);
            put(Divide, dividend - (600 << 52), divisor + (475 << 52));
        }
        // Roots that are whole, and next to those; of both halves of the exponents.
        let root = (b as f64) * (b as f64);
        for square in [root, 2.0 * root] {
            for beside in [-1, 0, 1] {
                put(Root, square.to_bits().wrapping_add_signed(beside), 0);
            }
        }
        // Close numbers of both signs.
        let [wide, near] = [draws.bits(200 + at), draws.bits(300 + at) & 0x1f].map(|bits| bits >> 2);
        for operation in [Add, Subtract, Less] {
            put(operation, wide, wide ^ near);
            put(operation, wide | 1 << 63, wide ^ (near << 50));
        }
        put(Divide, wide, draws.bits(400 + at) >> 2);
        put(Multiply, wide, draws.bits(400 + at) >> 2);
    }
    cases
}
