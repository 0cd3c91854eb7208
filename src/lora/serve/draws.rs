//! Draws from the distributions of traces. Each draw is a function of (seed, stream, index), as in [`crate::random`].

use std::f64::consts::TAU;

pub(super) use crate::random::Draws;

impl Draws {
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

    /// Puts the values in a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            values.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
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
        let mut draws = Draws::new(3, 9);
        close(moments(|| draws.normal()), [0.0, 1.0]);
        close(moments(|| draws.exponential()), [1.0, 1.0]);
        for shape in [0.25, 1.0, 4.0] {
            close(moments(|| draws.gamma(shape)), [shape, shape]);
        }
        close(moments(|| draws.below(10) as f64), [4.5, 8.25]);
    }

    #[test]
    fn a_shuffle_keeps_every_value() {
        let mut values: Vec<u32> = (0..100).collect();
        Draws::new(1, 1).shuffle(&mut values);
        assert_ne!(values, (0..100).collect::<Vec<u32>>());
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<u32>>());
        assert_eq!(Draws::new(1, 1).below(0), 0);
    }
}
