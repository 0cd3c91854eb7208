//! What each feature of a pair of rows adds to the pair's accumulators, for the metrics that are no product.
//!
//! One loop serves them all ([`accumulate`]): a block of [`ROWS`] rows by [`LANES`] columns is held in registers, and a
//! step is inlined into it. Vectors run across columns, so every accumulator goes through one chain of additions.

use std::marker::PhantomData;

use super::TILE_COLUMNS;
use crate::distance::metric::Metric;
use crate::distance::real::Real;
use crate::simd::widest;

/// Rows of a register block.
pub(super) const ROWS: usize = 4;
/// Columns of a register block.
const LANES: usize = 16;

/// One metric's step. Every accumulator starts at 0.
pub(super) trait Step: Copy + Sync {
    /// The type of the features.
    type Value: Real;
    /// Whether the second accumulator is used.
    const IS_PAIRED: bool = false;
    /// The accumulators with one more feature. `weight` is the feature's, `scale` the pair's.
    fn add(
        self,
        sums: [Self::Value; 2],
        x: Self::Value,
        y: Self::Value,
        at: At<Self::Value>,
    ) -> [Self::Value; 2];
    /// The first accumulator of two chunks of features; the second ones are added.
    #[inline(always)]
    fn join(self, total: Self::Value, chunk: Self::Value) -> Self::Value {
        total + chunk
    }
}

/// Factors that some steps use.
#[derive(Clone, Copy)]
pub(super) struct At<T> {
    /// Of the feature.
    pub weight: T,
    /// Of the pair.
    pub scale: T,
}

/// A chunk of features of a tile.
pub(super) struct Block<'a, T> {
    pub x: &'a [T],
    pub depth: usize,
    pub start: usize,
    pub length: usize,
    pub rows: usize,
    /// Y, columns side by side.
    pub packed: &'a [T],
    /// One for each feature of the chunk.
    pub weights: &'a [T],
    /// One for each pair, or none.
    pub scales: &'a [T],
}

widest! {
    /// Combines the features of a block; `targets` are the accumulators of whole tiles, the second one empty where it
    /// is not used.
    pub(super) fn accumulate<S: Step>(block: &Block<S::Value>, step: S, targets: [&mut [S::Value]; 2]) = accumulate_body;
}

#[inline(always)]
fn accumulate_body<S: Step>(block: &Block<S::Value>, step: S, targets: [&mut [S::Value]; 2]) {
    let [first_target, second_target] = targets;
    let zero = S::Value::ZERO;
    for group in (0..TILE_COLUMNS).step_by(LANES) {
        for first_row in (0..block.rows).step_by(ROWS) {
            let x: [&[S::Value]; ROWS] = std::array::from_fn(|row| {
                &block.x[(first_row + row) * block.depth + block.start..][..block.length]
            });
            let scales: [[S::Value; LANES]; ROWS] = std::array::from_fn(|row| {
                let at = (first_row + row) * TILE_COLUMNS + group;
                let given = block.scales.get(at..at + LANES).and_then(|scales| scales.try_into().ok());
                given.unwrap_or([zero; LANES])
            });
            let mut firsts = [[zero; LANES]; ROWS];
            let mut seconds = [[zero; LANES]; ROWS];
            let features = block.packed.chunks_exact(TILE_COLUMNS).zip(block.weights).zip(x[0]).zip(x[1]);
            for (((((y, &weight), &a), &b), &c), &d) in features.zip(x[2]).zip(x[3]) {
                let Some(y) = y[group..].first_chunk::<LANES>() else { continue };
                // Written out for each row: in a loop over rows compilers leave the accumulators in memory.
                row(step, [&mut firsts[0], &mut seconds[0]], a, y, weight, &scales[0]);
                row(step, [&mut firsts[1], &mut seconds[1]], b, y, weight, &scales[1]);
                row(step, [&mut firsts[2], &mut seconds[2]], c, y, weight, &scales[2]);
                row(step, [&mut firsts[3], &mut seconds[3]], d, y, weight, &scales[3]);
            }
            for row in 0..ROWS {
                let at = (first_row + row) * TILE_COLUMNS + group;
                first_target[at..at + LANES].copy_from_slice(&firsts[row]);
                if S::IS_PAIRED {
                    second_target[at..at + LANES].copy_from_slice(&seconds[row]);
                }
            }
        }
    }
}

