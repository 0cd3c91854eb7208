//! The kernels of shrink and expand: which variants exist, their text, arguments and parameter structs.

use bytemuck::{Pod, Zeroable};
use minijinja::{Value, context};

use super::plan::{BLOCK, CHAIN, Family, LANES};
use crate::device::{Binding, Kernel};
use crate::error::Result;
use crate::lora::factors::MAX_RANK;
use crate::lora::pool::{DESCRIPTOR_WORDS, MOST_PROJECTIONS};
use crate::lora::values::Precision;
use crate::tile::choice::shape::{Combine, TileShape};
use crate::tile::product::render::render;

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct ShrinkParams {
    pub inputs: u32,
    pub x_stride: u32,
    pub x_first: u32,
    pub blocks: u32,
    pub blocks_per_plane: u32,
    pub rank_groups: u32,
    pub first_chunk: u32,
    pub chunks: u32,
    pub chunks_across: u32,
    pub positions: u32,
    pub rows_at: u32,
    pub stride: u32,
    pub group: u32,
    pub groups: u32,
    pub slab: u32,
    pub page_shift: u32,
    pub slots_at: u32,
    pub by_row_at: u32,
    pub used_at: u32,
    pub used: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
pub(crate) struct ExpandParams {
    pub planes: u32,
    pub positions: u32,
    pub stride: u32,
    pub first_chunk: u32,
    pub chunks: u32,
    pub chunks_across: u32,
    pub rows_at: u32,
    pub scales_at: u32,
    pub slots_at: u32,
    pub by_row_at: u32,
    pub group: u32,
    pub groups: u32,
    pub slab: u32,
    pub page_shift: u32,
    pub projections: u32,
    pub padding: u32,
    pub targets: [[u32; 4]; MOST_PROJECTIONS],
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
        match self {
            Self::Shrink(family, columns, layout) => shrink_kernel(*family, *columns, layout),
            Self::Expand(family, layout) => expand_kernel(*family, layout),
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

const PLAIN: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::Uniform,
];
const COUNTED: &[Binding] = &[
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::Read,
    Binding::ReadWrite,
    Binding::ReadWrite,
    Binding::Uniform,
];

impl Layout {
    fn bindings(&self) -> &'static [Binding] {
        if self.is_counted { COUNTED } else { PLAIN }
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
            most_projections => MOST_PROJECTIONS,
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

/// Shrink in `family`, whose tiles have `columns` rank vectors.
fn shrink_kernel(family: Family, columns: u32, layout: &Layout) -> Result<Kernel> {
    let bindings = layout.bindings();
    let stream = |rows: u32| {
        let context = context! { rows => rows, ranks => if rows == 1 { 16 } else { 8 } };
        let source = render("lora/shrink.wgsl", layout.context(X_VECTOR, context))?;
        Ok(Kernel { name: "shrink", entry: "shrink", source, bindings })
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
    let source = render("lora/shrink_tile.wgsl", layout.context(X_VECTOR, context))?;
    Ok(Kernel { name: "shrink_tile", entry: "shrink_tile", source, bindings })
}

/// Expand in `family`.
fn expand_kernel(family: Family, layout: &Layout) -> Result<Kernel> {
    let bindings = layout.bindings();
    let stream = |rows: u32, is_routed: bool| {
        let context = context! { rows, is_routed, span => SPAN, invocations => EXPAND_LANES };
        let source = render("lora/expand.wgsl", layout.context(Y_VECTOR, context))?;
        Ok(Kernel { name: "expand", entry: "expand", source, bindings })
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
    let source = render("lora/expand_tile.wgsl", layout.context(Y_VECTOR, context))?;
    Ok(Kernel { name: "expand_tile", entry: "expand_tile", source, bindings })
}

/// Every variant that a plan can choose.
#[cfg(feature = "test-hooks")]
pub(crate) fn kernels() -> Result<Vec<(String, Kernel)>> {
    let mut all = Vec::new();
    let rows = super::plan::STREAM_ROWS as u32;
    let shrinks = [
        (Family::Stream(1), 32),
        (Family::Stream(rows), 32),
        (Family::Tile(32), 32),
        (Family::Tile(32), 64),
        (Family::Tile(64), 32),
        (Family::Tile(64), 64),
        (Family::Dense(32), 32),
        (Family::Dense(32), 64),
        (Family::Dense(64), 32),
        (Family::Dense(64), 64),
    ];
    let expands = [Family::Routed, Family::Stream(rows), Family::Tile(32), Family::Tile(64)];
    for precision in Precision::ALL {
        for bits in 0..8 {
            let is = |bit: u32| bits >> bit & 1 == 1;
            let layout = Layout { precision, is_vector: is(0), has_wide_weights: is(1), is_counted: is(2) };
            let about = format!(
                "{}{}{}{}",
                precision.name(),
                if is(0) { ", vectors" } else { "" },
                if is(1) { ", wide weights" } else { "" },
                if is(2) { ", counted" } else { "" },
            );
            for (family, columns) in shrinks {
                all.push((format!("{family:?} {columns} {about}"), shrink_kernel(family, columns, &layout)?));
            }
            for family in expands {
                all.push((format!("{family:?} {about}"), expand_kernel(family, &layout)?));
            }
        }
    }
    Ok(all)
}
