//! Draws from the distributions of traces.

use std::f64::consts::TAU;

/// 64 random bits for an index of a stream, such as a counter-based generator gives under one seed. Streams are
/// independent of each other, and so are the indices of a stream.
pub type RandomBits<'a> = &'a dyn Fn(u64, u64) -> u64;

/// Draws one after the other: each takes the next bits of a stream.
pub(super) struct Draws<'a> {
    random: RandomBits<'a>,
    stream: u64,
    index: u64,
}

impl<'a> Draws<'a> {
    pub fn new(random: RandomBits<'a>, stream: u64) -> Self {
        Self { random, stream, index: 0 }
    }

    fn bits(&mut self) -> u64 {
        self.index += 1;
        (self.random)(self.stream, self.index - 1)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform among `0..count`; 0 where `count` is 0.
    pub fn below(&mut self, count: u64) -> u64 {
        // The high half of a 128-bit product: a bias below 2^-64 times the count.
        ((u128::from(self.bits()) * u128::from(count)) >> 64) as u64
    }

    /// Uniform in (0, 1]: its logarithm is finite.
    fn positive_unit(&mut self) -> f64 {
        1.0 - self.unit()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.positive_unit().ln()
    }

    /// Normal with mean 0 and variance 1 (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.positive_unit().ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Gamma with this shape and scale 1: squeeze of Marsaglia and Tsang (*A simple method for generating gamma
    /// variables*, ACM TOMS 2000); a shape below 1 is lifted by one and multiplied with `u^(1 / shape)`.
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let lifted = self.gamma(shape + 1.0);
            return lifted * self.positive_unit().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let u = self.positive_unit();
            if v > 0.0 && u.ln() < 0.5 * x * x + d * (1.0 - v + v.ln()) {
                return d * v;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod made_up {
    //! Random bits for tests.

    /// The bits of `seed`: the mixing function of SplitMix64 over seed, stream and index.
    pub fn bits(seed: u64) -> impl Fn(u64, u64) -> u64 {
        let mix = |word: u64| {
            let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        };
        move |stream, index| mix(mix(mix(seed) ^ stream) ^ index)
    }
}

#[cfg(test)]
mod tests {
    use super::made_up::bits;
    use super::*;

    /// Mean and variance of many draws.
    fn moments(mut draw: impl FnMut() -> f64) -> [f64; 2] {
        let values: Vec<f64> = (0..40_000).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        [mean, variance]
    }

    #[track_caller]
    fn close(got: [f64; 2], expected: [f64; 2]) {
        for (got, expected) in got.into_iter().zip(expected) {
            assert!((got - expected).abs() <= 0.05 * expected.abs().max(1.0), "{got} is not near {expected}");
        }
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let random = bits(3);
        let mut draws = Draws::new(&random, 9);
        close(moments(|| draws.normal()), [0.0, 1.0]);
        close(moments(|| draws.exponential()), [1.0, 1.0]);
        for shape in [0.25, 1.0, 4.0] {
            close(moments(|| draws.gamma(shape)), [shape, shape]);
        }
        close(moments(|| draws.below(10) as f64), [4.5, 8.25]);
        assert_eq!(draws.below(0), 0);
    }
}
