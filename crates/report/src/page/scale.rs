//! Axes of charts: from values to places, with ticks that people read.

/// A linear or logarithmic range.
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// Powers of ten around all positive values, with a little room.
    pub fn log(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        // At least half a decade, and room for marks at the ends.
        let room = if high / low < 3.0 { 1.9 } else { 1.35 };
        Self { low: low / room, high: high * room, is_log: true }
    }

    /// From 0 to a little above the largest value.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let high = values.filter(|value| value.is_finite()).fold(0.0_f64, f64::max);
        Self { low: 0.0, high: if high > 0.0 { 1.06 * high } else { 1.0 }, is_log: false }
    }

    /// From 1 to `last`.
    pub fn counts(last: usize) -> Self {
        Self { low: 1.0, high: (last as f64).max(2.0), is_log: false }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    pub fn position(&self, value: f64) -> f64 {
        if self.is_log {
            (value.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// The ends.
    pub fn range(&self) -> [f64; 2] {
        [self.low, self.high]
    }

    /// Values of ticks.
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            return self.log_ticks();
        }
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let mut step = [1.0, 2.0, 5.0, 10.0]
            .map(|digit| digit * power)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(power);
        if self.low == 1.0 {
            step = step.max(1.0).round();
        }
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|at| at as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.high / self.low).log10();
        let digits: &[f64] = if decades < 1.2 {
            &[1.0, 2.0, 3.0, 5.0, 7.0]
        } else if decades < 2.6 {
            &[1.0, 2.0, 5.0]
        } else {
            &[1.0]
        };
        let every = (decades / 7.0).ceil().max(1.0) as i32;
        let first = self.low.log10().floor() as i32;
        let last = self.high.log10().ceil() as i32;
        (first..=last)
            .filter(|power| power.rem_euclid(every) == 0)
            .flat_map(|power| digits.iter().map(move |digit| digit * 10_f64.powi(power)))
            .filter(|value| (self.low..=self.high).contains(value))
            .collect()
    }
}

/// A count with k, M, G.
pub(super) fn count(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    // Rounding away what powers of ten left.
    format!("{}{unit}", (value * 1e6).round() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_inside_and_are_few() {
        for values in [[1.0, 1.0], [1e-6, 1e6], [3.0, 40.0], [0.0, 0.0], [1e-300, 1e300]] {
            let scale = Scale::log(values.into_iter());
            let ticks = scale.ticks();
            assert!((1..12).contains(&ticks.len()), "{values:?}: {ticks:?}");
            assert!(ticks.iter().all(|tick| (0.0..=1.0).contains(&scale.position(*tick))), "{ticks:?}");
        }
        assert_eq!(Scale::counts(10).ticks(), [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!((count(1e5), count(2e6), count(50.0)), ("100k".into(), "2M".into(), "50".into()));
    }
}
