//! One axis: its range, its ticks, and how they are written.

/// A range of values with ticks at round numbers.
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
    /// Ticks are written in units of ten to this power.
    exponent: i32,
}

impl Axis {
    /// An axis that shows all `values` with some room beside them, and about `ticks` ticks.
    pub fn new(values: impl Iterator<Item = f64>, ticks: usize) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            // There was no finite value.
            (low, high) = (0.0, 0.0);
        }
        let magnitude = low.abs().max(high.abs());
        // A narrower range than this has ticks that read the same.
        let room =
            if high - low > 1e-9 * magnitude { 0.04 * (high - low) } else { (0.05 * magnitude).max(0.5) };
        let (low, high) = (low - room, high + room);
        let rough = (high - low) / ticks.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().find(|&step| step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let digits = low.abs().max(high.abs()).log10().floor() as i32;
        let exponent = if (-2..5).contains(&digits) { 0 } else { digits.div_euclid(3) * 3 };
        Self { low, high, step, exponent }
    }

    /// The same axis with ticks at whole numbers only.
    pub fn whole(mut self) -> Self {
        self.step = self.step.max(1.0);
        self.exponent = 0;
        self
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    pub fn position(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Positions and texts of the ticks.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let unit = 10_f64.powi(self.exponent);
        let decimals = (-(self.step / unit).log10().floor()).clamp(0.0, 12.0) as usize;
        let (first, last) = ((self.low / self.step).ceil(), (self.high / self.step).floor());
        let count = (last - first).clamp(0.0, 50.0) as usize;
        (0..=count)
            .map(|index| {
                // Adding 0 turns -0 into 0.
                let value = (first + index as f64) * self.step + 0.0;
                (self.position(value), format!("{:.decimals$}", value / unit))
            })
            .filter(|(position, _)| (0.0..=1.0).contains(position))
            .collect()
    }

    /// `label`, with the power of ten in which the ticks are written.
    pub fn title(&self, label: &str) -> String {
        if self.exponent == 0 {
            return label.to_owned();
        }
        let raised = |c: char| match c.to_digit(10) {
            Some(digit) => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize],
            None => '⁻',
        };
        let exponent: String = self.exponent.to_string().chars().map(raised).collect();
        format!("{label} (× 10{exponent})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64) -> Vec<String> {
        Axis::new([low, high].into_iter(), 5).ticks().into_iter().map(|tick| tick.1).collect()
    }

    #[test]
    fn ticks_are_round_distinct_and_few() {
        assert_eq!(texts(-1.0, 1.0), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(texts(1.1e6, 2.0e6), ["1.2", "1.4", "1.6", "1.8", "2.0"]);
        for (low, high) in [(0.0, 0.0), (7.0, 7.0), (1e-300, 3e-300), (-1e300, 1e300), (1.0, 1.0 + 1e-8)] {
            let ticks = texts(low, high);
            assert!((2..=8).contains(&ticks.len()), "{low} {high}: {ticks:?}");
            assert!(ticks.windows(2).all(|pair| pair[0] != pair[1]), "{low} {high}: {ticks:?}");
        }
    }

    #[test]
    fn whole_ticks_and_titles() {
        let axis = Axis::new([1.0, 3.0].into_iter(), 9).whole();
        let ticks: Vec<String> = axis.ticks().into_iter().map(|tick| tick.1).collect();
        assert_eq!(ticks, ["1", "2", "3"]);
        assert_eq!(Axis::new([2e-7, 4e-7].into_iter(), 5).title("inertia"), "inertia (× 10⁻⁹)");
        assert_eq!(axis.title("iteration"), "iteration");
    }
}
