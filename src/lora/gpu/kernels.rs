//! The kernels of shrink and expand: which variants exist, and what each is told.

use minijinja::{Value, context};

use super::plan::{BLOCK, CHAIN, Family, LANES};
use crate::error::Result;
use crate::kernel::{Kernel, kernels, shared};
use crate::lora::factors::MAX_RANK;
use crate::lora::pool::{DESCRIPTOR_WORDS, MOST_PROJECTIONS};
use crate::lora::values::Precision;
use crate::tile::choice::shape::{Combine, TileShape};

shared! {
    struct ShrinkParams {
        /// Features of x, and elements from row to row and before the first.
        inputs: u32,
        x_stride: u32,
        x_first: u32,
        /// Blocks of all features, and of one plane.
        blocks: u32,
        blocks_per_plane: u32,
        /// Groups of rank vectors that lie along x beside the planes, where vectors are not tiles.
        rank_groups: u32,
        /// The chunks in the tables, how many, and how many lie along y.
        first_chunk: u32,
        chunks: u32,
        chunks_across: u32,
        /// Positions of the batch, where their rows begin in the tables, and values from position to position.
        positions: u32,
        rows_at: u32,
        stride: u32,
        /// The group of modules among all groups, its slab, and the pages' logarithm.
        group: u32,
        groups: u32,
        slab: u32,
        page_shift: u32,
        /// In the tables: the adapter of each position, the positions in the order of the rows, the adapters in use, and
        /// how many these are.
        slots_at: u32,
        by_row_at: u32,
        used_at: u32,
        used: u32,
    }

    struct ExpandParams {
        /// Rounds of sums in what shrink made, positions of the batch, and values from position to position.
        planes: u32,
        positions: u32,
        stride: u32,
        /// The chunks in the tables, how many, and how many lie along y.
        first_chunk: u32,
        chunks: u32,
        chunks_across: u32,
        /// In the tables: row, scale and adapter of each position, and the positions in the order of the rows.
        rows_at: u32,
        scales_at: u32,
        slots_at: u32,
        by_row_at: u32,
        /// The group of modules among all groups, its slab, and the pages' logarithm.
        group: u32,
        groups: u32,
        slab: u32,
        page_shift: u32,
        /// Projections of the group.
        projections: u32,
        padding: u32,
        /// For each projection: the tile of columns that follows its last, its first element in y, elements from row to
        /// row, columns.
        targets: [[u32; 4]; MOST_PROJECTIONS],
    }
}

/// A kernel of this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// Shrink in a family, with so many rank vectors in a tile.
    Shrink(Family, u32, Layout),
    /// Expand in a family.
    Expand(Family, Layout),
}

impl Variant {
    /// Its text.
    pub(crate) fn kernel(&self) -> Result<Kernel> {
        match *self {
            Self::Shrink(family, columns, layout) => shrink_kernel(family, columns, layout),
            Self::Expand(family, layout) => expand_kernel(family, layout),
        }
    }
}

/// What of a buffer's layout a kernel is specialised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Layout {
    /// Type of the activations.
    pub precision: Precision,
    /// Whether each row begins where whole vectors do: at a multiple of [`X_VECTOR`] or [`Y_VECTOR`] elements.
    pub is_vector: bool,
    /// Whether weights have 32 bits, or 16.
    pub has_wide_weights: bool,
    /// Whether the kernel counts the words that it reads.
    pub is_counted: bool,
}

/// Elements that shrink reads of a row at once.
pub(crate) const X_VECTOR: u64 = 8;
/// Elements that expand reads and writes of a row at once.
pub(crate) const Y_VECTOR: u64 = 4;
/// Values of rank vectors that the stream kernel of expand keeps in workgroup memory.
const SPAN: u32 = 64;
/// Invocations of the stream kernel of expand, each with four columns.
const EXPAND_LANES: u32 = 128;

impl Layout {
    /// Every layout.
    #[cfg(feature = "test-hooks")]
    fn all() -> impl Iterator<Item = Self> {
        Precision::ALL.into_iter().flat_map(|precision| {
            (0..8).map(move |bits| {
                let [is_vector, has_wide_weights, is_counted] = [0, 1, 2].map(|bit| bits >> bit & 1 == 1);
                Self { precision, is_vector, has_wide_weights, is_counted }
            })
        })
    }

