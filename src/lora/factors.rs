//! The two factors of one low-rank update, plain or assembled from shared shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::ArrayView2;

use super::values::{Precision, Scalar, Values};
use crate::error::{Error, Result};
use crate::memory::collected;

/// Largest rank that is accepted.
pub const MAX_RANK: usize = 512;

/// One low-rank update of a linear map from `inputs` to `outputs` features:
///
/// ```text
/// y += scale * (x A^T) B^T        A [rank, inputs]   B [outputs, rank]
/// ```
///
/// Rank 0 updates nothing. (Hu et al., *LoRA: low-rank adaptation of large language models*, ICLR 2022.)
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    rank: usize,
    inputs: usize,
    outputs: usize,
    pub(crate) a: Side,
    pub(crate) b: Side,
    scale: f32,
}

/// Where the rank vectors of A (its rows) or of B (its columns) come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Side {
    /// `[rank, width]`: A as PEFT stores it.
    ByRank(Arc<Values>),
    /// `[width, rank]`: B as PEFT stores it.
    ByFeature(Arc<Values>),
    /// Rank vector `i` is the shards `index[i * n + j]`, j = 0 .. n - 1, end to end.
    Shards {
        /// The shards.
        pool: Arc<Shards>,
        /// `[rank, n]`.
        index: Vec<u32>,
    },
}

/// Pieces of rank vectors that several adapters and layers share: a pool of *Mixture of Shards* (Wang et al., ICLR
/// 2025), public and private shards in one list.
#[derive(Debug, Clone, PartialEq)]
pub struct Shards {
    length: usize,
    values: Values,
}

impl Shards {
    /// `values` holds shards of `length` elements each, end to end.
    ///
    /// # Errors
    /// [`Error::Parameter`] for length 0, [`Error::Shape`] where the values are not whole shards,
    /// [`Error::Value`] for NaN and infinity.
    pub fn new(length: usize, values: Values) -> Result<Self> {
        if length == 0 {
            return Err(Error::parameter("length", "1 or more", 0));
        }
        if !values.len().is_multiple_of(length) {
            let got = format!("{} values", values.len());
            return Err(Error::shape("shards", format!("whole shards of {length} values"), got));
        }
        check_finite("shards", &values, length)?;
        Ok(Self { length, values })
    }

    /// Elements of one shard.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Number of shards.
    pub fn count(&self) -> usize {
        self.values.len() / self.length
    }

    /// All shards, end to end.
    pub fn values(&self) -> &Values {
        &self.values
    }
}

fn check_finite(argument: &'static str, values: &Values, columns: usize) -> Result<()> {
    match values.first_not_finite() {
        None => Ok(()),
        Some(at) => Err(Error::Value {
            argument,
            row: at / columns,
            column: at % columns,
            expected: "a finite number",
            got: f64::from(values.get(at)),
        }),
    }
}

impl Side {
    /// Element `feature` of rank vector `rank`.
    pub(crate) fn value(&self, rank: usize, feature: usize, ranks: usize, width: usize) -> f32 {
        match self {
            Self::ByRank(values) => values.get(rank * width + feature),
            Self::ByFeature(values) => values.get(feature * ranks + rank),
            Self::Shards { pool, index } => {
                let shard = index[rank * (width / pool.length) + feature / pool.length] as usize;
                pool.values.get(shard * pool.length + feature % pool.length)
            }
        }
    }

    /// The type of its elements.
    pub(crate) fn precision(&self) -> Precision {
        match self {
            Self::ByRank(values) | Self::ByFeature(values) => values.precision(),
            Self::Shards { pool, .. } => pool.values.precision(),
        }
    }

    fn assembled(&self, ranks: usize, width: usize) -> Values {
        match self {
            Self::Shards { pool, index } => {
                let per_row = width / pool.length;
                let start = |at: usize| index[at] as usize * pool.length;
                let places = (0..ranks * per_row).flat_map(|at| start(at)..start(at) + pool.length);
                pool.values.gather(places)
            }
            Self::ByRank(values) => Values::clone(values),
            Self::ByFeature(values) => {
                values.gather((0..ranks).flat_map(|i| (0..width).map(move |j| j * ranks + i)))
            }
        }
    }
}

