//! The GPU tile of one candidate: how it is cut among invocations, how it reads, in which order it adds, and what it
//! asks of a device. Which candidates there are is said in `family.rs`, which one a problem gets in `choose.rs`.

use std::fmt;

use minijinja::{Value, context};

use crate::device::Limits;

/// Features of one chain of additions, for shapes that sum in chunks.
pub(crate) const CHUNK: u32 = 64;
/// Columns of the widest tile: columns beyond the last are padded to it.
pub(crate) const WIDEST: u32 = 128;
/// Most 32-bit registers that an invocation of a candidate may want, by [`TileShape::registers`]: with more, compilers
/// spill, or a multiprocessor holds too few workgroups to hide its loads.
pub(crate) const MOST_REGISTERS: u32 = 160;

/// What a tile makes of the features of a pair of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    /// Sum of `x * y`.
    Dot,
    /// Sum of `|x - y|`.
    Manhattan,
    /// Largest `|x - y|`.
    Chebyshev,
}

impl Combine {
    /// Its name in the templates.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Manhattan => "manhattan",
            Self::Chebyshev => "chebyshev",
        }
    }
}

/// In which order a tile adds the products of a pair of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sums {
    /// One chain over the whole depth.
    Chain,
    /// One chain for each [`CHUNK`] features, the chunks added in order. The totals need as many registers as the
    /// chains.
    Chunks,
    /// The depth is at most one step: one chain, added to 0, which is what [`Sums::Chunks`] does with it.
    Whole,
}

/// How a tile reads its operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Loads {
    /// One feature of four rows at a time.
    Scalars,
    /// Four features of four rows at a time: the depth is a multiple of 4.
    Vectors,
}

/// One candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TileShape {
    /// Rows of the tile.
    pub rows: u32,
    /// Columns of the tile.
    pub columns: u32,
    /// Rows per invocation, a multiple of 4.
    pub invocation_rows: u32,
    /// Columns per invocation, a multiple of 4.
    pub invocation_columns: u32,
    /// Depth per step of the shared panels.
    pub depth_step: u32,
    /// The order of its sums.
    pub sums: Sums,
    /// How it reads.
    pub loads: Loads,
    /// Whether the next step is read into registers before this one is computed.
    pub prefetch: bool,
    /// Row tiles that take turns under one column tile where values are stored: neighbours in the order of workgroups
    /// then share their operands in the device's cache. 1: all columns of a row tile, one after the other.
    pub group_rows: u32,
}

impl TileShape {
    /// A tile that reads scalars and adds in chunks.
    pub const fn plain(
        rows: u32,
        columns: u32,
        invocation_rows: u32,
        invocation_columns: u32,
        depth_step: u32,
    ) -> Self {
        let (sums, loads) = (Sums::Chunks, Loads::Scalars);
        Self {
            rows,
            columns,
            invocation_rows,
            invocation_columns,
            depth_step,
            sums,
            loads,
            prefetch: false,
            group_rows: 1,
        }
    }

    /// Pairs of one invocation.
    pub const fn pairs(&self) -> u32 {
        self.invocation_rows * self.invocation_columns
    }

    /// Invocations that share a row.
    pub const fn threads_across(&self) -> u32 {
        self.columns / self.invocation_columns
    }

    /// Invocations of a workgroup.
    pub const fn invocations(&self) -> u32 {
        self.rows / self.invocation_rows * self.threads_across()
    }

    /// Vectors of four rows per depth in the shared panel of x, one more than needed: neighbouring depths then lie in
    /// different banks.
    pub const fn x_stride(&self) -> u32 {
        self.rows / 4 + 1
    }

    /// As [`Self::x_stride`] for y.
    pub const fn y_stride(&self) -> u32 {
        self.columns / 4 + 1
    }

    /// Reads of four rows that lie beside each other in one step: depths, or vectors of four of them.
    pub const fn depth_slots(&self) -> u32 {
        match self.loads {
            Loads::Scalars => self.depth_step,
            Loads::Vectors => self.depth_step / 4,
        }
    }

