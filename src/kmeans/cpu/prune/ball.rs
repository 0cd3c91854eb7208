//! Rows that need a look, label by label: the ball of centroids that may be nearest, and the tile on those alone.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::bounds::{Margin, Moves, Segment, beyond, length_above, moved_away, moved_closer};
use crate::error::Result;
use crate::kmeans::lloyd::Pass;
use crate::kmeans::problem::{Problem, Sums, norm_above, row_square};
use crate::simd::widest;
use crate::tile::bound::f32::{self as bound, Bound};
use crate::tile::nearest::cpu::{NearestTile, Reach, Scratch};
use crate::tile::operands::columns::{Columns, Screen};
use crate::tile::product::cpu::ROW_GROUP;
use crate::tile::product::cpu::panels::{Panels, Values, width};

/// Bytes of a block of rows that go through the tile together: they share a second-level cache with the panels.
const BLOCK_BYTES: usize = 192 * 1024;
/// Most segments whose centroids are measured together.
pub(crate) const GROUP: usize = ROW_GROUP;
/// Rows that need more tiles than one of these, and at most the next, go through the tile together.
const CLASSES: [usize; 4] = [0, 1, 4, 16];

/// What all threads share during one pass.
pub(crate) struct Pruned<'a, 'd> {
    pub problem: &'a Problem<'d>,
    pub book: &'a Columns<'a>,
    pub panels: &'a Panels,
    pub screen: &'a Screen,
    /// For rows as long as any row or any centroid.
    pub bound: Bound,
    pub moves: &'a Moves,
    pub margin: Margin,
    pub recheck: bool,
    /// Rows in doubt, ordered by label.
    pub order: &'a [u32],
    pub labels: &'a [AtomicU32],
    /// `f32` by bits, as are the lower bounds.
    pub upper: &'a [AtomicU32],
    pub lower: &'a [AtomicU32],
}

impl Pruned<'_, '_> {
    fn upper_of(&self, row: u32) -> f32 {
        f32::from_bits(self.upper[row as usize].load(Relaxed))
    }
}

/// What one thread keeps for its segments.
pub(crate) struct Balls {
    values: Option<Values>,
    centroids: Vec<f32>,
    /// The ball of the segment at hand.
    ball: Ball,
    /// Rows that neither bounds nor their own distance decide.
    kept: Block,
    /// Those of them that go through the tile together.
    chosen: Block,
    /// Rows of any label that meet all centroids.
    open: Block,
    found: Found,
}

/// Rows on their way to the tile.
#[derive(Default)]
struct Block {
    x: Vec<f32>,
    norms: Vec<f32>,
    rows: Vec<u32>,
    labels: Vec<u32>,
    /// On the distance to the centroid of the label.
    upper: Vec<f32>,
    /// How many tiles of the ball hold every centroid that may be nearer.
    tiles: Vec<usize>,
}

/// What the tile says of a block.
struct Found {
    labels: Vec<u32>,
    upper: Vec<f32>,
    lower: Vec<f32>,
}

/// The centroids around the one of a segment's label.
struct Ball {
    label: u32,
    /// Centroids but the label's own: at most their distance from that, and their column; nearest first.
    near: Vec<(f32, u32)>,
    /// Every centroid that is not near is at least this far from the label's.
    limit: f32,
    /// So is every other centroid.
    nearest: f32,
    /// Half of all centroids are near: no larger ball is made, rows that need one meet all centroids.
    is_largest: bool,
    /// The label's own column, then those of `near`.
    columns: Vec<u32>,
    /// The same, packed as far as they were asked for.
    panels: Panels,
}

/// A label's centroid as rows are: its rounding, and what the tile says of that and all centroids.
struct Centre<'a> {
    norm: f32,
    /// The tile's error.
    shared: f32,
    /// At least the distance from the centroid to its rounding.
    residual: f32,
    values: &'a [f32],
}

impl Centre<'_> {
    /// At most the distance from the centroid to one with this value.
    fn distance(&self, value: f32) -> f32 {
        moved_closer(bound::distance_below(self.norm, value, self.shared), self.residual)
    }

    /// A value above which a centroid is at least `reach` from this one.
    fn cut(&self, reach: f32) -> f32 {
        bound::value_beyond(self.norm, moved_away(reach, self.residual), self.shared)
    }

    /// The largest movement of the centroids that may be nearer than `reach`, but for the label's own.
    fn largest_shift(&self, reach: f32, label: u32, moves: &Moves) -> f32 {
        let (cut, label) = (self.cut(reach), label as usize);
        let largest = |columns: Range<usize>| {
            let near = self.values[columns.clone()].iter().zip(&moves.shifts[columns]);
            near.fold(0.0_f32, |largest, (&value, &shift)| {
                largest.max(if value <= cut { shift } else { 0.0 })
            })
        };
        largest(0..label).max(largest(label + 1..self.values.len()))
    }
}

