//! What a simulated run gave.

use super::cache::CacheCounts;

/// Nearest-rank percentiles: the smallest value that at least p per cent of the values do not exceed. All 0 without
/// values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// 95 per cent.
    pub p95: f64,
    /// 99 per cent.
    pub p99: f64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub max: f64,
}

impl Percentiles {
    /// Of these values, in any order.
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let Some(&max) = values.last() else { return Self::default() };
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self { p50: at(50), p95: at(95), p99: at(99), mean, max }
    }
}

/// Jain's index `(sum x)^2 / (n sum x^2)` (Jain, Chiu and Hawe, 1984): 1 where all are equal, `1 / n` where one has
/// all. 1 where all are 0 or there are none.
pub fn jain_index(values: &[f64]) -> f64 {
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    if squares > 0.0 { sum * sum / (values.len() as f64 * squares) } else { 1.0 }
}

/// How equally adapters were served. Tokens count 1 in a prompt and 2 in an answer, by weight, as under
/// [`FairTokens`](super::FairTokens).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fairness {
    /// [`jain_index`] of what each adapter of the trace was served in all. Every request ends, so this is the trace's
    /// own inequality.
    pub total: f64,
    /// The mean, over windows of time, of the index over the adapters with requests waiting at both ends of the window:
    /// those that could have used more. 1 where there is no window with two of them.
    pub contended: f64,
    /// Windows that count for it.
    pub windows: usize,
}

/// One device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceReport {
    /// Steps it did.
    pub steps: u64,
    /// Seconds of its steps over seconds of the run.
    pub busy_share: f64,
    /// Its store of adapters.
    pub cache: CacheCounts,
}

/// Result of a simulated run: virtual seconds, tokens and requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Name of the policy.
    pub policy: String,
    /// Requests, all of which ended.
    pub requests: usize,
    /// Tokens given.
    pub output_tokens: u64,
    /// From the begin of the trace to the last token.
    pub seconds: f64,
    /// Tokens given per second.
    pub tokens_per_second: f64,
    /// Requests ended per second.
    pub requests_per_second: f64,
    /// Seconds from arrival to the first token.
    pub first_token_seconds: Percentiles,
    /// Seconds per token after the first, of the requests that have such.
    pub per_token_seconds: Percentiles,
    /// Seconds from arrival to the last token.
    pub end_to_end_seconds: Percentiles,
    /// Fairness over adapters.
    pub fairness: Fairness,
    /// Sums over devices.
    pub cache: CacheCounts,
    /// Steps of all devices.
    pub steps: u64,
    /// Mean over steps of the requests in them.
    pub mean_batch: f64,
    /// Mean over steps of the distinct adapters in them.
    pub mean_adapters_per_step: f64,
    /// Requests sent back because the key-value cache was full.
    pub evictions: u64,
    /// Requests sent back to run on a fuller device.
    pub migrations: u64,
    /// Each device.
    pub devices: Vec<DeviceReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let some = Percentiles::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((some.p50, some.p95, some.p99, some.mean, some.max), (100.0, 190.0, 198.0, 100.5, 200.0));
        let one = Percentiles::of(vec![7.0]);
        assert_eq!((one.p50, one.p99), (7.0, 7.0));
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
    }

    #[test]
    fn jain_runs_from_one_of_n_to_one() {
        assert_eq!(jain_index(&[3.0, 3.0, 3.0]), 1.0);
        assert_eq!(jain_index(&[3.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!((jain_index(&[]), jain_index(&[0.0])), (1.0, 1.0));
    }
}
