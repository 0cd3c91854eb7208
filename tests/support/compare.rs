//! Comparisons of a candidate with an oracle.
//!
//! The oracle is `&[f64]`, the candidate `&[f32]` (or [`Wide`], for results handed out in f64): two types, so no
//! buffer can be compared with itself. Each comparison states what must hold and negates that, so NaN fails.

#![expect(clippy::neg_cmp_op_on_partial_ord, reason = "what must hold is stated, then negated: NaN fails")]

use std::fmt;

/// What outputs are filled with before a call. It is NaN, so that no comparison lets it through, with a payload that
/// arithmetic does not make, so that a report can say "never written".
pub const MARKER: f32 = f32::from_bits(0xffc5_a5a5);

/// The same for outputs in f64.
pub const WIDE_MARKER: f64 = f64::from_bits(0xfff8_a5a5_a5a5_a5a5);

/// An f64 candidate: a type of its own, so that it cannot be mistaken for the oracle.
#[derive(Debug, Clone, Copy)]
pub struct Wide(pub f64);

/// An element of a candidate.
pub trait Candidate: Copy {
    /// The value, widened without rounding.
    fn value(self) -> f64;
    /// Whether it still is the [`MARKER`].
    fn is_marker(self) -> bool;
}

impl Candidate for f32 {
    fn value(self) -> f64 {
        f64::from(self)
    }
    fn is_marker(self) -> bool {
        self.to_bits() == MARKER.to_bits()
    }
}

impl Candidate for Wide {
    fn value(self) -> f64 {
        self.0
    }
    fn is_marker(self) -> bool {
        self.0.to_bits() == WIDE_MARKER.to_bits()
    }
}

/// Why a candidate is refused: how many offenders there are, and the first few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    offenders: usize,
    checked: usize,
    first: Vec<String>,
}

impl Mismatch {
    const SHOWN: usize = 5;

    /// Whether one of the shown offenders mentions `text`.
    pub fn mentions(&self, text: &str) -> bool {
        self.first.iter().any(|line| line.contains(text))
    }

    /// How many elements, rows or bounds were refused.
    pub fn offenders(&self) -> usize {
        self.offenders
    }

    fn add(&mut self, offender: String) {
        self.offenders += 1;
        if self.first.len() < Self::SHOWN {
            self.first.push(offender);
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} of {} are wrong:", self.offenders, self.checked)?;
        self.first.iter().try_for_each(|line| write!(formatter, "\n  {line}"))
    }
}

/// Collects offenders; ends in `Ok` only when there was none.
fn judge(checked: usize, collect: impl FnOnce(&mut Mismatch)) -> Result<(), Mismatch> {
    let mut mismatch = Mismatch { offenders: 0, checked, first: Vec::new() };
    collect(&mut mismatch);
    if mismatch.offenders == 0 { Ok(()) } else { Err(mismatch) }
}

/// Whether `|candidate[i] - oracle[i]| <= bound(i)` for every element, all finite, in equal numbers.
pub fn close<C: Candidate>(
    oracle: &[f64],
    candidate: &[C],
    bound: impl Fn(usize) -> f64,
) -> Result<(), Mismatch> {
    judge(oracle.len(), |mismatch| {
        if oracle.len() != candidate.len() {
            mismatch.add(format!("length {}, expected {}", candidate.len(), oracle.len()));
        }
        for (index, (&expected, &got)) in oracle.iter().zip(candidate).enumerate() {
            let (value, bound) = (got.value(), bound(index));
            if !(bound >= 0.0 && bound.is_finite()) {
                mismatch.add(format!("[{index}] the bound itself is {bound}"));
            } else if !expected.is_finite() {
                mismatch.add(format!("[{index}] the oracle itself is {expected}"));
            } else if !((value - expected).abs() <= bound) {
                let state = if got.is_marker() { " (never written)" } else { "" };
                mismatch.add(format!("[{index}] {value:e}{state}, expected {expected:e} within {bound:e}"));
            }
        }
    })
}

/// f64 distances of rows to all candidates (centroids, points): what certificates are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Distances<'a> {
    /// Row-major, one row per query.
    pub values: &'a [f64],
    /// Number of candidates.
    pub columns: usize,
}

impl Distances<'_> {
    fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }
}

/// Certifies labels: each is in range, and its distance no worse than the best of its row plus `bound(row)`.
///
/// A bound of 0 asks for a nearest one exactly; add [`lowest_index`] where ties must go to the lowest index.
pub fn nearest<L: Copy + TryInto<usize>>(
    distances: Distances<'_>,
    labels: &[L],
    bound: impl Fn(usize) -> f64,
) -> Result<(), Mismatch> {
    neighbours(distances, labels, 1, bound)
}

