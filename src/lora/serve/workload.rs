//! Made-up traces: which adapters are asked for, when, and for how many tokens.

use std::str::FromStr;

use super::draws::Draws;
use super::request::Request;
use super::trace::{MOST_ADAPTERS, Trace};
use crate::error::{Error, Result};

/// How requests spread over adapters. The first four are the workloads of Punica (Chen et al., *Punica: multi-tenant
/// LoRA serving*, MLSys 2024), the last is the generator of S-LoRA (Sheng et al., *S-LoRA: serving thousands of
/// concurrent LoRA adapters*, MLSys 2024).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Workload {
    /// Each request has an adapter of its own.
    Distinct,
    /// Equal shares; `ceil(sqrt(requests))` adapters unless another number is asked for.
    Uniform,
    /// Each adapter has 1.5 times the requests of the next, down to a single request.
    Skewed,
    /// One adapter.
    Identical,
    /// Three quarters of the requests go to the first adapter, the rest in equal shares to the others;
    /// `ceil(sqrt(requests))` adapters unless another number is asked for.
    Hotset,
    /// Adapter `floor(adapters * u^(1 / alpha))`, `u` uniform in [0, 1): the smaller `alpha`, the more go to the first.
    /// `ceil(sqrt(requests))` adapters unless another number is asked for.
    Power {
        /// Exponent of the distribution function `x^alpha`; above 0, 1 is uniform.
        alpha: f64,
    },
}

impl Workload {
    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Distinct => "distinct",
            Self::Uniform => "uniform",
            Self::Skewed => "skewed",
            Self::Identical => "identical",
            Self::Hotset => "hotset",
            Self::Power { .. } => "power",
        }
    }
}

impl FromStr for Workload {
    type Err = Error;

    /// Reads [`name`](Self::name); `power` has alpha 1, `power:A` alpha A.
    fn from_str(text: &str) -> Result<Self> {
        let rule = "distinct, uniform, skewed, identical, hotset, power or power:ALPHA";
        Ok(match text {
            "distinct" => Self::Distinct,
            "uniform" => Self::Uniform,
            "skewed" => Self::Skewed,
            "identical" => Self::Identical,
            "hotset" => Self::Hotset,
            "power" => Self::Power { alpha: 1.0 },
            _ => match text.strip_prefix("power:").and_then(|alpha| alpha.parse().ok()) {
                Some(alpha) => Self::Power { alpha },
                None => return Err(Error::parameter("workload", rule, text)),
            },
        })
    }
}

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

/// Requests that are made up at most.
const MOST_REQUESTS: usize = 1 << 22;

/// A trace to be made up. The same settings give the same trace on every machine.
///
/// ```
/// use tilefold::lora::serve::{Arrivals, TraceBuilder, Workload};
/// let trace = TraceBuilder::new(Workload::Uniform, 100).arrivals(Arrivals::Poisson { rate: 5.0 }).build()?;
/// assert_eq!((trace.requests().len(), trace.adapters()), (100, 10));
/// # Ok::<(), tilefold::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TraceBuilder {
    workload: Workload,
    requests: usize,
    adapters: Option<usize>,
    arrivals: Arrivals,
    lengths: Lengths,
    seed: u64,
}

/// Numbers of the streams that a trace draws from.
const ORDER: u64 = 0x5e7e_0001;
const ARRIVAL: u64 = 0x5e7e_0002;
const LENGTH: u64 = 0x5e7e_0003;

impl TraceBuilder {
    /// `requests` requests, all at once, lengths as Punica's below 2048 tokens, seed 0.
    pub fn new(workload: Workload, requests: usize) -> Self {
        let lengths = Lengths::Punica { most_tokens: 2048 };
        Self { workload, requests, adapters: None, arrivals: Arrivals::AtOnce, lengths, seed: 0 }
    }

