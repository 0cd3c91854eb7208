//! The device's side of a pool: slabs of pages, the page table, and what describes each adapter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::image::{Image, Operand};
use super::layout::{DESCRIPTOR_WORDS, Layout};
use super::space::{Place, Space, key};
use crate::device::{DeviceBuffer, Gpu, Pipeline};
use crate::error::Result;
use crate::lora::factors::Shards;
use crate::lora::gpu::kernels::Variant;
use crate::lora::rows::{Held, Rows};
use crate::lora::values::{Precision, Scalar, Values, with_values};

/// Top bit of an entry: the page's 16-bit elements are bf16.
const BFLOAT: u32 = 1 << 31;

/// Device memory of one pool.
pub(crate) struct Bank {
    /// Where it is.
    pub gpu: Gpu,
    /// Pages.
    pub slabs: Vec<DeviceBuffer>,
    /// The page table.
    pub pages: DeviceBuffer,
    /// [`DESCRIPTOR_WORDS`] words per adapter and group.
    pub descriptors: DeviceBuffer,
    /// Logarithm of a page's elements.
    pub page_shift: u32,
    /// Whether weights have 32 bits.
    pub is_wide: bool,
    /// Groups of modules.
    pub groups: u32,
    /// Kernels in use: rendering their text takes longer than many a batch.
    pipelines: Mutex<HashMap<Variant, Arc<Pipeline>>>,
}

impl std::fmt::Debug for Bank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bank").field("slabs", &self.slabs.len()).finish_non_exhaustive()
    }
}

impl Bank {
    /// Empty memory.
    pub(super) fn new(gpu: &Gpu, layout: &Layout, groups: usize) -> Result<Self> {
        let slab = |pages: &u32| gpu.buffer("adapter pages", u64::from(*pages) * layout.page_bytes());
        let descriptor_bytes = 4 * (DESCRIPTOR_WORDS * groups) as u64;
        Ok(Self {
            slabs: layout.slab_pages.iter().map(slab).collect::<Result<_>>()?,
            pages: gpu.buffer("page table", 4 * u64::from(layout.entries))?,
            descriptors: gpu.buffer("descriptors", descriptor_bytes * u64::from(layout.most_resident))?,
            gpu: gpu.clone(),
            page_shift: layout.page_shift,
            is_wide: layout.is_wide,
            groups: groups as u32,
            pipelines: Mutex::default(),
        })
    }

