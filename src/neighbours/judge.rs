//! Decisions in `f64`: the values that the reference has, bit for bit, of the few candidates that are left.

use super::order::Order;
use super::reference::{Formula, Neighbour};
use crate::data::frame::widen_row;
use crate::data::{ElementType, Points};
use crate::distance::Metric;

/// Candidates whose sums are added side by side: a chain of additions waits for itself, four do not.
const TOGETHER: usize = 4;

/// What measures candidates of one table of points.
pub(super) struct Judge<'a> {
    pub order: Order,
    formula: &'a Formula,
    points: Points<'a>,
    sum: Sum,
}

/// How a value follows from a plain sum, where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sum {
    Squares,
    RootOfSquares,
    Products,
    /// Packed bits that differ.
    Bits,
    /// Their share of those that are set in either row.
    ShareOfBits,
    /// As the reference measures.
    Other,
}

/// What one thread needs.
#[derive(Default)]
pub(super) struct Scratch {
    /// The query in `f64`; where bits are packed, its elements.
    pub query: Vec<f64>,
    /// The elements of a query of packed bits.
    packed: Vec<u32>,
    rows: Vec<f64>,
    /// What was measured.
    pub found: Vec<Neighbour>,
}

impl<'a> Judge<'a> {
    /// A judge of a metric's values between queries of `element` and points.
    ///
    /// The reference divides by a power of two before it squares. Where every difference is a multiple of 2^-149 and
    /// below 2^129, or of whole numbers of 64 bits, that rounds nothing, so plain sums have the same bits. Numbers of bits
    /// are whole.
    pub fn new(formula: &'a Formula, order: Order, points: &'a Points<'_>, element: ElementType) -> Self {
        let is_plain = points.element_type() != ElementType::F64
            && element != ElementType::F64
            && formula.period.is_none();
        let sum = match formula.metric {
            Metric::BitHamming => Sum::Bits,
            Metric::BitJaccard => Sum::ShareOfBits,
            Metric::SquaredEuclidean if is_plain => Sum::Squares,
            Metric::Euclidean if is_plain => Sum::RootOfSquares,
            Metric::InnerProduct if is_plain => Sum::Products,
            _ => Sum::Other,
        };
        Self { order, formula, points: points.view(), sum }
    }

    /// Measures the points `columns` from the query of `scratch`, into its `found`.
    pub fn measure(&self, columns: impl Iterator<Item = u32>, scratch: &mut Scratch) {
        let Scratch { query, packed, rows, found } = scratch;
        found.clear();
        found.extend(columns.map(|index| Neighbour { value: 0.0, index }));
        if matches!(self.sum, Sum::Bits | Sum::ShareOfBits) {
            packed.clear();
            packed.extend(query.iter().map(|&element| element as u32));
            found.iter_mut().for_each(|neighbour| neighbour.value = self.bits(neighbour.index, packed));
            return;
        }
        let depth = query.len();
        rows.resize(TOGETHER * depth, 0.0);
        for group in found.chunks_mut(TOGETHER) {
            for (neighbour, row) in group.iter().zip(rows.chunks_exact_mut(depth)) {
                widen_row(&self.points, neighbour.index as usize, row);
            }
            let values = match self.sum {
                Sum::Squares | Sum::RootOfSquares => sums(query, rows, |x, y| (x - y) * (x - y)),
                Sum::Products => sums(query, rows, |x, y| x * y),
                Sum::Bits | Sum::ShareOfBits | Sum::Other => {
                    for (neighbour, row) in group.iter_mut().zip(rows.chunks_exact(depth)) {
                        neighbour.value = self.formula.value(query, row);
                    }
                    continue;
                }
            };
            for (neighbour, value) in group.iter_mut().zip(values) {
                neighbour.value = if self.sum == Sum::RootOfSquares { value.sqrt() } else { value };
            }
        }
    }

    /// The value of a point and a query of packed bits: bits are counted as whole elements.
    fn bits(&self, point: u32, query: &[u32]) -> f64 {
        let row = point as usize;
        let (only, either) = match &self.points {
            Points::U8(points) => bits_of(points.row(row).iter().map(|&byte| u32::from(byte)), query),
            Points::U32(points) => bits_of(points.row(row).iter().copied(), query),
            // The domain has refused every other type.
            _ => return f64::NAN,
        };
        match self.sum {
            Sum::ShareOfBits if only == 0 => 0.0,
            Sum::ShareOfBits => only as f64 / either as f64,
            _ => only as f64,
        }
    }

    /// Keeps the `count` best of what was measured, best first.
    pub fn keep_best(&self, count: usize, found: &mut Vec<Neighbour>) {
        if found.len() > count {
            found.select_nth_unstable_by(count - 1, |a, b| self.order.compare(a, b));
            found.truncate(count);
        }
        found.sort_unstable_by(|a, b| self.order.compare(a, b));
    }
}

/// How many bits differ, and how many are set in either row.
fn bits_of(row: impl Iterator<Item = u32>, query: &[u32]) -> (u64, u64) {
    row.zip(query).fold((0, 0), |(only, either), (x, y)| {
        (only + u64::from((x ^ y).count_ones()), either + u64::from((x | y).count_ones()))
    })
}

/// For each of [`TOGETHER`] rows the sum of the terms, in the order of features.
fn sums(query: &[f64], rows: &[f64], term: impl Fn(f64, f64) -> f64) -> [f64; TOGETHER] {
    let depth = query.len();
    let mut sums = [0.0; TOGETHER];
    let row = |at: usize| &rows[at * depth..(at + 1) * depth];
    let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
    for ((((&x, &a), &b), &c), &d) in query.iter().zip(a).zip(b).zip(c).zip(d) {
        sums[0] += term(x, a);
        sums[1] += term(x, b);
        sums[2] += term(x, c);
        sums[3] += term(x, d);
    }
    sums
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::distance::Constants;

    /// Also for the largest and smallest `f32`.
    #[test]
    fn plain_sums_have_the_bits_of_the_reference() {
        for scale in [1.0_f32, 1e-38, 1e-45, 3e38] {
            let rows = Array2::from_shape_fn((7, 37), |(row, column)| {
                scale * ((row * 37 + column) as f32 * 1.7).sin() * if column % 5 == 0 { 1e-3 } else { 1.0 }
            });
            let points = Points::from(rows.view());
            for metric in [Metric::SquaredEuclidean, Metric::Euclidean, Metric::InnerProduct] {
                let formula = Formula { metric, constants: Constants::None, period: None };
                let judge = Judge::new(&formula, Order::Ascending, &points, ElementType::F32);
                assert_ne!(judge.sum, Sum::Other);
                let mut scratch =
                    Scratch { query: rows.row(3).mapv(f64::from).to_vec(), ..Scratch::default() };
                judge.measure(0..7, &mut scratch);
                for neighbour in &scratch.found {
                    let row = rows.row(neighbour.index as usize).mapv(f64::from).to_vec();
                    let expected = formula.value(&scratch.query, &row);
                    assert_eq!(neighbour.value.to_bits(), expected.to_bits(), "{metric} {scale}");
                }
            }
        }
    }
}
