//! Decisions in `f64`: the same sums in the same order as the reference, on the few candidates that are left.

/// `sum over d of (x[d] - c[d])^2`, added in the order of d.
pub(crate) fn squared_distance(x: &[f32], column: &[f64]) -> f64 {
    let mut sum = 0.0;
    for (&x, &c) in x.iter().zip(column) {
        let difference = f64::from(x) - c;
        sum += difference * difference;
    }
    sum
}

/// The candidate nearest to `x`, ties to the lowest index. `candidates` are indices of `columns`.
pub(crate) fn nearest(x: &[f32], candidates: impl Iterator<Item = u32>, columns: &[f64]) -> (u32, f64) {
    let mut best = (u32::MAX, f64::INFINITY);
    for index in candidates {
        let start = index as usize * x.len();
        let distance = squared_distance(x, &columns[start..start + x.len()]);
        if distance < best.1 || (distance == best.1 && index < best.0) {
            best = (index, distance);
        }
    }
    best
}