impl Factors {
    /// From A `[rank, inputs]`, B `[outputs, rank]` and the scale (alpha / rank, say).
    ///
    /// ```
    /// use ndarray::array;
    /// let a = array![[1.0_f32, 2.0, 3.0]];
    /// let b = array![[1.0_f32], [0.5]];
    /// let factors = tilefold::lora::Factors::new(a.view(), b.view(), 2.0)?;
    /// assert_eq!((factors.rank(), factors.inputs(), factors.outputs()), (1, 3, 2));
    /// # Ok::<(), tilefold::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] where the ranks disagree, [`Error::Parameter`] for a rank above [`MAX_RANK`], no inputs or
    /// outputs, or a scale that is not finite, [`Error::Value`] for NaN and infinity, [`Error::TooLarge`] beyond the memory.
    pub fn new<T: Scalar>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>, scale: f32) -> Result<Self> {
        if a.nrows() != b.ncols() {
            let expected = format!("{} columns, the rows of A", a.nrows());
            return Err(Error::shape("B", expected, format!("{} columns", b.ncols())));
        }
        let sizes = Sizes { rank: a.nrows(), inputs: a.ncols(), outputs: b.nrows() };
        let values =
            |name: &str, array: ArrayView2<'_, T>| Ok(Values::new(collected(name, array.iter().copied())?));
        Self::from_values(sizes, values("a copy of A", a)?, values("a copy of B", b)?, scale)
    }

    /// From row-major values: A `[rank, inputs]`, B `[outputs, rank]`, of any types.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_values(sizes: Sizes, a: Values, b: Values, scale: f32) -> Result<Self> {
        sizes.check()?;
        for (name, values, width) in [("A", &a, sizes.inputs), ("B", &b, sizes.outputs)] {
            if sizes.rank.checked_mul(width) != Some(values.len()) {
                let expected = format!("{} x {width} values", sizes.rank);
                return Err(Error::shape(name, expected, format!("{} values", values.len())));
            }
        }
        check_finite("A", &a, sizes.inputs)?;
        check_finite("B", &b, sizes.rank.max(1))?;
        Self::checked(sizes, Side::ByRank(Arc::new(a)), Side::ByFeature(Arc::new(b)), scale)
    }

    /// From shards: row `i` of A is the shards `a_index[i, ..]` end to end, column `i` of B the shards
    /// `b_index[i, ..]`. The shards stay shared: nothing is expanded.
    ///
    /// # Errors
    /// [`Error::Shape`] where the tables disagree in rank, [`Error::Parameter`] for an index beyond the shards.
    pub fn from_shards(
        a: &Arc<Shards>,
        a_index: ArrayView2<'_, u32>,
        b: &Arc<Shards>,
        b_index: ArrayView2<'_, u32>,
        scale: f32,
    ) -> Result<Self> {
        if a_index.nrows() != b_index.nrows() {
            let expected = format!("{} rows, those of a_index", a_index.nrows());
            return Err(Error::shape("b_index", expected, format!("{} rows", b_index.nrows())));
        }
        let side = |name, pool: &Arc<Shards>, index: ArrayView2<'_, u32>| {
            let index: Vec<u32> = collected(name, index.iter().copied())?;
            match index.iter().find(|&&shard| shard as usize >= pool.count()) {
                Some(shard) => Err(Error::parameter(name, format!("shards below {}", pool.count()), shard)),
                None => Ok(Side::Shards { pool: Arc::clone(pool), index }),
            }
        };
        let sizes = Sizes {
            rank: a_index.nrows(),
            inputs: a_index.ncols().saturating_mul(a.length),
            outputs: b_index.ncols().saturating_mul(b.length),
        };
        sizes.check()?;
        Self::checked(sizes, side("a_index", a, a_index)?, side("b_index", b, b_index)?, scale)
    }

    fn checked(sizes: Sizes, a: Side, b: Side, scale: f32) -> Result<Self> {
        if !scale.is_finite() {
            return Err(Error::parameter("scale", "a finite number", scale));
        }
        let Sizes { rank, inputs, outputs } = sizes;
        Ok(Self { rank, inputs, outputs, a, b, scale })
    }

    /// Rows of A and columns of B.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Columns of A.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Rows of B.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What the product is multiplied by.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Whether the rank vectors are assembled from shared shards.
    pub fn is_sharded(&self) -> bool {
        matches!(self.a, Side::Shards { .. }) || matches!(self.b, Side::Shards { .. })
    }

    /// Elements of one shard of A and of B, where they have shards.
    pub(crate) fn shard_lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.pools().map(|pool| pool.length)
    }

    /// Elements of all shards that A and B take theirs from.
    pub(crate) fn shard_elements(&self) -> usize {
        self.pools().map(|pool| pool.values.len()).sum()
    }

    fn pools(&self) -> impl Iterator<Item = &Shards> + '_ {
        [&self.a, &self.b].into_iter().filter_map(|side| match side {
            Side::Shards { pool, .. } => Some(&**pool),
            _ => None,
        })
    }

    /// The types of A and B.
    pub fn precisions(&self) -> [Precision; 2] {
        [self.a.precision(), self.b.precision()]
    }

    /// A`[rank, input]`.
    pub fn a(&self, rank: usize, input: usize) -> f32 {
        self.a.value(rank, input, self.rank, self.inputs)
    }

    /// B`[output, rank]`.
    pub fn b(&self, output: usize, rank: usize) -> f32 {
        self.b.value(rank, output, self.rank, self.outputs)
    }

    /// The same update with its weights in another type: the nearest values, ties to even. Shards stay as they are.
    ///
    /// # Errors
    /// [`Error::Value`] for a weight whose nearest value is infinite: `f16` ends at 65504, `bf16` at 3.39e38.
    pub fn cast(&self, precision: Precision) -> Result<Self> {
        let cast = |argument, values: &Values, columns: usize| {
            let cast = values.cast(precision);
            match cast.first_not_finite() {
                None => Ok(Arc::new(cast)),
                Some(at) => Err(Error::Value {
                    argument,
                    row: at / columns,
                    column: at % columns,
                    expected: precision.held(),
                    got: f64::from(values.get(at)),
                }),
            }
        };
        let side = |argument, side: &Side, width: usize| {
            Ok(match side {
                Side::ByRank(values) => Side::ByRank(cast(argument, values, width)?),
                Side::ByFeature(values) => Side::ByFeature(cast(argument, values, self.rank.max(1))?),
                Side::Shards { .. } => side.clone(),
            })
        };
        let (a, b) = (side("A", &self.a, self.inputs)?, side("B", &self.b, self.outputs)?);
        Ok(Self { a, b, ..*self })
    }

    /// The same update with plain factors: what shards assemble to.
    pub fn assembled(&self) -> Self {
        let a = Side::ByRank(Arc::new(self.a.assembled(self.rank, self.inputs)));
        let b = Side::ByRank(Arc::new(self.b.assembled(self.rank, self.outputs)));
        Self { a, b, ..*self }
    }
}

