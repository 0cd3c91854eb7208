//! The kernel that computes a table of operations.

use std::collections::BTreeMap;

use minijinja::context;

use super::operation::Operation;
use crate::kernel::{Kernel, kernels, shared};

shared! {
    struct CheckParams { cases: u32 }

    /// One operation and the bits of its operands.
    struct SoftCase { operation: u32, a_low: u32, a_high: u32, b_low: u32, b_high: u32 }
}

/// What the arithmetic can be made to get wrong, as a compiler could: its name, a text of the kernel, and what then stands in
/// its place.
#[cfg(any(test, feature = "test-hooks"))]
pub(crate) const FAULTS: [(&str, &str, &str); 7] = [
    ("ties go up", "+ 0x3ffu + (low & 1u)", "+ 0x400u"),
    ("a lost carry", "select(0u, 1u, low < second.x)", "0u"),
    ("a lost borrow", "- select(0u, 1u, low < product)", ""),
    ("a shift by 32", "(whole.y << 1u) << (31u - within)", "whole.y << ((32u - within) & 31u)"),
    (
        "flushed results",
        "select(rounded, 0u, high >= SOFT_INFINITY)",
        "select(rounded, 0u, high - 0x100000u >= 0x7fe00000u)",
    ),
    ("a short quotient", "select(0u, 1u, is_short)", "0u"),
    ("one wrong bit", "results[index] =", "results[index] = vec2<u32>(select(0u, 1u, index == 1000u), 0u) ^"),
];

kernels! {
    /// The kernel, with one of the [`FAULTS`] where tests name one.
    fn check_kernel(fault: &str) for [fault in [""]] {
        let operations: BTreeMap<_, _> =
            Operation::ALL.iter().map(|operation| (format!("{operation:?}"), *operation as u32)).collect();
        let kernel = Kernel::render(
            "tile/soft/check.wgsl",
            &[CheckParams::WGSL, SoftCase::WGSL],
            context! { operations },
        )?;
        Ok(with_fault(kernel, fault))
    }
}

#[cfg(any(test, feature = "test-hooks"))]
fn with_fault(kernel: Kernel, fault: &str) -> Kernel {
    match FAULTS.iter().find(|(name, ..)| *name == fault) {
        Some((_, right, wrong)) => Kernel { source: kernel.source.replace(right, wrong), ..kernel },
        None => kernel,
    }
}

#[cfg(not(any(test, feature = "test-hooks")))]
fn with_fault(kernel: Kernel, _fault: &str) -> Kernel {
    kernel
}
