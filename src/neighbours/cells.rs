//! Points in the cells of a uniform grid, ordered by cell with a counting sort.

use std::ops::Range;

use super::problem::Selection;
use super::space::{Place, Space};
use crate::data::Points;

/// Cells at most, for each point.
const CELLS_PER_POINT: usize = 2;
/// Cells at most, so that 32 bits number them.
const MOST_CELLS: f64 = (1_u64 << 30) as f64;

/// The grid.
pub(super) struct Cells {
    low: Place,
    high: Place,
    /// Cells per unit of length.
    density: Place,
    /// Number of cells along each axis.
    counts: [usize; 3],
    /// Where the points of each cell begin, and the end of the last.
    starts: Vec<u32>,
    /// By cell, and within a cell by number.
    pub places: Vec<Place>,
    /// Number of each among the points.
    pub numbers: Vec<u32>,
    /// Edge of a cell, roughly.
    edge: f64,
}

impl Cells {
    /// Sorts points; `per_cell` are wanted in a cell on average, and edges of at least `least_edge`.
    pub fn new(
        space: &Space,
        points: &Points,
        selection: &Selection,
        per_cell: f64,
        least_edge: f64,
    ) -> Self {
        let numbers = selection.range(0, selection.len());
        let mut wide = vec![0.0; points.columns()];
        let places: Vec<Place> =
            numbers.iter().map(|&number| space.place(points, number as usize, &mut wide)).collect();
        let (mut low, mut high) = ([0.0; 3], [0.0; 3]);
        for axis in 0..space.depth {
            let along = places.iter().map(|place| place[axis]);
            let (least, most) = along.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(value), most.max(value))
            });
            (low[axis], high[axis]) = match &space.period {
                Some(period) => (0.0, period[axis]),
                None => (least, most),
            };
        }
        let extent = [0, 1, 2].map(|axis| high[axis] - low[axis]);
        let (counts, edge) = counts_of(&extent, places.len(), per_cell, least_edge);
        let density =
            [0, 1, 2].map(|axis| if counts[axis] > 1 { counts[axis] as f64 / extent[axis] } else { 0.0 });
        let total = counts.iter().product::<usize>();
        let mut cells = Self {
            low,
            high,
            density,
            counts,
            starts: vec![0; total + 1],
            places: Vec::new(),
            numbers: Vec::new(),
            edge,
        };
        let cell_of: Vec<u32> = places.iter().map(|place| cells.cell(place) as u32).collect();
        for &cell in &cell_of {
            cells.starts[cell as usize + 1] += 1;
        }
        for cell in 0..total {
            cells.starts[cell + 1] += cells.starts[cell];
        }
        let mut next = cells.starts.clone();
        (cells.places, cells.numbers) = (vec![[0.0; 3]; places.len()], vec![0; places.len()]);
        for ((place, number), cell) in places.into_iter().zip(numbers).zip(cell_of) {
            let to = next[cell as usize] as usize;
            next[cell as usize] += 1;
            (cells.places[to], cells.numbers[to]) = (place, number);
        }
        cells
    }

    /// The cell's number along one axis; those outside count as the outermost. It never falls where the coordinate rises,
    /// whatever is rounded.
    fn along(&self, axis: usize, coordinate: f64) -> usize {
        (((coordinate - self.low[axis]) * self.density[axis]) as usize).min(self.counts[axis] - 1)
    }

    fn cell(&self, place: &Place) -> usize {
        let [x, y, z] = [0, 1, 2].map(|axis| self.along(axis, place[axis]));
        (z * self.counts[1] + y) * self.counts[0] + x
    }

    /// About how far a place lies outside the points, and an edge more.
    pub fn first_length(&self, place: &Place) -> f64 {
        let outside =
            |axis: usize| (self.low[axis] - place[axis]).max(place[axis] - self.high[axis]).max(0.0);
        let [x, y, z] = [0, 1, 2].map(outside);
        self.edge + (x * x + y * y + z * z).sqrt()
    }

    /// The cells along one axis that may hold what is at most `length` away: one range, or two where a box repeats.
    fn ranges(&self, space: &Space, axis: usize, coordinate: f64, length: f64) -> [Range<usize>; 2] {
        let all = 0..self.counts[axis];
        // Sums are rounded outwards.
        let length = length + (coordinate.abs() + length) * f64::EPSILON;
        let (from, to) = (coordinate - length, coordinate + length);
        let whole = [all.clone(), 0..0];
        let Some(period) = space.period.as_ref().map(|period| period[axis]).filter(|period| *period > 0.0)
        else {
            return [self.along(axis, from)..self.along(axis, to) + 1, 0..0];
        };
        if !(to - from < period) {
            return whole;
        }
        let (first, last) = if from < 0.0 {
            (self.along(axis, from + period - period * f64::EPSILON), self.along(axis, to))
        } else if to > period {
            (self.along(axis, from), self.along(axis, to - period + period * f64::EPSILON))
        } else {
            return [self.along(axis, from)..self.along(axis, to) + 1, 0..0];
        };
        if first <= last { whole } else { [0..last + 1, first..all.end] }
    }

    /// Ranges of points that hold all that are at most `length` from a place.
    pub fn around(&self, space: &Space, place: &Place, length: f64, mut visit: impl FnMut(Range<usize>)) {
        let [xs, ys, zs] = [0, 1, 2].map(|axis| self.ranges(space, axis, place[axis], length));
        for z in zs.into_iter().flatten() {
            for y in ys.clone().into_iter().flatten() {
                let row = (z * self.counts[1] + y) * self.counts[0];
                for x in xs.clone().into_iter().filter(|x| !x.is_empty()) {
                    visit(self.starts[row + x.start] as usize..self.starts[row + x.end] as usize);
                }
            }
        }
    }
}

/// Cells along each axis, and their edge: cubes where the extents allow.
fn counts_of(extent: &Place, points: usize, per_cell: f64, least_edge: f64) -> ([usize; 3], f64) {
    let wide: Vec<f64> = extent.iter().copied().filter(|&extent| extent > 0.0).collect();
    let wanted = (points as f64 / per_cell).max(1.0);
    // In logarithms: no product of tiny extents vanishes.
    let volume: f64 = wide.iter().map(|extent| extent.ln()).sum();
    let mut edge =
        ((volume - wanted.ln()) / wide.len().max(1) as f64).exp().max(least_edge).max(f64::MIN_POSITIVE);
    let most = ((CELLS_PER_POINT * points + 8) as f64).min(MOST_CELLS);
    loop {
        let counts = [0, 1, 2].map(|axis| (extent[axis] / edge).ceil().max(1.0));
        if counts.iter().product::<f64>() <= most {
            return (counts.map(|count| count as usize), edge);
        }
        edge *= 1.25;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_few_whatever_the_extents() {
        for extent in [[1.0, 1.0, 1.0], [1.0, 1e-9, 0.0], [0.0; 3], [1e-300, 1e-300, 0.0], [1.0, 0.3, 1e-200]]
        {
            for points in [1, 2, 1000, 100_000] {
                for least_edge in [0.0, 0.1, f64::INFINITY] {
                    let (counts, edge) = counts_of(&extent, points, 4.0, least_edge);
                    let total: usize = counts.iter().product();
                    assert!(
                        total >= 1 && total <= CELLS_PER_POINT * points + 8,
                        "{extent:?} {points}: {counts:?}"
                    );
                    assert!(edge > 0.0 && edge >= least_edge);
                }
            }
        }
    }
}
