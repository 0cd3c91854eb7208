//! Rank vectors ready for use: each is a list of pieces that lie anywhere in one list of values.

use std::sync::Arc;

use super::factors::{Factors, Side};
use super::values::{Precision, Values, with_values};

/// The rank vectors of one side of one update: the rows of A, or the columns of B.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    /// How many vectors.
    pub rank: usize,
    /// Elements of each.
    pub width: usize,
    /// Elements of a piece; it divides the width.
    pub piece: usize,
    /// Where each piece begins in `values`: `[rank, width / piece]`.
    pub starts: Vec<usize>,
    /// What the pieces lie in.
    pub values: Held,
}

/// Values of one side alone, or those of shards that several sides share.
#[derive(Debug, Clone)]
pub(crate) enum Held {
    /// Owned.
    Own(Arc<Values>),
    /// Shared.
    Shared(Arc<super::factors::Shards>),
}

impl Held {
    pub(crate) fn values(&self) -> &Values {
        match self {
            Self::Own(values) => values,
            Self::Shared(shards) => shards.values(),
        }
    }
}

impl Rows {
    /// The rows of A and the columns of B.
    pub(crate) fn of(factors: &Factors) -> [Self; 2] {
        let rank = factors.rank();
        [
            Self::of_side(&factors.a, rank, factors.inputs()),
            Self::of_side(&factors.b, rank, factors.outputs()),
        ]
    }

    fn of_side(side: &Side, rank: usize, width: usize) -> Self {
        let plain = |values: Arc<Values>| {
            let starts = (0..rank).map(|i| i * width).collect();
            Self { rank, width, piece: width, starts, values: Held::Own(values) }
        };
        match side {
            Side::ByRank(values) => plain(Arc::clone(values)),
            Side::ByFeature(values) => plain(Arc::new(transposed(values, rank, width))),
            Side::Shards { pool, index } => {
                let starts = index.iter().map(|&shard| shard as usize * pool.length()).collect();
                Self { rank, width, piece: pool.length(), starts, values: Held::Shared(Arc::clone(pool)) }
            }
        }
    }

    /// The type of the elements.
    pub(crate) fn precision(&self) -> Precision {
        self.values.values().precision()
    }
}

/// `[width, rank]` as `[rank, width]`, in blocks that stay in cache.
fn transposed(values: &Values, rank: usize, width: usize) -> Values {
    fn all<T: super::values::Scalar>(values: &[T], rank: usize, width: usize) -> Values {
        const BLOCK: usize = 64;
        let mut turned = vec![T::narrow(0.0); values.len()];
        for block in (0..width).step_by(BLOCK) {
            let end = width.min(block + BLOCK);
            for i in 0..rank {
                for j in block..end {
                    turned[i * width + j] = values[j * rank + i];
                }
            }
        }
        Values::new(turned)
    }
    with_values!(values, values => all(values, rank, width))
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn columns_of_b_become_vectors() {
        for (rank, outputs) in [(1, 1), (3, 200), (64, 65), (0, 5)] {
            let a = Array2::<f32>::zeros((rank, 2));
            let b = Array2::from_shape_fn((outputs, rank), |(j, i)| (j * 1000 + i) as f32);
            let [_, rows] = Rows::of(&Factors::new(a.view(), b.view(), 1.0).unwrap());
            assert_eq!((rows.rank, rows.width, rows.piece), (rank, outputs, outputs));
            for i in 0..rank {
                for j in 0..outputs {
                    assert_eq!(rows.values.values().get(rows.starts[i] + j), b[(j, i)]);
                }
            }
        }
    }
}
