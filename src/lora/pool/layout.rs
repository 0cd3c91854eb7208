//! How large a pool's memory is: pages, slabs, tables. Pure.

use super::params::{MOST_PROJECTIONS, PoolParams};
use crate::device::Limits;
use crate::error::{Error, Result};
use crate::lora::values::Precision;

/// Words that describe one adapter in one group: its rank, entry and slab, then first value, rank, entry and scale of
/// each module.
pub(crate) const DESCRIPTOR_WORDS: usize = 4 + 4 * MOST_PROJECTIONS;

/// Page lengths that are tried, in elements.
const PAGE_SHIFTS: std::ops::RangeInclusive<u32> = 4..=10;
/// Share of a page's elements that may stay empty before a shorter page is taken.
const MOST_WASTE: f64 = 0.04;

/// The sizes of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Logarithm of the elements of a page.
    pub page_shift: u32,
    /// Whether elements have 32 bits, or 16.
    pub is_wide: bool,
    /// Pages of each slab.
    pub slab_pages: Vec<u32>,
    /// Entries of the page table.
    pub entries: u32,
    /// Adapters that have a number at once.
    pub most_resident: u32,
}

impl Layout {
    /// Sizes for `params` under `limits`.
    pub fn new(params: &PoolParams, limits: &Limits) -> Result<Self> {
        let is_wide = params.weights == Precision::F32;
        let widths = params
            .groups
            .iter()
            .flat_map(|group| group.modules.iter().flat_map(|module| [module.inputs, module.outputs]));
        let widths: Vec<usize> = widths.collect();
        let page_shift = params.page_elements.map_or_else(|| best_shift(&widths), usize::ilog2);
        let element_bytes = params.weights.size_bytes() as u64;
        let page_bytes = element_bytes << page_shift;
        let total = params.budget_bytes / page_bytes;
        let slab_bytes = limits.max_binding_bytes.min(limits.max_buffer_bytes).min(limits.window_bytes);
        // Page numbers have 31 bits, and elements of a slab 32.
        let most = (slab_bytes / page_bytes).min((1 << 31 >> page_shift) - 1);
        if total == 0 || most == 0 {
            return Err(Error::TooLarge {
                what: "one page of a pool of adapters".into(),
                needed_bytes: page_bytes,
                limit_bytes: params.budget_bytes.min(slab_bytes),
            });
        }
        let slabs = total.div_ceil(most);
        // Full slabs and a rest: what one group needs has to lie in one slab.
        let slab_pages = (0..slabs).map(|slab| (total - slab * most).min(most) as u32);
        // Every page is in the table once; shards are there once more per user.
        let entries =
            (total * 2 + 4096).min(limits.max_binding_bytes / 4).min(u64::from(u32::MAX / 2)) as u32;
        let descriptor_bytes = 4 * (DESCRIPTOR_WORDS * params.groups.len()) as u64;
        let most_resident = (limits.max_binding_bytes / descriptor_bytes).min(params.most_resident as u64);
        Ok(Self {
            page_shift,
            is_wide,
            slab_pages: slab_pages.collect(),
            entries,
            most_resident: most_resident as u32,
        })
    }

    /// Elements of a page.
    pub fn page_elements(&self) -> usize {
        1 << self.page_shift
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u64 {
        (if self.is_wide { 4 } else { 2 }) << self.page_shift
    }

    /// Pages of a vector of `width` elements.
    pub fn pages(&self, width: usize) -> u32 {
        width.div_ceil(self.page_elements()) as u32
    }
}

/// The longest page with little waste, else the one that wastes least.
fn best_shift(widths: &[usize]) -> u32 {
    let waste = |shift: &u32| {
        let padded: usize = widths.iter().map(|width| width.next_multiple_of(1 << shift)).sum();
        let used: usize = widths.iter().sum();
        padded as f64 / used.max(1) as f64 - 1.0
    };
    let good = PAGE_SHIFTS.rev().find(|shift| waste(shift) <= MOST_WASTE);
    good.unwrap_or(*PAGE_SHIFTS.start())
}

#[cfg(test)]
mod tests {
    use super::super::params::Group;
    use super::*;
    use crate::lora::Module;

    fn params(widths: &[(usize, usize)], budget_bytes: u64) -> PoolParams {
        let module = |&(inputs, outputs): &(usize, usize)| Module { name: "m".into(), inputs, outputs };
        let groups = widths.iter().map(|width| Group::new("g", vec![module(width)])).collect();
        PoolParams::new(groups).budget_bytes(budget_bytes).weights(Precision::F16)
    }

    #[test]
    fn pages_waste_little_and_slabs_stay_within_a_binding() {
        let limits = Limits::for_tests();
        let model =
            Layout::new(&params(&[(4096, 4096), (4096, 11_008), (11_008, 4096)], 1 << 30), &limits).unwrap();
        assert_eq!((model.page_shift, model.slab_pages.len()), (10, 8));
        assert!(model.slab_pages.iter().all(|pages| u64::from(*pages) * model.page_bytes() <= 1 << 27));
        let total: u64 = model.slab_pages.iter().map(|pages| u64::from(*pages)).sum();
        assert_eq!(total * model.page_bytes(), 1 << 30);
        let small = Layout::new(&params(&[(2049, 7)], 1 << 20), &limits).unwrap();
        assert_eq!((small.page_shift, small.pages(2049), small.pages(7)), (5, 65, 1));
        let error = Layout::new(&params(&[(64, 64)], 10), &limits).unwrap_err().to_string();
        assert!(error.contains("limit is 10 bytes"), "{error}");
    }
}
