//! How rows of a batch, or requests of a trace, spread over adapters.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::random::Draws;

/// Adapters at most: tables of adapters are as long.
pub(crate) const MOST_ADAPTERS: usize = 1 << 20;
/// Requests that are made up at most.
const MOST_REQUESTS: usize = 1 << 22;
/// Number of the stream that orders are drawn from.
const ORDER: u64 = 0x5e7e_0001;

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

    /// The adapter of each of so many requests, in their order: a function of these numbers alone. `adapters` asks for
    /// another number of adapters than the workload's own; distinct and identical have no choice.
    ///
    /// # Errors
    /// [`Error::Parameter`] for no or too many adapters (2^20), too many requests (2^22), or an `alpha` that is not a
    /// positive number.
    pub fn adapter_of_each(&self, requests: usize, adapters: Option<usize>, seed: u64) -> Result<Vec<u32>> {
        self.check(requests, adapters)?;
        let many = adapters.unwrap_or((requests as f64).sqrt().ceil() as usize).max(1);
        let mut draws = Draws::new(seed, ORDER);
        let shares: Vec<f64> = match *self {
            Self::Distinct => return Ok((0..requests as u32).collect()),
            Self::Identical => vec![1.0],
            Self::Uniform => vec![1.0; many],
            Self::Skewed => {
                let most = adapters.unwrap_or(requests);
                let one = |index: usize| 1.5_f64.powi(-i32::try_from(index).unwrap_or(i32::MAX));
                // The first of n adapters has a third of the requests; once the share is below one, the row ends.
                let is_listed = |&index: &usize| {
                    index == 0 || adapters.is_some() || one(index) * requests as f64 / 3.0 >= 0.5
                };
                (0..most.max(1)).take_while(is_listed).map(one).collect()
            }
            Self::Hotset if many == 1 => vec![1.0],
            Self::Hotset => {
                let rest = vec![0.25 / (many - 1) as f64; many - 1];
                [vec![0.75], rest].concat()
            }
            Self::Power { alpha } => {
                let draw = |_| ((many as f64 * draws.unit().powf(1.0 / alpha)) as usize).min(many - 1) as u32;
                return Ok((0..requests).map(draw).collect());
            }
        };
        let sizes = rounded_shares(&shares, requests);
        let mut order: Vec<u32> =
            sizes.iter().enumerate().flat_map(|(adapter, &size)| vec![adapter as u32; size]).collect();
        // Fisher and Yates.
        for last in (1..order.len()).rev() {
            order.swap(last, draws.below(last as u64 + 1) as usize);
        }
        Ok(order)
    }

    fn check(&self, requests: usize, adapters: Option<usize>) -> Result<()> {
        if let Self::Power { alpha } = *self
            && !(alpha > 0.0 && alpha.is_finite())
        {
            return Err(Error::parameter("alpha", "a positive number", alpha));
        }
        if let Some(got) = adapters.filter(|count| !(1..=MOST_ADAPTERS).contains(count)) {
            return Err(Error::parameter("adapters", format!("1 to {MOST_ADAPTERS}"), got));
        }
        // Each request has an adapter of its own.
        if *self == Self::Distinct && requests > MOST_ADAPTERS {
            return Err(Error::parameter(
                "requests",
                format!("at most {MOST_ADAPTERS} if distinct"),
                requests,
            ));
        }
        if requests > MOST_REQUESTS {
            return Err(Error::parameter("requests", format!("at most {MOST_REQUESTS}"), requests));
        }
        Ok(())
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
        let adapters = workload.adapter_of_each(requests, None, 0).unwrap();
        let mut sizes = vec![0; adapters.iter().max().map_or(0, |&last| last as usize + 1)];
        adapters.iter().for_each(|&adapter| sizes[adapter as usize] += 1);
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
    fn orders_are_drawn() {
        let order = |seed| Workload::Uniform.adapter_of_each(100, None, seed).unwrap();
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        assert!(!order(1).is_sorted());
    }

    #[test]
    fn power_law_prefers_the_first_adapters() {
        let adapters = Workload::Power { alpha: 0.3 }.adapter_of_each(4000, Some(10), 0).unwrap();
        let first = adapters.iter().filter(|&&adapter| adapter == 0).count();
        // The distribution function at 1/10 is 0.1^0.3 = 0.501.
        assert!((1850..2150).contains(&first), "{first}");
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (workload, requests, adapters) in [
            (Workload::Power { alpha: f64::NAN }, 10, None),
            (Workload::Uniform, 10, Some(0)),
            (Workload::Uniform, 10, Some(usize::MAX)),
            (Workload::Uniform, usize::MAX, None),
            (Workload::Distinct, MOST_ADAPTERS + 1, None),
        ] {
            let got = workload.adapter_of_each(requests, adapters, 0);
            assert!(matches!(got, Err(Error::Parameter { .. })), "{workload:?}");
        }
        assert!("zipf".parse::<Workload>().is_err() && "power:x".parse::<Workload>().is_err());
        assert_eq!("power:0.3".parse::<Workload>().unwrap(), Workload::Power { alpha: 0.3 });
    }
}