/// Whether each label is the lowest index among the exactly nearest candidates of its row.
pub fn lowest_index<L: Copy + TryInto<usize>>(
    distances: Distances<'_>,
    labels: &[L],
) -> Result<(), Mismatch> {
    nearest(distances, labels, |_| 0.0)?;
    judge(labels.len(), |mismatch| {
        for (row, &label) in labels.iter().enumerate() {
            let chosen = label.try_into().ok();
            let best = distances.row(row).iter().copied().fold(f64::INFINITY, f64::min);
            let lowest = distances.row(row).iter().position(|&distance| distance == best);
            if chosen != lowest {
                mismatch.add(format!("row {row}: label {chosen:?}, the lowest of the nearest is {lowest:?}"));
            }
        }
    })
}

/// Certifies lists of the `count` nearest, row after row: every index in range, none twice in a row, and the i-th
/// one's distance no worse than the true i-th smallest plus `bound(row)`.
pub fn neighbours<L: Copy + TryInto<usize>>(
    distances: Distances<'_>,
    indices: &[L],
    count: usize,
    bound: impl Fn(usize) -> f64,
) -> Result<(), Mismatch> {
    let rows = distances.rows();
    judge(rows, |mismatch| {
        if count == 0 || distances.columns < count || rows * distances.columns != distances.values.len() {
            mismatch.add(format!("{} columns cannot hold the oracle", distances.columns));
            return;
        }
        if indices.len() != rows * count {
            mismatch.add(format!("length {}, expected {rows} x {count}", indices.len()));
        }
        for (row, chosen) in indices.chunks_exact(count).take(rows).enumerate() {
            if let Err(reason) = certify_row(distances.row(row), chosen, bound(row)) {
                mismatch.add(format!("row {row}: {reason}"));
            }
        }
    })
}

fn certify_row<L: Copy + TryInto<usize>>(distances: &[f64], chosen: &[L], bound: f64) -> Result<(), String> {
    if let Some(column) = distances.iter().position(|distance| !distance.is_finite()) {
        return Err(format!("the oracle itself is {} in column {column}", distances[column]));
    }
    if !(bound >= 0.0 && bound.is_finite()) {
        return Err(format!("the bound itself is {bound}"));
    }
    let mut sorted = distances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut seen = vec![false; distances.len()];
    for (place, &index) in chosen.iter().enumerate() {
        let index = index.try_into().ok().filter(|&index| index < distances.len());
        let index = index.ok_or_else(|| format!("place {place} is out of range 0..{}", distances.len()))?;
        if std::mem::replace(&mut seen[index], true) {
            return Err(format!("index {index} twice"));
        }
        let (got, best) = (distances[index], sorted[place]);
        if !(got <= best + bound) {
            return Err(format!("index {index} at {got:e}, place {place} is at {best:e} (bound {bound:e})"));
        }
    }
    Ok(())
}

/// Bound of a sum of `length` products in f32, in any order: `(length + 2) u / (1 - (length + 2) u)` times the sum of
/// `|a||b|`, with `u = 2^-24`; one rounding per product, `length - 1` additions, and two for what is done at the end.
/// The last term is what products that underflow may lose.
pub fn product_bound(length: usize, sum_of_magnitudes: f64) -> f64 {
    let steps = (length + 2) as f64 * f64::from(f32::EPSILON) / 2.0;
    steps / (1.0 - steps) * sum_of_magnitudes + length as f64 * f64::from(f32::MIN_POSITIVE)
}

/// An output buffer between two bands that nobody may write; filled with [`MARKER`] all over.
#[derive(Debug)]
pub struct Guarded {
    buffer: Vec<f32>,
}

impl Guarded {
    const BAND: usize = 64;

    /// A buffer whose middle holds `length` elements.
    pub fn new(length: usize) -> Self {
        Self { buffer: vec![MARKER; length + 2 * Self::BAND] }
    }

    /// The middle.
    pub fn output(&mut self) -> &mut [f32] {
        let end = self.buffer.len() - Self::BAND;
        &mut self.buffer[Self::BAND..end]
    }

    /// All of it, as a faulty callee would reach it.
    pub fn everything(&mut self) -> &mut [f32] {
        &mut self.buffer
    }

    /// The middle, if both bands are as they were.
    pub fn finish(self) -> Result<Vec<f32>, Mismatch> {
        let end = self.buffer.len() - Self::BAND;
        judge(2 * Self::BAND, |mismatch| {
            for (index, value) in self.buffer.iter().enumerate() {
                let in_band = index < Self::BAND || index >= end;
                if in_band && !value.is_marker() {
                    let place = index as isize - Self::BAND as isize;
                    mismatch.add(format!("[{place}] written outside the output: {value:e}"));
                }
            }
        })?;
        Ok(self.buffer[Self::BAND..end].to_vec())
    }
}

/// Fails the test with what was found.
#[track_caller]
pub fn must<T>(verdict: Result<T, Mismatch>) -> T {
    verdict.unwrap_or_else(|mismatch| panic!("{mismatch}"))
}