    const fn x_slots(&self) -> u32 {
        self.rows / 4 * self.depth_slots()
    }

    const fn y_slots(&self) -> u32 {
        self.columns / 4 * self.depth_slots()
    }

    /// Registers that one read fills.
    const fn slot_width(&self) -> u32 {
        match self.loads {
            Loads::Scalars => 1,
            Loads::Vectors => 4,
        }
    }

    /// Whether a value has the same bits as those of every other candidate of which this holds.
    pub const fn keeps_one_order(&self) -> bool {
        !matches!(self.sums, Sums::Chain)
    }

    /// Whether it can work on rows of `depth` features.
    pub fn serves(&self, depth: usize) -> bool {
        let is_aligned = self.loads == Loads::Scalars || depth.is_multiple_of(4);
        is_aligned && (self.sums != Sums::Whole || depth <= self.depth_step as usize)
    }

    /// Longest chain of additions that the product of two rows goes through, for the error bound: at most [`CHUNK`]
    /// within a chunk, then at most one per chunk. (Each starts by adding to 0, and features beyond the end add 0:
    /// neither rounds.) A compiler that does not keep the order of sums may make one chain of them all.
    pub fn chain(&self, depth: usize, keeps_order: bool) -> usize {
        let chunk = CHUNK as usize;
        if self.keeps_one_order() && keeps_order { depth.min(chunk) + depth.div_ceil(chunk) } else { depth }
    }

    /// Bytes of workgroup memory: two panels, and a value pair and a column per invocation.
    pub const fn shared_bytes(&self) -> u32 {
        16 * self.depth_step * (self.x_stride() + self.y_stride()) + 12 * self.invocations()
    }

    /// 32-bit registers that an invocation of the nearest fold wants, estimated: sums, operands of one depth, what is
    /// prefetched, the best of each row, and two dozen for addresses.
    pub const fn registers(&self) -> u32 {
        let totals = if matches!(self.sums, Sums::Chunks) { self.pairs() } else { 0 };
        let slots = (self.x_slots() + self.y_slots()).div_ceil(self.invocations());
        let fetched = if self.prefetch { 4 * self.slot_width() * slots } else { 0 };
        let operands = self.invocation_rows + self.invocation_columns;
        self.pairs() + totals + operands + fetched + 3 * self.invocation_rows + 24
    }

    /// Whether a device can run it.
    pub fn fits(&self, limits: &Limits) -> bool {
        self.invocations() <= limits.max_invocations_per_workgroup
            && self.shared_bytes() <= limits.workgroup_storage_bytes
    }

    /// Reads that the invocations make together per step, x before y: `first` is the slot of invocation 0.
    fn reads(&self, from: u32, to: u32) -> Vec<Value> {
        let (step, edge) = (self.invocations(), self.x_slots());
        let read = |(index, first): (usize, u32)| {
            let last = (first + step).min(to);
            let side = match (first < edge, last > edge) {
                (true, true) => "both",
                (true, false) => "x",
                _ => "y",
            };
            context! { index, first => first - from, from, side, to => if first + step > to { to } else { 0 } }
        };
        (from..to).step_by(step as usize).enumerate().map(read).collect()
    }