impl Ball {
    fn empty(columns: usize) -> Self {
        let (near, packed, panels) = (Vec::new(), Vec::new(), Panels::empty(columns));
        Self { label: 0, near, limit: 0.0, nearest: 0.0, is_largest: false, columns: packed, panels }
    }

    /// Around the centroid of another label, with nothing in it yet.
    fn move_to(&mut self, label: u32, centre: &Centre) {
        let (before, after) = centre.values.split_at(label as usize);
        let least = before.iter().chain(&after[1..]).fold(f32::MAX, |least, &value| least.min(value));
        (self.label, self.limit, self.nearest, self.is_largest) = (label, 0.0, centre.distance(least), false);
    }

    /// Makes it hold every centroid nearer than `reach`, or half of all.
    fn grow(&mut self, reach: f32, centre: &Centre) {
        let cut = centre.cut(reach);
        self.near.clear();
        for (column, &value) in centre.values.iter().enumerate() {
            if value <= cut && column != self.label as usize {
                self.near.push((value, column as u32));
            }
        }
        let most = centre.values.len() / 2;
        self.limit = reach;
        self.is_largest = self.near.len() > most;
        if self.is_largest {
            let (_, &mut (next, _), _) = self.near.select_nth_unstable_by(most, |a, b| a.0.total_cmp(&b.0));
            self.limit = reach.min(centre.distance(next));
            self.near.truncate(most);
        }
        for near in &mut self.near {
            near.0 = centre.distance(near.0);
        }
        self.near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        self.columns.clear();
        self.columns.push(self.label);
        self.columns.extend(self.near.iter().map(|near| near.1));
        self.panels.clear();
    }

    /// How many tiles hold every centroid nearer than `reach`; `usize::MAX` where the ball does not.
    fn tiles_within(&self, reach: f32) -> usize {
        if reach > self.limit {
            return usize::MAX;
        }
        (1 + self.near.partition_point(|near| near.0 < reach)).div_ceil(width())
    }

    /// Packs the first tiles.
    fn pack(&mut self, tiles: usize, book: &Columns, screen: &Screen) {
        while self.panels.tiles() < tiles {
            let columns = &self.columns[self.panels.tiles() * width()..];
            let count = columns.len().min(width());
            self.panels.push_tile(book, &screen.half_norms, |column| columns[column] as usize, count);
        }
    }
}

impl Balls {
    /// For rows of `columns` features.
    pub fn new(columns: usize) -> Self {
        let rows = block_rows(columns);
        let block = || Block { x: vec![0.0; rows * columns], ..Block::default() };
        Self {
            values: None,
            centroids: Vec::with_capacity(GROUP * columns),
            ball: Ball::empty(columns),
            kept: block(),
            chosen: block(),
            open: block(),
            found: Found { labels: vec![0; rows], upper: vec![0.0; rows], lower: vec![0.0; rows] },
        }
    }

    /// Labels the rows of up to [`GROUP`] segments and brings `sums` up to date.
    pub fn pass(
        &mut self,
        pruned: &Pruned,
        segments: &[Segment],
        scratch: &mut Scratch,
        sums: &mut Sums,
    ) -> Result<Pass> {
        let (book, depth) = (pruned.book, pruned.problem.columns);
        let mut values = self.values.take().unwrap_or_else(|| Values::new(pruned.panels));
        let mut centroids = std::mem::take(&mut self.centroids);
        centroids.clear();
        for segment in segments {
            let start = segment.label as usize * depth;
            centroids.extend_from_slice(&book.rounded[start..start + depth]);
        }
        let mut pass = Pass { products: (segments.len() * book.len()) as u64, ..Pass::default() };
        let apart = values.of(&centroids, pruned.panels, book.len());
        for ((&segment, rounded), values) in segments.iter().zip(centroids.chunks_exact(depth)).zip(apart) {
            let norm = norm_above(row_square(rounded));
            let residual = book.residual_above(segment.label as usize);
            let centre = Centre { norm, shared: pruned.bound.shared(norm), residual, values };
            pass = pass.plus(self.segment(pruned, segment, &centre, scratch, sums)?);
        }
        (self.values, self.centroids) = (Some(values), centroids);
        Ok(pass.plus(self.flush_open(pruned, scratch, sums)))
    }