    /// What the templates need beside the shape; `vector` is the elements that a vector of weights has.
    fn context(&self, vector: u64, shape: Value) -> Value {
        let word = |is_vector: bool, precision: Precision, elements: u64| match (is_vector, precision) {
            (true, Precision::F32) => "vec4<f32>",
            (true, _) if elements == 8 => "vec4<u32>",
            (true, _) => "vec2<u32>",
            (false, Precision::F32) => "f32",
            (false, _) => "u32",
        };
        let weights = if self.has_wide_weights { Precision::F32 } else { Precision::F16 };
        let name = self.precision.name();
        context! {
            descriptor_words => DESCRIPTOR_WORDS,
            chain => CHAIN,
            block => BLOCK,
            lanes => LANES,
            weight_vector => vector,
            weight_bits => if self.has_wide_weights { 32 } else { 16 },
            weight_word => word(true, weights, vector),
            x_type => name,
            x_is_vector => self.is_vector,
            x_word => word(self.is_vector, self.precision, vector),
            y_type => name,
            y_is_vector => self.is_vector,
            y_word => word(self.is_vector, self.precision, vector),
            counted => self.is_counted,
            ..shape
        }
    }
}

/// Columns of y that one workgroup of expand owns.
pub(crate) fn expand_columns(family: Family) -> u32 {
    match family {
        Family::Tile(_) | Family::Dense(_) => 256,
        Family::Stream(_) | Family::Routed => 4 * EXPAND_LANES,
    }
}

/// The families of shrink that plans choose, with the rank vectors in a tile.
#[cfg(feature = "test-hooks")]
pub(crate) const SHRINKS: [(Family, u32); 10] = [
    (Family::Stream(1), 32),
    (Family::Stream(super::plan::STREAM_ROWS as u32), 32),
    (Family::Tile(32), 32),
    (Family::Tile(32), 64),
    (Family::Tile(64), 32),
    (Family::Tile(64), 64),
    (Family::Dense(32), 32),
    (Family::Dense(32), 64),
    (Family::Dense(64), 32),
    (Family::Dense(64), 64),
];
/// The families of expand that plans choose.
#[cfg(feature = "test-hooks")]
pub(crate) const EXPANDS: [Family; 4] =
    [Family::Routed, Family::Stream(super::plan::STREAM_ROWS as u32), Family::Tile(32), Family::Tile(64)];

kernels! {
    /// Shrink in `family`, whose tiles have `columns` rank vectors.
    fn shrink_kernel(family: Family, columns: u32, layout: Layout)
    for [(family, columns) in SHRINKS, layout in Layout::all()] {
        let stream = |rows: u32| {
            let context = context! { rows => rows, ranks => if rows == 1 { 16 } else { 8 } };
            Kernel::render("lora/shrink.wgsl", &[ShrinkParams::WGSL], layout.context(X_VECTOR, context))
        };
        let (rows, is_dense) = match family {
            Family::Stream(rows) => return stream(rows),
            Family::Routed => return stream(1),
            Family::Tile(rows) => (rows, false),
            Family::Dense(rows) => (rows, true),
        };
        // Long steps, of two chains, where the panels stay within the 16 KiB that every device has.
        let is_long = columns == 32 && !(is_dense && rows == 64);
        let shape = TileShape::plain(rows, columns, 4, 4, if is_long { 2 * CHAIN } else { CHAIN });
        let context = context! {
            stage => "lora/stage_shrink.wgsl",
            chunk_steps => 1,
            fold_every => CHAIN,
            is_dense,
            ..shape.context(Combine::Dot)
        };
        Kernel::render("lora/shrink_tile.wgsl", &[ShrinkParams::WGSL], layout.context(X_VECTOR, context))
    }

    /// Expand in `family`.
    fn expand_kernel(family: Family, layout: Layout) for [family in EXPANDS, layout in Layout::all()] {
        let stream = |rows: u32, is_routed: bool| {
            let context = context! { rows, is_routed, span => SPAN, invocations => EXPAND_LANES };
            Kernel::render("lora/expand.wgsl", &[ExpandParams::WGSL], layout.context(Y_VECTOR, context))
        };
        let shape = match family {
            Family::Routed => return stream(1, true),
            Family::Stream(rows) => return stream(rows, false),
            // 256 invocations, with as many values each as rows ask for.
            Family::Tile(rows) | Family::Dense(rows) => {
                TileShape::plain(rows, expand_columns(family), rows / 8, 8, 8)
            }
        };
        let context = context! {
            stage => "lora/stage_expand.wgsl",
            most_rank => MAX_RANK,
            chunk_steps => 0,
            ..shape.context(Combine::Dot)
        };
        Kernel::render("lora/expand_tile.wgsl", &[ExpandParams::WGSL], layout.context(Y_VECTOR, context))
    }
}
