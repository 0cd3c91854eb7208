//! Made-up traces: when requests come, and for how many tokens.

use super::draws::{Draws, RandomBits};
use super::request::Request;
use super::trace::Trace;
use crate::error::{Error, Result};

/// When requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Arrivals {
    /// All at second 0.
    AtOnce,
    /// Exponential gaps with a mean of `1 / rate` seconds.
    Poisson {
        /// Requests per second.
        rate: f64,
    },
    /// Gamma gaps of shape `1 / cv^2` and scale `cv^2 / rate`: mean `1 / rate`, coefficient of variation `cv`.
    Gamma {
        /// Requests per second.
        rate: f64,
        /// Standard deviation of the gaps over their mean: 1 is Poisson, above it comes in bursts.
        cv: f64,
    },
}

/// How long prompts and answers are, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lengths {
    /// All the same.
    Fixed {
        /// Tokens of the prompt.
        prompt_tokens: u32,
        /// Tokens after the first.
        decode_steps: u32,
    },
    /// Both uniform, each number between its bounds as likely as the others; S-LoRA's has 8 to 512 for both.
    Uniform {
        /// Least and most tokens of the prompt.
        prompt_tokens: (u32, u32),
        /// Least and most tokens after the first.
        decode_steps: (u32, u32),
    },
    /// As in Punica's text generation bench: the prompt is `18 exp(0.8 z) - 1` rounded up, `z` normal, and prompt and
    /// answer together are uniform below `most_tokens`.
    Punica {
        /// Most tokens of prompt and answer together, at least 2.
        most_tokens: u32,
    },
}

/// A trace to be made up. The same settings and the same random bits give the same trace.
///
/// ```
/// use tilefold_simulate::{Lengths, TraceBuilder};
/// let lengths = Lengths::Fixed { prompt_tokens: 12, decode_steps: 30 };
/// // All at once and of one length: there is nothing to draw.
/// let trace = TraceBuilder::new(vec![0, 1, 0]).lengths(lengths).build(&|_, _| 0)?;
/// assert_eq!((trace.requests().len(), trace.adapters()), (3, 2));
/// # Ok::<(), tilefold_simulate::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TraceBuilder {
    adapters: Vec<u32>,
    arrivals: Arrivals,
    lengths: Lengths,
}

/// Numbers of the streams that a trace draws from.
const ARRIVAL: u64 = 0x5e7e_0002;
const LENGTH: u64 = 0x5e7e_0003;

impl TraceBuilder {
    /// Requests to these adapters, in the order of arrival, all at once, lengths as Punica's below 2048 tokens.
    pub fn new(adapters: Vec<u32>) -> Self {
        let lengths = Lengths::Punica { most_tokens: 2048 };
        Self { adapters, arrivals: Arrivals::AtOnce, lengths }
    }

    /// When requests come.
    pub fn arrivals(mut self, arrivals: Arrivals) -> Self {
        self.arrivals = arrivals;
        self
    }

    /// How long prompts and answers are.
    pub fn lengths(mut self, lengths: Lengths) -> Self {
        self.lengths = lengths;
        self
    }

    /// Makes the trace.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a rate or `cv` that is not a positive number, or lengths out of order.
    pub fn build(&self, random: RandomBits<'_>) -> Result<Trace> {
        self.check()?;
        let (mut gaps, mut lengths) = (Draws::new(random, ARRIVAL), Draws::new(random, LENGTH));
        let mut now = 0.0;
        let requests = self.adapters.iter().enumerate().map(|(id, &adapter)| {
            now += match self.arrivals {
                Arrivals::AtOnce => 0.0,
                Arrivals::Poisson { rate } => gaps.exponential() / rate,
                Arrivals::Gamma { rate, cv } => gaps.gamma(1.0 / (cv * cv)) * cv * cv / rate,
            };
            let (prompt_tokens, decode_steps) = self.length(&mut lengths);
            Request { id, adapter, prompt_tokens, decode_steps, arrival_seconds: now, priority: 0 }
        });
        Trace::new(requests.collect())
    }