    /// Another number of adapters than the workload's own; distinct and identical have no choice.
    pub fn adapters(mut self, adapters: usize) -> Self {
        self.adapters = Some(adapters);
        self
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

    /// Seed of all draws.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Makes the trace.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no or too many adapters (2^20), too many requests (2^22), a rate, `cv` or `alpha` that
    /// is not a positive number, or lengths out of order.
    pub fn build(&self) -> Result<Trace> {
        self.check()?;
        let adapters = self.adapter_of_each();
        let (mut gaps, mut lengths) = (Draws::new(self.seed, ARRIVAL), Draws::new(self.seed, LENGTH));
        let mut now = 0.0;
        let requests = adapters.into_iter().enumerate().map(|(id, adapter)| {
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
        if let Workload::Power { alpha } = self.workload {
            positive("alpha", alpha)?;
        }
        match self.arrivals {
            Arrivals::AtOnce => {}
            Arrivals::Poisson { rate } => positive("rate", rate)?,
            Arrivals::Gamma { rate, cv } => {
                positive("rate", rate)?;
                positive("cv", cv)?;
            }
        }
        if !self.adapters.is_none_or(|count| (1..=MOST_ADAPTERS).contains(&count)) {
            let got = self.adapters.unwrap_or_default();
            return Err(Error::parameter("adapters", format!("1 to {MOST_ADAPTERS}"), got));
        }
        // Each request has an adapter of its own.
        if self.workload == Workload::Distinct && self.requests > MOST_ADAPTERS {
            return Err(Error::parameter(
                "requests",
                format!("at most {MOST_ADAPTERS} if distinct"),
                self.requests,
            ));
        }
        if self.requests > MOST_REQUESTS {
            return Err(Error::parameter("requests", format!("at most {MOST_REQUESTS}"), self.requests));
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

    /// The adapter of each request, in the order of arrival.
    fn adapter_of_each(&self) -> Vec<u32> {
        let count = self.requests;
        let many = self.adapters.unwrap_or((count as f64).sqrt().ceil() as usize).max(1);
        let mut draws = Draws::new(self.seed, ORDER);
        let shares: Vec<f64> = match self.workload {
            Workload::Distinct => return (0..count as u32).collect(),
            Workload::Identical => vec![1.0],
            Workload::Uniform => vec![1.0; many],
            Workload::Skewed => {
                let most = self.adapters.unwrap_or(count);
                let one = |index: usize| 1.5_f64.powi(-i32::try_from(index).unwrap_or(i32::MAX));
                // The first of n adapters has a third of the requests; once the share is below one, the row ends.
                let is_listed = |&index: &usize| {
                    index == 0 || self.adapters.is_some() || one(index) * count as f64 / 3.0 >= 0.5
                };
                (0..most.max(1)).take_while(is_listed).map(one).collect()
            }
            Workload::Hotset if many == 1 => vec![1.0],
            Workload::Hotset => {
                let rest = vec![0.25 / (many - 1) as f64; many - 1];
                [vec![0.75], rest].concat()
            }
            Workload::Power { alpha } => {
                let draw = |_| ((many as f64 * draws.unit().powf(1.0 / alpha)) as usize).min(many - 1) as u32;
                return (0..count).map(draw).collect();
            }
        };
        let sizes = rounded_shares(&shares, count);
        let mut order: Vec<u32> =
            sizes.iter().enumerate().flat_map(|(adapter, &size)| vec![adapter as u32; size]).collect();
        draws.shuffle(&mut order);
        order
    }

    fn length(&self, draws: &mut Draws) -> (u32, u32) {
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

/// Whole numbers in proportion to `shares` that add up to `total`: floors, then one more for the largest remainders, of
/// equal ones the first.
fn rounded_shares(shares: &[f64], total: usize) -> Vec<usize> {
    let sum: f64 = shares.iter().sum();
    let exact: Vec<f64> = shares.iter().map(|share| share / sum * total as f64).collect();
    let mut sizes: Vec<usize> = exact.iter().map(|size| size.floor() as usize).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_unstable_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = total.saturating_sub(sizes.iter().sum());
    order.iter().cycle().take(missing).for_each(|&index| sizes[index] += 1);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(workload: Workload, requests: usize) -> Vec<usize> {
        let trace = TraceBuilder::new(workload, requests).build().unwrap();
        let mut sizes = vec![0; trace.adapters()];
        trace.requests().iter().for_each(|request| sizes[request.adapter as usize] += 1);
        sizes
    }

    #[test]
    fn workloads_have_their_sizes() {
        assert_eq!(sizes(Workload::Distinct, 5), [1; 5]);
        assert_eq!(sizes(Workload::Uniform, 64), [8; 8]);
        assert_eq!(sizes(Workload::Uniform, 32), [6, 6, 5, 5, 5, 5]);
        assert_eq!(sizes(Workload::Identical, 7), [7]);
        let skewed = sizes(Workload::Skewed, 133);
        assert_eq!(skewed.iter().sum::<usize>(), 133);
        for pair in skewed.windows(2).filter(|pair| pair[1] >= 8) {
            let ratio = pair[0] as f64 / pair[1] as f64;
            assert!((ratio - 1.5).abs() < 0.2, "{skewed:?}");
        }
        assert_eq!(sizes(Workload::Hotset, 100), [vec![75], vec![3; 7], vec![2; 2]].concat());
        assert_eq!(sizes(Workload::Distinct, 0), [0; 0]);
    }

    #[test]
    fn power_law_prefers_the_first_adapters() {
        let build = TraceBuilder::new(Workload::Power { alpha: 0.3 }, 4000).adapters(10).build().unwrap();
        let first = build.requests().iter().filter(|request| request.adapter == 0).count();
        // The distribution function at 1/10 is 0.1^0.3 = 0.501.
        assert!((1850..2150).contains(&first), "{first}");
    }

    #[test]
    fn arrivals_have_the_rate_and_gamma_the_variation() {
        for arrivals in [Arrivals::Poisson { rate: 4.0 }, Arrivals::Gamma { rate: 4.0, cv: 2.0 }] {
            let trace = TraceBuilder::new(Workload::Identical, 20_000).arrivals(arrivals).build().unwrap();
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
    fn lengths_keep_their_bounds_and_seeds_differ() {
        let build = |seed| TraceBuilder::new(Workload::Uniform, 2000).seed(seed).build().unwrap();
        let trace = build(1);
        assert!(trace.requests().iter().all(|request| request.prompt_tokens >= 1));
        assert!(trace.requests().iter().all(|request| request.most_context() <= 2048 + 1));
        let mut prompts: Vec<u32> = trace.requests().iter().map(|request| request.prompt_tokens).collect();
        prompts.sort_unstable();
        assert!((15..20).contains(&prompts[1000]), "median {}", prompts[1000]);
        assert_eq!(trace, build(1));
        assert_ne!(trace, build(2));
        let lengths = Lengths::Uniform { prompt_tokens: (8, 12), decode_steps: (0, 3) };
        let trace = TraceBuilder::new(Workload::Uniform, 500).lengths(lengths).build().unwrap();
        for bound in [8, 12] {
            assert!(trace.requests().iter().any(|request| request.prompt_tokens == bound));
        }
        assert!(trace.requests().iter().all(|r| (8..=12).contains(&r.prompt_tokens) && r.decode_steps <= 3));
    }

    #[test]
    fn wrong_settings_are_refused() {
        let build = |workload| TraceBuilder::new(workload, 10);
        let wrong = [
            build(Workload::Power { alpha: f64::NAN }),
            build(Workload::Uniform).adapters(0),
            TraceBuilder::new(Workload::Uniform, usize::MAX),
            build(Workload::Uniform).arrivals(Arrivals::Poisson { rate: 0.0 }),
            build(Workload::Uniform).arrivals(Arrivals::Gamma { rate: 1.0, cv: -1.0 }),
            build(Workload::Uniform).lengths(Lengths::Fixed { prompt_tokens: 0, decode_steps: 1 }),
            build(Workload::Uniform).lengths(Lengths::Punica { most_tokens: 1 }),
        ];
        for builder in wrong {
            assert!(matches!(builder.build(), Err(Error::Parameter { .. })), "{builder:?}");
        }
        assert!("zipf".parse::<Workload>().is_err() && "power:x".parse::<Workload>().is_err());
        assert_eq!("power:0.3".parse::<Workload>().unwrap(), Workload::Power { alpha: 0.3 });
    }
}
