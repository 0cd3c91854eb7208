//! Seconds of a step: the base model's, which are stated, and the adapters', which are measured.

use std::collections::BTreeMap;

/// Rows of a step that share an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentShape {
    /// Index of the adapter.
    pub adapter: u32,
    /// Its rank.
    pub rank: u32,
    /// Its rows: 1 for a request that decodes, as many as tokens for a prefill.
    pub rows: u64,
}

/// Sizes of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepShape {
    prefill_tokens: u64,
    decode_rows: u64,
    context_tokens: u64,
    segments: BTreeMap<u32, SegmentShape>,
}

impl StepShape {
    /// Adds a prefill of so many tokens.
    pub fn prefill(&mut self, adapter: u32, rank: u32, tokens: u64) {
        self.prefill_tokens += tokens;
        self.rows(adapter, rank, tokens);
    }

    /// Adds a request that decodes with so many tokens in its key-value cache.
    pub fn decode(&mut self, adapter: u32, rank: u32, context_tokens: u64) {
        self.decode_rows += 1;
        self.context_tokens += context_tokens;
        self.rows(adapter, rank, 1);
    }

    fn rows(&mut self, adapter: u32, rank: u32, rows: u64) {
        // Rank 0 is the base model: its rows go through no adapter.
        if rank > 0 {
            self.segments.entry(adapter).or_insert(SegmentShape { adapter, rank, rows: 0 }).rows += rows;
        }
    }

    /// Tokens of all prefills.
    pub fn prefill_tokens(&self) -> u64 {
        self.prefill_tokens
    }

    /// Requests that decode.
    pub fn decode_rows(&self) -> u64 {
        self.decode_rows
    }

    /// Tokens in the key-value caches of the requests that decode.
    pub fn context_tokens(&self) -> u64 {
        self.context_tokens
    }

    /// One per adapter, in their order.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = SegmentShape> + '_ {
        self.segments.values().copied()
    }
}

/// Seconds that the adapters add to a step: from a [measured cost](super::FittedCost), or from running the real kernels
/// on batches of these sizes.
pub trait LoraCost {
    /// Seconds for all layers of these segments in one step; 0 without segments.
    fn seconds(&self, segments: &[SegmentShape]) -> f64;
}

/// A base model without adapters.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLora;

impl LoraCost for NoLora {
    fn seconds(&self, _: &[SegmentShape]) -> f64 {
        0.0
    }
}

/// Seconds of a step of the base model:
/// `fixed + prefill_token * prefill tokens + decode_row * decode rows + context_token * cached tokens`.
#[derive(Debug, Clone, PartialEq)]
pub struct BaseCost {
    /// Reading the weights, and all launches.
    pub fixed_seconds: f64,
    /// Per token of a prefill.
    pub prefill_token_seconds: f64,
    /// Per request that decodes.
    pub decode_row_seconds: f64,
    /// Per token in the key-value cache of a request that decodes.
    pub context_token_seconds: f64,
    /// Where the numbers come from.
    pub source: String,
}

impl BaseCost {
    /// Costs nothing: what is left are the adapters.
    pub fn zero() -> Self {
        Self {
            fixed_seconds: 0.0,
            prefill_token_seconds: 0.0,
            decode_row_seconds: 0.0,
            context_token_seconds: 0.0,
            source: "zero: the adapters alone".to_owned(),
        }
    }

    /// Llama-2-7B in 16 bits on one A100 of 80 GB, from figures of Chen et al. (*Punica*, MLSys 2024): a decode step
    /// takes about 30 ms at batch 32 and 512 tokens each, and a layer takes 72 % longer at batch 32 than at batch 1.
    ///
    /// So batch 1 takes 30 / 1.72 = 17.4 ms. Of the other 12.6 ms, keys and values (524,288 bytes a token at 1.935
    /// TB/s: 0.271 microseconds) explain 31 * 512 tokens; the rest is spread over 31 rows. A prefilled token takes 13.5
    /// GFLOP, at an assumed half of 312 TFLOP/s 86 microseconds.
    pub fn punica_a100_7b() -> Self {
        let (batch_32, batch_1) = (30e-3, 30e-3 / 1.72);
        let context_token_seconds = 524_288.0 / 1.935e12;
        let decode_row_seconds = (batch_32 - batch_1) / 31.0 - 512.0 * context_token_seconds;
        Self {
            fixed_seconds: batch_1 - decode_row_seconds - 512.0 * context_token_seconds,
            prefill_token_seconds: 13.5e9 / (0.5 * 312e12),
            decode_row_seconds,
            context_token_seconds,
            source: "Llama-2-7B, 16 bits, A100 80 GB: 30 ms a step at batch 32, 1.72 times batch 1 (Punica, MLSys 2024); \
                     prefill at an assumed half of 312 TFLOP/s"
                .to_owned(),
        }
    }

    /// Seconds of a step; 0 for one without rows.
    pub fn seconds(&self, step: &StepShape) -> f64 {
        if step.prefill_tokens == 0 && step.decode_rows == 0 {
            return 0.0;
        }
        self.fixed_seconds
            + self.prefill_token_seconds * step.prefill_tokens as f64
            + self.decode_row_seconds * step.decode_rows as f64
            + self.context_token_seconds * step.context_tokens as f64
    }
}

/// What a step takes: base model and adapters, one after the other.
#[derive(Clone, Copy)]
pub struct StepCost<'a> {
    /// The base model.
    pub base: &'a BaseCost,
    /// The adapters.
    pub lora: &'a dyn LoraCost,
}

impl StepCost<'_> {
    /// Seconds of a step.
    pub fn seconds(&self, step: &StepShape) -> f64 {
        let segments: Vec<SegmentShape> = step.segments().collect();
        self.base.seconds(step) + self.lora.seconds(&segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_cost_gives_back_its_sources() {
        let base = BaseCost::punica_a100_7b();
        let decode = |rows: u64| {
            let mut step = StepShape::default();
            (0..rows).for_each(|_| step.decode(0, 16, 512));
            base.seconds(&step)
        };
        assert!((decode(32) - 30e-3).abs() < 1e-9, "{}", decode(32));
        assert!((decode(32) / decode(1) - 1.72).abs() < 1e-9);
        assert!(base.fixed_seconds > 0.0 && base.decode_row_seconds > 0.0);
        assert_eq!(base.seconds(&StepShape::default()), 0.0);
    }

    #[test]
    fn segments_join_the_rows_of_an_adapter_and_leave_out_rank_0() {
        let mut step = StepShape::default();
        step.prefill(3, 8, 20);
        step.decode(1, 16, 100);
        step.decode(3, 8, 50);
        step.decode(2, 0, 50);
        let segments: Vec<SegmentShape> = step.segments().collect();
        let expected =
            [SegmentShape { adapter: 1, rank: 16, rows: 1 }, SegmentShape { adapter: 3, rank: 8, rows: 21 }];
        assert_eq!(segments, expected);
        assert_eq!((step.prefill_tokens(), step.decode_rows(), step.context_tokens()), (20, 3, 200));
    }
}
