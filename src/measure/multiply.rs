//! Chains of multiply-adds in registers, on the widest vectors of the processor.
//!
//! A chain starts at a whole number and adds 1 per step, as `value * 1 + 1` with factors that the compiler does not
//! know; so its end says how many steps were really done. Chains are independent, and as many as hide the latency of
//! one step.

use std::hint::black_box;

use crate::simd::{Level, level};

/// What one thread did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chains {
    /// Sum of the ends of all chains over all lanes.
    pub sum: f64,
    /// What it has to be.
    pub expected: f64,
    /// Multiplications and additions.
    pub flops: f64,
}

/// Runs all chains for `steps` steps on this thread.
pub(super) fn run(steps: u32) -> Chains {
    run_at(level(), steps)
}

fn run_at(level: Level, steps: u32) -> Chains {
    let (factor, term) = black_box((1.0, 1.0));
    let (sum, chains, lanes) = match level {
        // SAFETY: `level` saw the processor report AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => (unsafe { avx512(steps, factor, term) }, 12, 16),
        // SAFETY: `level` saw the processor report AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => (unsafe { avx2(steps, factor, term) }, 12, 8),
        // SAFETY: every processor of this kind has NEON.
        #[cfg(target_arch = "aarch64")]
        Level::Neon => (unsafe { neon(steps, factor, term) }, 24, 4),
        Level::Portable => (portable(steps, factor, term), 8, 4),
    };
    let values = f64::from(chains * lanes);
    // Chain number i starts at i.
    let expected = f64::from(lanes * (chains - 1) * chains / 2) + values * f64::from(steps);
    Chains { sum, expected, flops: 2.0 * values * f64::from(steps) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(steps: u32, factor: f32, term: f32) -> f64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let (factor, term) = (_mm512_set1_ps(factor), _mm512_set1_ps(term));
    let mut chains: [_; 12] = std::array::from_fn(|chain| _mm512_set1_ps(chain as f32));
    for _ in 0..steps {
        for value in &mut chains {
            *value = _mm512_fmadd_ps(*value, factor, term);
        }
    }
    // 16 times less than 2^20: exact.
    chains.into_iter().map(|value| f64::from(_mm512_reduce_add_ps(value))).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: u32, factor: f32, term: f32) -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm256_storeu_ps};
    let (factor, term) = (_mm256_set1_ps(factor), _mm256_set1_ps(term));
    let mut chains: [_; 12] = std::array::from_fn(|chain| _mm256_set1_ps(chain as f32));
    for _ in 0..steps {
        for value in &mut chains {
            *value = _mm256_fmadd_ps(*value, factor, term);
        }
    }
    let total = |value| {
        let mut lanes = [0.0_f32; 8];
        // SAFETY: the array has room for the eight lanes.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), value) };
        lanes.into_iter().map(f64::from).sum::<f64>()
    };
    chains.into_iter().map(total).sum()
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(steps: u32, factor: f32, term: f32) -> f64 {
    use std::arch::aarch64::{vaddvq_f32, vdupq_n_f32, vfmaq_f32};
    let (factor, term) = (vdupq_n_f32(factor), vdupq_n_f32(term));
    // The instruction adds in place, so `value + factor * term` needs no copy. 24 chains fill four units of a latency of
    // up to six.
    let mut chains: [_; 24] = std::array::from_fn(|chain| vdupq_n_f32(chain as f32));
    for _ in 0..steps {
        for value in &mut chains {
            *value = vfmaq_f32(*value, factor, term);
        }
    }
    // 4 times less than 2^22: exact.
    chains.into_iter().map(|value| f64::from(vaddvq_f32(value))).sum()
}

fn portable(steps: u32, factor: f32, term: f32) -> f64 {
    let mut chains: [[f32; 4]; 8] = std::array::from_fn(|chain| [chain as f32; 4]);
    for _ in 0..steps {
        for value in chains.iter_mut().flatten() {
            // Without an instruction for it, fusing would be a call of a function.
            *value = *value * factor + term;
        }
    }
    chains.into_iter().flatten().map(f64::from).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_end_where_they_must_on_every_level() {
        let mut levels = vec![Level::Portable];
        #[cfg(target_arch = "x86_64")]
        match level() {
            Level::Avx512 => levels.extend([Level::Avx2, Level::Avx512]),
            Level::Avx2 => levels.push(Level::Avx2),
            Level::Portable => {}
        }
        #[cfg(target_arch = "aarch64")]
        levels.push(Level::Neon);
        for level in levels {
            for steps in [0, 1, 999] {
                let chains = run_at(level, steps);
                assert_eq!(chains.sum, chains.expected, "{level:?}, {steps} steps");
            }
            assert_ne!(run_at(level, 3).sum, run_at(level, 4).expected, "{level:?}");
        }
    }
}
