//! What medoids mean for the objects: labels, loss and silhouette, from the medoids' columns alone.

use rayon::prelude::*;

use super::entry::Entry;
use super::grid::Grid;
use super::integer::{Integer, Units};
use super::objective::Silhouette;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::memory::{self, area};

/// Labels and sums for given medoids.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Assignment<I> {
    pub labels: Vec<u32>,
    /// The loss in units of the grid.
    pub loss: I,
    /// The mean of 1 - d1 / d2; `None` with a single medoid.
    pub silhouette: Option<f64>,
}

/// Objects of one part.
const PART: usize = 4096;

/// Asks for what [`assign`] hands out.
pub(super) fn ask_for_assignment(objects: usize) -> Result<()> {
    memory::ask("labels", &[area::<u32>(objects, 1)])
}

/// Assigns every object; `columns` are those of the medoids, one after the other.
pub(super) fn assign<T: Entry, G: Units>(
    columns: &[T],
    objects: usize,
    grid: G,
    cancel: &Cancel,
) -> Result<Assignment<G::Integer>> {
    let count = columns.len() / objects;
    let silhouettes = Silhouette::<Grid>::of(objects);
    let mut labels = vec![0_u32; objects];
    let parts = labels.par_chunks_mut(PART).enumerate().map(|(part, labels)| {
        cancel.check()?;
        let start = part * PART;
        let mut nearest = vec![T::INFINITY; labels.len()];
        let mut second = vec![T::INFINITY; labels.len()];
        for (place, column) in columns.chunks_exact(objects).enumerate() {
            for (at, &d) in column[start..start + labels.len()].iter().enumerate() {
                if d < nearest[at] {
                    second[at] = nearest[at];
                    nearest[at] = d;
                    labels[at] = place as u32;
                } else if d < second[at] {
                    second[at] = d;
                }
            }
        }
        let loss: G::Integer = nearest.iter().map(|d| grid.integer(d.wide())).sum();
        let ratios =
            nearest.iter().zip(&second).map(|(&nearest, &second)| silhouettes.ratio(nearest, second));
        Ok((loss, ratios.sum::<i64>()))
    });
    let (loss, sum) = parts.try_reduce(|| (G::Integer::ZERO, 0), |a, b| Ok((a.0 + b.0, a.1 + b.1)))?;
    let silhouette = (count > 1).then(|| silhouettes.mean(sum, objects));
    Ok(Assignment { labels, loss, silhouette })
}