/// Sizes of one low-rank update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// Columns of A.
    pub inputs: usize,
    /// Rows of B.
    pub outputs: usize,
}

impl Sizes {
    /// Refuses what kernels cannot count.
    pub(crate) fn check(self) -> Result<()> {
        if self.rank > MAX_RANK {
            return Err(Error::parameter("rank", format!("0 to {MAX_RANK}"), self.rank));
        }
        for (name, size) in [("inputs", self.inputs), ("outputs", self.outputs)] {
            // Kernels count features in 32 bits.
            if size == 0 || size > 1 << 24 {
                return Err(Error::parameter(name, format!("1 to {}", 1 << 24), size));
            }
        }
        Ok(())
    }
}

/// The updates of one adapter by the name of the module that each applies to
/// (`model.layers.0.self_attn.q_proj`). Modules that it does not name are left as they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Adapter {
    /// Updates by module.
    pub modules: BTreeMap<String, Factors>,
}

impl Adapter {
    /// An adapter with one update for one module.
    pub fn single(module: impl Into<String>, factors: Factors) -> Self {
        Self { modules: BTreeMap::from([(module.into(), factors)]) }
    }

    /// The same adapter with its weights in another type, as [`Factors::cast`].
    ///
    /// # Errors
    /// [`Error::Parameter`] with the module and the weight where that would make it infinite.
    pub fn cast(&self, precision: Precision) -> Result<Self> {
        let cast = |(name, factors): (&String, &Factors)| match factors.cast(precision) {
            Err(Error::Value { argument, row, column, expected, got }) => {
                let got = format!("{got:?} at {argument}[{row}, {column}] of {name:?}");
                Err(Error::parameter("adapter", expected, got))
            }
            cast => Ok((name.clone(), cast?)),
        };
        Ok(Self { modules: self.modules.iter().map(cast).collect::<Result<_>>()? })
    }
}
