//! Assign objects, then take the best medoid within each cluster, until nothing changes.

use rayon::prelude::*;

use super::assignment::assign;
use super::columns::Columns;
use super::entry::Entry;
use super::integer::Units;
use super::results::SearchStats;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::memory::{self, area};

/// Improves medoids in place.
///
/// A cluster's medoid becomes the object of the cluster with the smallest sum of dissimilarities of the cluster's objects,
/// ties to the lowest index, where that sum is smaller than the old medoid's. So the loss falls with every step but the last.
pub(super) fn improve<T: Entry, G: Units>(
    columns: &Columns<T>,
    grid: G,
    medoids: &mut [usize],
    max_iter: usize,
    cancel: &Cancel,
) -> Result<SearchStats> {
    let objects = columns.objects();
    memory::ask("clusters and their sums", &[area::<u64>(objects, 4)])?;
    let mut stats = SearchStats::default();
    while stats.iterations < max_iter && !stats.converged {
        stats.iterations += 1;
        let chosen = columns.of(medoids)?;
        let labels = assign(&chosen, objects, grid, cancel)?.labels;
        let mut members = vec![Vec::new(); medoids.len()];
        labels.iter().enumerate().for_each(|(object, &label)| members[label as usize].push(object as u32));
        let sum_of = |column: &[T], place: usize| {
            members[place]
                .iter()
                .map(|&object| grid.integer(column[object as usize].wide()))
                .sum::<G::Integer>()
        };
        let mut sums = Vec::with_capacity(objects);
        columns.for_each_block(|first, block| {
            let block = block.par_chunks_exact(objects).enumerate();
            let of_block = block.map(|(index, column)| {
                cancel.check()?;
                Ok(sum_of(column, labels[first + index] as usize))
            });
            sums.extend(of_block.collect::<Result<Vec<_>>>()?);
            Ok(())
        })?;
        let old: Vec<usize> = medoids.to_vec();
        let mut swaps = 0;
        for (place, column) in chosen.chunks_exact(objects).enumerate() {
            cancel.check()?;
            let others = members[place].iter().map(|&object| object as usize);
            let best =
                others.filter(|object| !old.contains(object)).map(|object| (sums[object], object)).min();
            if let Some((sum, object)) = best
                && sum < sum_of(column, place)
            {
                medoids[place] = object;
                swaps += 1;
            }
        }
        stats.swaps += swaps;
        stats.converged = swaps == 0;
    }
    Ok(stats)
}
