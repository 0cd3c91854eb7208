//! Values that stand for columns and limits that do not exist, and roundings outwards that several bounds share.

/// Half norm of columns that do not exist: above every value that a column can have, so that they never win.
pub(crate) const ABSENT: f32 = 1e38;
/// Above every value that a column can have, and below that of a column that does not exist.
pub(crate) const NO_LIMIT: f32 = 5e37;

/// At least `value` after a few more roundings in `f32` (the evaluation of the gap and of the difference it is
/// compared with), and finite.
pub(crate) fn with_slack(value: f64) -> f32 {
    (value * (1.0 + 1.0 / 1024.0) + f64::from(f32::MIN_POSITIVE)).min(f64::from(f32::MAX) / 1e8) as f32
}

/// The least `f32` that is not below `value`.
pub(crate) fn next_f32(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value { near.next_up() } else { near }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_f32_is_not_below() {
        for value in [0.0, 1.0, 1.0 + 1e-12, -1.0 - 1e-12, -1.0 + 1e-12, 1e-50, -1e-50] {
            let rounded = f64::from(next_f32(value));
            assert!(rounded >= value && rounded - value <= value.abs() * 1.2e-7 + 1e-44, "{value} {rounded}");
        }
    }
}