    /// The values that the templates need.
    pub fn context(&self, combine: Combine) -> Value {
        let (edge, slots) = (self.x_slots(), self.x_slots() + self.y_slots());
        context! {
            combine => combine.name(),
            stage => "tile/product/stage.wgsl",
            fold_every => 0,
            chunk_steps => if self.sums == Sums::Chunks { CHUNK / self.depth_step } else { 0 },
            chunk => CHUNK,
            is_whole => self.sums == Sums::Whole,
            x_once => false,
            operand => if self.loads == Loads::Vectors { "vec4<f32>" } else { "f32" },
            has_vectors => self.loads == Loads::Vectors,
            prefetch => self.prefetch,
            x_slots => edge,
            depth_slots => self.depth_slots(),
            slot_width => self.slot_width(),
            reads => self.reads(0, slots),
            x_reads => self.reads(0, edge),
            y_reads => self.reads(edge, slots),
            tile_rows => self.rows,
            tile_columns => self.columns,
            invocation_rows => self.invocation_rows,
            invocation_columns => self.invocation_columns,
            depth_step => self.depth_step,
            invocations => self.invocations(),
            threads_across => self.threads_across(),
            x_stride => self.x_stride(),
            y_stride => self.y_stride(),
        }
    }
}

/// `64x64 4x4 d16 chunks vectors prefetch g8`: tile, pairs per invocation, depth step, order of sums, loads. A whole
/// depth has no step of its own in its name: it follows from the depth.
impl fmt::Display for TileShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, invocation_rows, invocation_columns, depth_step, .. } = self;
        write!(f, "{rows}x{columns} {invocation_rows}x{invocation_columns}")?;
        match self.sums {
            Sums::Chain => write!(f, " d{depth_step} chain")?,
            Sums::Chunks => write!(f, " d{depth_step} chunks")?,
            Sums::Whole => f.write_str(" whole")?,
        }
        f.write_str(if self.loads == Loads::Vectors { " vectors" } else { " scalars" })?;
        if self.prefetch {
            f.write_str(" prefetch")?;
        }
        if self.group_rows > 1 {
            write!(f, " g{}", self.group_rows)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_shorten_the_chain() {
        let chunked = TileShape::plain(64, 64, 4, 4, 16);
        let chain = TileShape { sums: Sums::Chain, ..chunked };
        for (depth, longest) in [(1, 2), (63, 64), (64, 65), (65, 66), (128, 66), (784, 64 + 13)] {
            assert_eq!(chunked.chain(depth, true), longest, "{depth}");
            assert_eq!((chunked.chain(depth, false), chain.chain(depth, true)), (depth, depth));
        }
    }

    #[test]
    fn vectors_need_whole_vectors_and_a_whole_depth_one_step() {
        let plain = TileShape::plain(64, 64, 4, 4, 16);
        assert!(plain.serves(1) && plain.serves(1001));
        let vectors = TileShape { loads: Loads::Vectors, ..plain };
        assert!(vectors.serves(4) && vectors.serves(1000) && !vectors.serves(1001));
        let whole = TileShape { sums: Sums::Whole, ..plain };
        assert!(whole.serves(16) && !whole.serves(17));
    }

    /// Every slot of a step is read by one invocation once, and never one beyond the last.
    #[test]
    fn reads_cover_every_slot_once() {
        for (shape, from, to) in [
            (TileShape::plain(64, 64, 4, 4, 16), 0, 512),
            (TileShape::plain(128, 8, 4, 4, 12), 0, 408),
            (TileShape::plain(128, 8, 4, 4, 12), 384, 408),
            (TileShape { loads: Loads::Vectors, ..TileShape::plain(64, 32, 4, 4, 16) }, 0, 96),
        ] {
            assert!(to == shape.x_slots() + shape.y_slots());
            let mut seen = vec![0; to as usize];
            for read in shape.reads(from, to) {
                let number = |name: &str| u32::try_from(read.get_attr(name).unwrap()).unwrap();
                let (first, end) = (number("from") + number("first"), number("to"));
                for slot in (0..shape.invocations()).map(|local| first + local) {
                    if end == 0 || slot < end {
                        seen[slot as usize] += 1;
                        let side = read.get_attr("side").unwrap().to_string();
                        let own = if slot < shape.x_slots() { "x" } else { "y" };
                        assert!(side == "both" || side == own, "{shape}: {slot} {side}");
                    }
                }
            }
            assert!(seen[from as usize..].iter().all(|&times| times == 1), "{shape}: {seen:?}");
        }
    }
}