    fn segment(
        &mut self,
        pruned: &Pruned,
        segment: Segment,
        centre: &Centre,
        scratch: &mut Scratch,
        sums: &mut Sums,
    ) -> Result<Pass> {
        let (margin, depth, label) = (pruned.margin, pruned.problem.columns, segment.label as usize);
        let exact = &pruned.book.exact[label * depth..(label + 1) * depth];
        let rows = &pruned.order[segment.start..segment.end];
        let widest = margin.reach(rows.iter().fold(0.0, |widest, &row| pruned.upper_of(row).max(widest)));
        self.ball.move_to(segment.label, centre);
        let nearest = self.ball.nearest;
        let shift = pruned.moves.of_others(segment.label);
        let shift_near = centre.largest_shift(widest, segment.label, pruned.moves);
        let mut pass = Pass::default();
        for &row in rows {
            let at = row as usize;
            let mut upper = pruned.upper_of(row);
            // Near centroids moved by no more than this, and the others are beyond the reach.
            let before = f32::from_bits(pruned.lower[at].load(Relaxed));
            let lower =
                moved_closer(before, shift).max(moved_closer(before, shift_near).min(beyond(widest, upper)));
            let others = lower.max(beyond(nearest, upper));
            if margin.decides(upper, others) {
                pruned.lower[at].store(others.to_bits(), Relaxed);
                continue;
            }
            let start = self.kept.rows.len() * depth;
            let x = &mut self.kept.x[start..start + depth];
            pruned.problem.load_one(at, x)?;
            upper = upper.min(length_above(square_between(x, exact)));
            pass.products += 1;
            let others = lower.max(beyond(nearest, upper));
            if margin.decides(upper, others) {
                pruned.upper[at].store(upper.to_bits(), Relaxed);
                pruned.lower[at].store(others.to_bits(), Relaxed);
                continue;
            }
            self.kept.push(row, segment.label, pruned.problem.norms[at], upper);
            if start + depth == self.kept.x.len() {
                pass = pass.plus(self.resolve(pruned, centre, scratch, sums));
            }
        }
        Ok(pass.plus(self.resolve(pruned, centre, scratch, sums)))
    }

    /// Labels the rows that were kept, those with balls of a like size together.
    fn resolve(&mut self, pruned: &Pruned, centre: &Centre, scratch: &mut Scratch, sums: &mut Sums) -> Pass {
        let (depth, margin) = (pruned.problem.columns, pruned.margin);
        let widest = margin.reach(self.kept.upper.iter().fold(0.0, |widest, &upper| upper.max(widest)));
        if widest > self.ball.limit && !self.ball.is_largest {
            self.ball.grow(widest, centre);
        }
        let mut pass = Pass::default();
        for index in 0..self.kept.rows.len() {
            let tiles = self.ball.tiles_within(margin.reach(self.kept.upper[index]));
            self.kept.tiles.push(tiles);
            if tiles == usize::MAX {
                self.open.take(&self.kept, index, depth);
                if self.open.rows.len() * depth == self.open.x.len() {
                    pass = pass.plus(self.flush_open(pruned, scratch, sums));
                }
            }
        }
        let mut kept = std::mem::take(&mut self.kept);
        for (at, &least) in CLASSES.iter().enumerate() {
            let most = CLASSES.get(at + 1).copied().unwrap_or(usize::MAX - 1);
            let class = least + 1..=most;
            let count = kept.tiles.iter().filter(|&tiles| class.contains(tiles)).count();
            if count > 0 && count == kept.rows.len() {
                pass = pass.plus(self.flush(pruned, &kept, scratch, sums));
            } else if count > 0 {
                let mut chosen = std::mem::take(&mut self.chosen);
                for index in (0..kept.rows.len()).filter(|&index| class.contains(&kept.tiles[index])) {
                    chosen.take(&kept, index, depth);
                }
                pass = pass.plus(self.flush(pruned, &chosen, scratch, sums));
                chosen.clear();
                self.chosen = chosen;
            }
        }
        kept.clear();
        self.kept = kept;
        pass
    }

    /// Sends the rows that meet all centroids through the tile.
    fn flush_open(&mut self, pruned: &Pruned, scratch: &mut Scratch, sums: &mut Sums) -> Pass {
        let mut open = std::mem::take(&mut self.open);
        let pass = match open.rows.is_empty() {
            true => Pass::default(),
            false => self.flush(pruned, &open, scratch, sums),
        };
        open.clear();
        self.open = open;
        pass
    }

