//! Neighbours as a sparse graph in compressed rows, as SciPy's `csr_matrix` has it.

use super::results::{Neighbours, Values, Within};
use crate::distance::Matrix;

/// Which edges a graph has beside those from a query to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symmetry {
    /// None.
    Directed,
    /// Those back: an edge between two rows where either is a neighbour of the other.
    Either,
    /// None, and only those of which the other way is there too.
    Both,
}

/// A weighted graph between queries and points. Within a row, edges are ordered by column.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Graph {
    /// Queries.
    pub rows: usize,
    /// Points.
    pub columns: usize,
    /// Where the edges of each row begin, and the end of the last.
    pub offsets: Vec<u64>,
    /// The point of each edge.
    pub indices: Vec<u32>,
    /// The metric's value of each edge.
    pub values: Values,
}

/// One edge: row, column, place of its value.
type Edge = (u32, u32, usize);

impl Graph {
    /// The graph of neighbours among `points` points. Symmetry wants queries and points to be the same rows.
    pub fn of_neighbours(neighbours: &Neighbours, points: usize, symmetry: Symmetry) -> Self {
        let count = neighbours.indices.ncols();
        let edges = neighbours.indices.indexed_iter();
        let edges = edges.map(|((row, rank), &column)| (row as u32, column, row * count + rank)).collect();
        let rows = neighbours.indices.nrows();
        match &neighbours.distances {
            Matrix::F32(values) => {
                Self::of_edges(rows, points, edges, symmetry, |at| values[[at / count, at % count]])
            }
            Matrix::F64(values) => {
                Self::of_edges(rows, points, edges, symmetry, |at| values[[at / count, at % count]])
            }
        }
    }

    /// The graph of all within a radius among `points` points. Symmetry is there already where queries and points are the
    /// same rows and every query has the same radius.
    pub fn of_within(within: &Within, points: usize) -> Self {
        let rows = within.offsets.len() - 1;
        let mut edges: Vec<Edge> = Vec::with_capacity(within.indices.len());
        for row in 0..rows {
            let range = within.offsets[row] as usize..within.offsets[row + 1] as usize;
            edges.extend(range.map(|at| (row as u32, within.indices[at], at)));
        }
        match &within.distances {
            Values::F32(values) => Self::of_edges(rows, points, edges, Symmetry::Directed, |at| values[at]),
            Values::F64(values) => Self::of_edges(rows, points, edges, Symmetry::Directed, |at| values[at]),
        }
    }

    fn of_edges<T: Element>(
        rows: usize,
        columns: usize,
        mut edges: Vec<Edge>,
        symmetry: Symmetry,
        value: impl Fn(usize) -> T,
    ) -> Self {
        edges.sort_unstable();
        match symmetry {
            Symmetry::Directed => {}
            Symmetry::Either => {
                // A metric has the same bits both ways, so it does not matter whose value an edge keeps.
                edges.extend_from_within(..);
                let half = edges.len() / 2;
                edges[half..].iter_mut().for_each(|edge| (edge.0, edge.1) = (edge.1, edge.0));
                edges.sort_unstable();
                edges.dedup_by_key(|edge| (edge.0, edge.1));
            }
            Symmetry::Both => {
                let there: Vec<(u32, u32)> = edges.iter().map(|edge| (edge.0, edge.1)).collect();
                edges.retain(|edge| there.binary_search(&(edge.1, edge.0)).is_ok());
            }
        }
        let mut offsets = vec![0_u64; rows + 1];
        edges.iter().for_each(|edge| offsets[edge.0 as usize + 1] += 1);
        for row in 0..rows {
            offsets[row + 1] += offsets[row];
        }
        let indices = edges.iter().map(|edge| edge.1).collect();
        let values = T::values(edges.iter().map(|edge| value(edge.2)).collect());
        Self { rows, columns, offsets, indices, values }
    }
}

trait Element: Sized {
    fn values(values: Vec<Self>) -> Values;
}

impl Element for f32 {
    fn values(values: Vec<Self>) -> Values {
        Values::F32(values)
    }
}

impl Element for f64 {
    fn values(values: Vec<Self>) -> Values {
        Values::F64(values)
    }
}