    fn check(&self) -> Result<()> {
        let positive = |name: &'static str, value: f64| {
            if value > 0.0 && value.is_finite() {
                return Ok(());
            }
            Err(Error::parameter(name, "a positive number", value))
        };
        match self.arrivals {
            Arrivals::AtOnce => {}
            Arrivals::Poisson { rate } => positive("rate", rate)?,
            Arrivals::Gamma { rate, cv } => {
                positive("rate", rate)?;
                positive("cv", cv)?;
            }
        }
        let ordered = |name: &'static str, (least, most): (u32, u32), floor: u32| {
            if floor <= least && least <= most {
                return Ok(());
            }
            Err(Error::parameter(name, format!("{floor} <= least <= most"), format!("{least} to {most}")))
        };
        match self.lengths {
            Lengths::Fixed { prompt_tokens, .. } => {
                ordered("prompt_tokens", (prompt_tokens, prompt_tokens), 1)
            }
            Lengths::Uniform { prompt_tokens, decode_steps } => {
                ordered("prompt_tokens", prompt_tokens, 1)?;
                ordered("decode_steps", decode_steps, 0)
            }
            Lengths::Punica { most_tokens } => ordered("most_tokens", (most_tokens, most_tokens), 2),
        }
    }

    fn length(&self, draws: &mut Draws<'_>) -> (u32, u32) {
        let mut between = |(least, most): (u32, u32)| least + draws.below(u64::from(most - least) + 1) as u32;
        match self.lengths {
            Lengths::Fixed { prompt_tokens, decode_steps } => (prompt_tokens, decode_steps),
            Lengths::Uniform { prompt_tokens, decode_steps } => {
                (between(prompt_tokens), between(decode_steps))
            }
            Lengths::Punica { most_tokens } => {
                let longest = f64::from(most_tokens - 1);
                let prompt = (18.0 * (0.8 * draws.normal()).exp() - 1.0).ceil().clamp(1.0, longest) as u32;
                let total = draws.below(u64::from(most_tokens)) as u32;
                // The prefill gives the first token of the answer.
                (prompt, total.saturating_sub(prompt + 1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::made_up::bits;

    #[test]
    fn arrivals_have_the_rate_and_gamma_the_variation() {
        for arrivals in [Arrivals::Poisson { rate: 4.0 }, Arrivals::Gamma { rate: 4.0, cv: 2.0 }] {
            let trace = TraceBuilder::new(vec![0; 20_000]).arrivals(arrivals).build(&bits(0)).unwrap();
            let times: Vec<f64> = trace.requests().iter().map(|request| request.arrival_seconds).collect();
            let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
            let expected = if matches!(arrivals, Arrivals::Gamma { .. }) { 2.0 } else { 1.0 };
            assert!((mean - 0.25).abs() < 0.02, "{mean}");
            assert!((variance.sqrt() / mean - expected).abs() < 0.1 * expected, "{variance} {mean}");
        }
    }

    #[test]
    fn lengths_keep_their_bounds_and_follow_the_bits() {
        let build = |seed| TraceBuilder::new(vec![0; 2000]).build(&bits(seed)).unwrap();
        let trace = build(1);
        assert!(trace.requests().iter().all(|request| request.prompt_tokens >= 1));
        assert!(trace.requests().iter().all(|request| request.most_context() <= 2048 + 1));
        let mut prompts: Vec<u32> = trace.requests().iter().map(|request| request.prompt_tokens).collect();
        prompts.sort_unstable();
        assert!((15..20).contains(&prompts[1000]), "median {}", prompts[1000]);
        assert_eq!(trace, build(1));
        assert_ne!(trace, build(2));
        let lengths = Lengths::Uniform { prompt_tokens: (8, 12), decode_steps: (0, 3) };
        let trace = TraceBuilder::new(vec![0; 500]).lengths(lengths).build(&bits(0)).unwrap();
        for bound in [8, 12] {
            assert!(trace.requests().iter().any(|request| request.prompt_tokens == bound));
        }
        assert!(trace.requests().iter().all(|r| (8..=12).contains(&r.prompt_tokens) && r.decode_steps <= 3));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let build = || TraceBuilder::new(vec![0; 10]);
        let wrong = [
            build().arrivals(Arrivals::Poisson { rate: 0.0 }),
            build().arrivals(Arrivals::Gamma { rate: 1.0, cv: -1.0 }),
            build().lengths(Lengths::Fixed { prompt_tokens: 0, decode_steps: 1 }),
            build().lengths(Lengths::Punica { most_tokens: 1 }),
        ];
        for builder in wrong {
            assert!(matches!(builder.build(&bits(0)), Err(Error::Parameter { .. })), "{builder:?}");
        }
    }
}
