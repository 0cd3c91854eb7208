//! What is asked for, and the adapters it is asked of.

use crate::error::{Error, Result};

/// One request: a prompt, and how many tokens are decoded after it.
///
/// The prefill of the prompt gives the first token and each decode step one more, so that a request gives
/// `decode_steps + 1` tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Its place in the trace, in the order of arrival.
    pub id: usize,
    /// Index in the table of adapters.
    pub adapter: u32,
    /// Tokens of the prompt, at least 1.
    pub prompt_tokens: u32,
    /// Tokens after the first. Policies never see it: nobody knows it before the last token.
    pub decode_steps: u32,
    /// Seconds after the trace's begin.
    pub arrival_seconds: f64,
    /// Larger goes first; equal ones in the order of arrival.
    pub priority: i32,
}

impl Request {
    /// Tokens that the request gives.
    pub fn output_tokens(&self) -> u64 {
        u64::from(self.decode_steps) + 1
    }

    /// Tokens in the key-value cache when the last token is there.
    pub fn most_context(&self) -> u64 {
        u64::from(self.prompt_tokens) + self.output_tokens()
    }
}

/// What the simulator knows of an adapter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServedAdapter {
    /// Rank; 0 is the base model without an adapter.
    pub rank: u32,
    /// Bytes that it takes on a device.
    pub bytes: u64,
    /// Its share under a fair policy, relative to the others; above 0.
    pub weight: f64,
}

/// Bytes of one rank row of all linear layers of Llama-2-7B in 16 bits: 32 layers, q, k, v, o of 4096 x 4096, gate and
/// up of 4096 x 11008, down of 11008 x 4096, so `2 * 32 * (4 * 8192 + 3 * 15104)`.
pub const BYTES_PER_RANK_7B: u64 = 2 * 32 * (4 * 8192 + 3 * 15104);

impl ServedAdapter {
    /// An adapter of this rank on all linear layers of Llama-2-7B in 16 bits, weight 1.
    pub fn of_rank(rank: u32) -> Self {
        Self { rank, bytes: u64::from(rank) * BYTES_PER_RANK_7B, weight: 1.0 }
    }

    /// `count` adapters whose ranks go round through `ranks`.
    ///
    /// # Errors
    /// [`Error::Parameter`] without ranks.
    pub fn cycle(count: usize, ranks: &[u32]) -> Result<Vec<Self>> {
        if ranks.is_empty() {
            return Err(Error::parameter("ranks", "at least one rank", "none"));
        }
        Ok((0..count).map(|index| Self::of_rank(ranks[index % ranks.len()])).collect())
    }
}