    /// A kernel, compiled at its first use.
    pub fn pipeline(&self, variant: Variant) -> Result<Arc<Pipeline>> {
        let known = |pipelines: &HashMap<_, _>| pipelines.get(&variant).map(Arc::clone);
        let lock = || self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipeline) = known(&lock()) {
            return Ok(pipeline);
        }
        let pipeline = self.gpu.pipeline(&variant.kernel()?)?;
        lock().insert(variant, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    /// Whether the device that it was on is gone.
    pub(super) fn is_lost(&self) -> bool {
        !self.gpu.keeps(&self.pages)
    }

    /// Brings adapter `number` to its `places`. `space` knows where shards lie; those in `fresh` are brought too.
    pub(super) fn upload(
        &self,
        number: u32,
        image: &Image,
        places: &[Place],
        space: &Space,
        fresh: &[Arc<Shards>],
    ) -> Result<u64> {
        let mut sent = 0;
        for shards in fresh {
            let Some(place) = space.shared.get(&key(shards)) else { continue };
            let mut bytes = Vec::new();
            for shard in 0..shards.count() {
                self.append(&mut bytes, shards.values(), shard * shards.length(), shards.length());
            }
            sent += self.write_pages(place.slab, &place.pages, &bytes)?;
        }
        let mut words = vec![0; DESCRIPTOR_WORDS * places.len()];
        for (group, place) in places.iter().enumerate() {
            let about = &mut words[group * DESCRIPTOR_WORDS..(group + 1) * DESCRIPTOR_WORDS];
            sent += self.upload_group(&image.groups[group], place, space, about)?;
        }
        let first = u64::from(number) * 4 * words.len() as u64;
        self.gpu.write(&self.descriptors, first, bytemuck::cast_slice(&words))?;
        Ok(sent + 4 * words.len() as u64)
    }

    fn upload_group(
        &self,
        operands: &[Option<Operand>],
        place: &Place,
        space: &Space,
        about: &mut [u32],
    ) -> Result<u64> {
        let mut own = Own { pages: place.pages.iter(), bytes: Vec::new() };
        let mut entries: Vec<u32> = Vec::with_capacity(place.entries as usize);
        about[1] = place.first_entry;
        about[2] = place.slab;
        let mut rank = 0;
        for (projection, operand) in operands.iter().enumerate() {
            about[4 + 4 * projection] = rank;
            if let Some(operand) = operand {
                self.enter(&operand.a, &mut own, space, &mut entries);
                rank += operand.a.rank as u32;
            }
        }
        about[0] = rank;
        for (projection, operand) in operands.iter().enumerate() {
            if let Some(operand) = operand {
                about[5 + 4 * projection] = operand.b.rank as u32;
                about[6 + 4 * projection] = place.first_entry + entries.len() as u32;
                about[7 + 4 * projection] = operand.scale.to_bits();
                self.enter(&operand.b, &mut own, space, &mut entries);
            }
        }
        if !entries.is_empty() {
            let first = 4 * u64::from(place.first_entry);
            self.gpu.write(&self.pages, first, bytemuck::cast_slice(&entries))?;
        }
        Ok(self.write_pages(place.slab, &place.pages, &own.bytes)? + 4 * entries.len() as u64)
    }

    /// Adds the entries of `rows`, and the bytes of those that lie in pages of their own.
    fn enter(&self, rows: &Rows, own: &mut Own<'_>, space: &Space, entries: &mut Vec<u32>) {
        let kind = if rows.precision() == Precision::Bf16 && !self.is_wide { BFLOAT } else { 0 };
        match &rows.values {
            Held::Own(values) => {
                for start in &rows.starts {
                    let pages = rows.width.div_ceil(1 << self.page_shift);
                    entries.extend(own.pages.by_ref().take(pages).map(|page| *page | kind));
                    self.append(&mut own.bytes, values, *start, rows.width);
                }
            }
            Held::Shared(shards) => {
                let Some(place) = space.shared.get(&key(shards)) else { return };
                let pages = shards.length() >> self.page_shift;
                for start in &rows.starts {
                    let first = start >> self.page_shift;
                    entries.extend(place.pages[first..first + pages].iter().map(|page| page | kind));
                }
            }
        }
    }

    fn page_bytes(&self) -> usize {
        (if self.is_wide { 4 } else { 2 }) << self.page_shift
    }

    /// Adds elements `start .. start + count` as whole pages.
    fn append(&self, bytes: &mut Vec<u8>, values: &Values, start: usize, count: usize) {
        if self.is_wide {
            with_values!(values, values => {
                for value in &values[start..start + count] {
                    bytes.extend_from_slice(&value.widen().to_le_bytes());
                }
            });
        } else {
            let all = values.bytes();
            bytes.extend_from_slice(&all[2 * start..2 * (start + count)]);
        }
        bytes.resize(bytes.len().next_multiple_of(self.page_bytes()), 0);
    }

    /// Writes whole pages, runs of neighbours in one go.
    fn write_pages(&self, slab: u32, pages: &[u32], bytes: &[u8]) -> Result<u64> {
        let page_bytes = self.page_bytes();
        let mut at = 0;
        for run in pages.chunk_by(|a, b| *b == a + 1) {
            let end = at + run.len() * page_bytes;
            let first = u64::from(run[0]) * page_bytes as u64;
            self.gpu.write(&self.slabs[slab as usize], first, &bytes[at..end])?;
            at = end;
        }
        Ok(bytes.len() as u64)
    }
}

/// Pages of one group and the bytes that go there.
struct Own<'p> {
    pages: std::slice::Iter<'p, u32>,
    bytes: Vec<u8>,
}
