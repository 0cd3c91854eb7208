//! Bringing weights back to memory before each repetition.

use rayon::prelude::*;

use crate::device::CpuPool;

/// Bytes that are overwritten: many times any cache.
const FLUSHED_BYTES: usize = 256 << 20;

/// Overwrites memory that is larger than the caches.
pub(super) struct Flusher {
    values: Vec<u64>,
}

impl Flusher {
    pub(super) fn new() -> Self {
        Self { values: vec![0; FLUSHED_BYTES / size_of::<u64>()] }
    }

    pub(super) fn flush(&mut self, pool: &CpuPool) {
        pool.install(|| self.values.par_iter_mut().for_each(|value| *value = value.wrapping_add(1)));
    }
}