    /// Sends rows through the tile.
    fn flush(&mut self, pruned: &Pruned, block: &Block, scratch: &mut Scratch, sums: &mut Sums) -> Pass {
        let (book, screen, depth) = (pruned.book, pruned.screen, pruned.problem.columns);
        let (count, ball) = (block.rows.len(), &mut self.ball);
        let tiles = block.tiles.iter().fold(0, |most, &tiles| most.max(tiles));
        let all = NearestTile::all(book, pruned.panels, screen, pruned.bound);
        let all = NearestTile { recheck: pruned.recheck, ..all };
        let is_all = tiles == usize::MAX;
        if !is_all {
            ball.pack(tiles, book, screen);
        }
        let tile = match is_all {
            true => all,
            false => NearestTile { panels: &ball.panels, columns: Some(&ball.columns), tiles, ..all },
        };
        let Found { labels, upper, lower } = &mut self.found;
        let reach = Reach { upper: &mut upper[..count], lower: &mut lower[..count] };
        let labelled = tile.label(&block.x, &block.norms, &mut labels[..count], Some(reach), scratch);
        // Whatever was left out is at least this far from the label's centroid.
        let left_out = match is_all {
            true => f32::MAX,
            false => ball.near.get(tile.len() - 1).map_or(ball.limit, |near| near.0.min(ball.limit)),
        };
        let mut changed = 0;
        for (index, &row) in block.rows.iter().enumerate() {
            let (at, label, from) = (row as usize, labels[index], block.labels[index]);
            let before = block.upper[index];
            let lower = lower[index].min(beyond(left_out, before));
            let upper = if label == from { upper[index].min(before) } else { upper[index] };
            pruned.upper[at].store(upper.to_bits(), Relaxed);
            pruned.lower[at].store(lower.to_bits(), Relaxed);
            if label != from {
                changed += 1;
                pruned.labels[at].store(label, Relaxed);
                let x = &block.x[index * depth..(index + 1) * depth];
                pruned.problem.move_row(x, at, Some(from), label, sums);
            }
        }
        let products = (count * tile.len()) as u64;
        Pass { changed, rechecked: labelled.rechecked as u64, products, ..Pass::default() }
    }
}

impl Block {
    fn push(&mut self, row: u32, label: u32, norm: f32, upper: f32) {
        self.rows.push(row);
        self.labels.push(label);
        self.norms.push(norm);
        self.upper.push(upper);
    }

    /// Adds a row of another block.
    fn take(&mut self, from: &Self, index: usize, depth: usize) {
        let start = self.rows.len() * depth;
        self.x[start..start + depth].copy_from_slice(&from.x[index * depth..(index + 1) * depth]);
        self.push(from.rows[index], from.labels[index], from.norms[index], from.upper[index]);
        self.tiles.push(from.tiles[index]);
    }

    /// Empties it; what `x` holds is overwritten later.
    fn clear(&mut self) {
        self.rows.clear();
        self.labels.clear();
        self.norms.clear();
        self.upper.clear();
        self.tiles.clear();
    }
}

/// Rows of a block: a multiple of [`ROW_GROUP`].
fn block_rows(columns: usize) -> usize {
    (BLOCK_BYTES / (4 * columns)).clamp(ROW_GROUP, 8 * ROW_GROUP) / ROW_GROUP * ROW_GROUP
}

widest! {
    /// `sum over d of (x[d] - c[d])^2` in `f64`, in interleaved parts: for bounds, not for decisions.
    fn square_between(x: &[f32], centroid: &[f64]) -> f64 = square_between_body;
}

#[inline(always)]
fn square_between_body(x: &[f32], centroid: &[f64]) -> f64 {
    const PARTS: usize = 32;
    let mut parts = [0.0_f64; PARTS];
    let (xs, centroids) = (x.chunks_exact(PARTS), centroid.chunks_exact(PARTS));
    let rest = xs.remainder().iter().zip(centroids.remainder());
    for (x, c) in xs.zip(centroids) {
        for at in 0..PARTS {
            let difference = f64::from(x[at]) - c[at];
            parts[at] += difference * difference;
        }
    }
    for (part, (&x, c)) in parts.iter_mut().zip(rest) {
        *part += (f64::from(x) - c) * (f64::from(x) - c);
    }
    parts.iter().sum()
}