/// One feature of one row with all columns of a register block.
#[inline(always)]
fn row<S: Step>(
    step: S,
    [firsts, seconds]: [&mut [S::Value; LANES]; 2],
    x: S::Value,
    y: &[S::Value; LANES],
    weight: S::Value,
    scales: &[S::Value; LANES],
) {
    for lane in 0..LANES {
        let at = At { weight, scale: scales[lane] };
        [firsts[lane], seconds[lane]] = step.add([firsts[lane], seconds[lane]], x, y[lane], at);
    }
}

widest! {
    /// Adds the accumulators of a chunk to those of the chunks before it.
    pub(super) fn join<S: Step>(step: S, total: &mut [S::Value], chunk: &[S::Value]) = join_body;
}

#[inline(always)]
fn join_body<S: Step>(step: S, total: &mut [S::Value], chunk: &[S::Value]) {
    total.iter_mut().zip(chunk).for_each(|(total, &chunk)| *total = step.join(*total, chunk));
}

widest! {
    /// The same for the second accumulators, which are always sums.
    pub(super) fn add<T: Real>(total: &mut [T], chunk: &[T]) = add_body;
}

#[inline(always)]
fn add_body<T: Real>(total: &mut [T], chunk: &[T]) {
    total.iter_mut().zip(chunk).for_each(|(total, &chunk)| *total = *total + chunk);
}

