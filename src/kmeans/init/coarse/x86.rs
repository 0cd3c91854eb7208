//! The screen of bytes with instructions for products of four bytes.

use std::arch::x86_64::*;

use super::{Coarse, GROUP, Group, STEP, Targets, WIDTH};

#[target_feature(enable = "avx512f,avx512vl,avx512vnni,fma")]
pub(super) unsafe fn avx512(coarse: &Coarse, targets: &Targets, group: &Group) -> u32 {
    // SAFETY: as this function's caller promises.
    unsafe { near(coarse, targets, group, |sums, x, p| _mm256_dpbusd_epi32(sums, x, p)) }
}

#[target_feature(enable = "avx2,avxvnni,fma")]
pub(super) unsafe fn avx(coarse: &Coarse, targets: &Targets, group: &Group) -> u32 {
    // SAFETY: as this function's caller promises.
    unsafe { near(coarse, targets, group, |sums, x, p| _mm256_dpbusd_avx_epi32(sums, x, p)) }
}

/// # Safety
/// The processor has AVX2 and FMA, and what `add_products` needs.
#[inline(always)]
unsafe fn near(
    coarse: &Coarse,
    targets: &Targets,
    group: &Group,
    add_products: impl Fn(__m256i, __m256i, __m256i) -> __m256i,
) -> u32 {
    let steps = coarse.stride / STEP;
    assert!(targets.panels.len() == steps * targets.used.div_ceil(WIDTH));
    let rows = group.rows.map(|row| coarse.codes[row * coarse.stride..][..coarse.stride].as_ptr());
    let mut mask = 0;
    for (vector, panels) in targets.panels.chunks_exact(steps).enumerate() {
        // SAFETY: each row has `steps` whole steps, each panel a whole vector; arrays of `LANES` hold two vectors.
        unsafe {
            let mut sums = [_mm256_setzero_si256(); GROUP];
            for (step, panel) in panels.iter().enumerate() {
                let panel = _mm256_loadu_si256(panel.as_ptr().cast());
                for (sums, row) in sums.iter_mut().zip(rows) {
                    let codes = row.add(STEP * step).cast::<i32>().read_unaligned();
                    *sums = add_products(*sums, _mm256_set1_epi32(codes), panel);
                }
            }
            let lanes = |lanes: &super::Lanes| _mm256_loadu_ps(lanes.as_ptr().add(WIDTH * vector));
            let biases = _mm256_loadu_si256(targets.biases.as_ptr().add(WIDTH * vector).cast());
            let (scales, norms) = (lanes(&targets.scales), lanes(&targets.norms));
            let (rests, shares) = (lanes(&targets.rests), lanes(&targets.shares));
            for (at, sums) in sums.into_iter().enumerate() {
                let part = coarse.parts[group.rows[at]];
                let (scale, rest) = (_mm256_set1_ps(part.scale), _mm256_set1_ps(part.remainder));
                let product = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, biases));
                let rests =
                    _mm256_fmadd_ps(rest, norms, _mm256_mul_ps(_mm256_set1_ps(group.lengths[at]), rests));
                let above =
                    _mm256_fmadd_ps(_mm256_mul_ps(product, scales), scale, _mm256_sub_ps(rests, shares));
                let is_near = _mm256_cmp_ps::<_CMP_NLE_UQ>(above, _mm256_set1_ps(group.shares[at]));
                mask |= u32::from(_mm256_movemask_ps(is_near) != 0) << at;
            }
        }
    }
    mask
}