/// Declares steps: a name, whether the second accumulator is used, and what is added.
macro_rules! steps {
    ($($(#[$meta:meta])* $name:ident, $is_paired:literal, |$sums:ident, $x:ident, $y:ident, $at:ident| $body:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy)]
        pub(super) struct $name<T>(pub PhantomData<T>);

        impl<T: Real> Step for $name<T> {
            type Value = T;
            const IS_PAIRED: bool = $is_paired;
            #[inline(always)]
            fn add(self, $sums: [T; 2], $x: T, $y: T, $at: At<T>) -> [T; 2] {
                $body
            }
        }
    )*};
}

steps! {
    /// Sum of `|x - y|`.
    Manhattan, false, |sums, x, y, _at| [sums[0] + (x - y).abs(), sums[1]];
    /// Sum of `|x - y| / (|x| + |y|)`.
    Canberra, false, |sums, x, y, _at| [sums[0] + ratio((x - y).abs(), x.abs() + y.abs()), sums[1]];
    /// Sums of `|x - y|` and of `|x + y|`.
    BrayCurtis, true, |sums, x, y, _at| [sums[0] + (x - y).abs(), sums[1] + (x + y).abs()];
    /// Sums of `|x - y|` and of the larger.
    MultisetJaccard, true, |sums, x, y, _at| [sums[0] + (x - y).abs(), sums[1] + larger(x, y)];
    /// Number of features that differ.
    Hamming, false, |sums, x, y, _at| [sums[0] + if x == y { T::ZERO } else { T::ONE }, sums[1]];
    /// Sum of `(x - y)^2` of what is present in both, and the number of features that are not.
    NanEuclidean, true, |sums, x, y, _at| {
        let is_missing = (x == T::MISSING) | (y == T::MISSING);
        let difference = if is_missing { T::ZERO } else { x - y };
        [sums[0] + difference * difference, sums[1] + if is_missing { T::ONE } else { T::ZERO }]
    };
    /// See [`jensen_shannon`].
    JensenShannon, false, |sums, x, y, _at| [sums[0] + jensen_shannon(x, y), sums[1]];
    /// See [`kullback_leibler`]; and the number of features whose value is infinite.
    KullbackLeibler, true, |sums, x, y, _at| {
        let is_infinite = (y == T::ZERO) & (x > T::ZERO);
        let term = if is_infinite { T::ZERO } else { kullback_leibler(x, y) };
        [sums[0] + term, sums[1] + if is_infinite { T::ONE } else { T::ZERO }]
    };
}

/// Whether a metric has a second accumulator.
pub(super) fn is_paired(metric: Metric) -> bool {
    match metric {
        Metric::BrayCurtis => BrayCurtis::<f32>::IS_PAIRED,
        Metric::MultisetJaccard => MultisetJaccard::<f32>::IS_PAIRED,
        Metric::NanEuclidean => NanEuclidean::<f32>::IS_PAIRED,
        Metric::KullbackLeibler => KullbackLeibler::<f32>::IS_PAIRED,
        _ => false,
    }
}

/// Largest `weight |x - y|`. Without weights they are 1, which changes no bit.
#[derive(Clone, Copy)]
pub(super) struct Largest<T>(pub PhantomData<T>);

impl<T: Real> Step for Largest<T> {
    type Value = T;
    #[inline(always)]
    fn add(self, sums: [T; 2], x: T, y: T, at: At<T>) -> [T; 2] {
        [larger(sums[0], at.weight * (x - y).abs()), sums[1]]
    }
    #[inline(always)]
    fn join(self, total: T, chunk: T) -> T {
        larger(total, chunk)
    }
}

/// Sum of `(weight |x - y| scale)^p`.
#[derive(Clone, Copy)]
pub(super) struct Powers<T> {
    pub p: T,
}

impl<T: Real> Step for Powers<T> {
    type Value = T;
    #[inline(always)]
    fn add(self, sums: [T; 2], x: T, y: T, at: At<T>) -> [T; 2] {
        [sums[0] + (at.weight * (x - y).abs() * at.scale).power(self.p), sums[1]]
    }
}

#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

#[inline(always)]
fn smaller<T: Real>(a: T, b: T) -> T {
    if a < b { a } else { b }
}

/// `a / b`, 0 where both are 0.
#[inline(always)]
pub(super) fn ratio<T: Real>(a: T, b: T) -> T {
    let quotient = a / b;
    if a == T::ZERO { T::ZERO } else { quotient }
}

/// Share of its sum below which a difference is small: series instead of logarithms, which would cancel.
const SMALL: f64 = 0.25;

/// `(x + y) ((1 + d) ln(1 + d) + (1 - d) ln(1 - d))` with d = |x - y| / (x + y): 4 times a feature's part of the squared
/// distance, never negative.
#[inline(always)]
fn jensen_shannon<T: Real>(x: T, y: T) -> T {
    let sum = x + y;
    let d = ratio((x - y).abs(), sum);
    let square = d * d;
    // sum over k of d^2k / (k (2 k - 1)).
    let mut series = T::ZERO;
    for k in (1..=T::TERMS).rev() {
        series = series * square + T::rounded(1.0 / (k * (2 * k - 1)) as f64);
    }
    // 1 - d without cancelling.
    let least = smaller(x, y);
    let less = ratio(least + least, sum);
    let is_zero = less < T::SMALLEST;
    let less_log = if is_zero { T::ONE } else { less }.natural_log();
    let more = T::ONE + d;
    let logs = more * more.natural_log() + less * less_log;
    sum * if d < T::rounded(SMALL) { series * square } else { logs }
}

/// `x ln(x / y) - x + y`, never negative; y is positive where x is.
#[inline(always)]
fn kullback_leibler<T: Real>(x: T, y: T) -> T {
    let (sum, difference) = (x + y, x - y);
    let d = ratio(difference, sum);
    let square = d * d;
    // atanh(d) = d + d^3 times this series.
    let mut series = T::ZERO;
    for k in (1..=T::TERMS).rev() {
        series = series * square + T::rounded(1.0 / (2 * k + 1) as f64);
    }
    let near = sum * square * (T::ONE + (T::ONE + d) * d * series);
    let is_zero = (x < T::SMALLEST) | (y < T::SMALLEST);
    let logarithm = if is_zero { T::ONE } else { x }.log_ratio(if is_zero { T::ONE } else { y });
    let far = x * logarithm - difference;
    if d.abs() < T::rounded(SMALL) { near } else { far }
}
