//! Searches on the processor: swaps of medoids for candidates until none improves the sum.

use rayon::prelude::*;

use super::columns::Columns;
use super::entry::Entry;
use super::integer::Integer;
use super::objective::Objective;
use super::results::SearchStats;
use super::state::{Scratch, State, Swap};
use crate::cancel::Cancel;
use crate::error::Result;

/// Most candidates that are looked at together. What follows the first that improves was looked at in vain.
const MOST_TOGETHER: usize = 1024;
/// From here on candidates are shared between threads.
const SHARED: usize = 4;

/// FasterPAM's order: candidates by index, again and again, each improving swap at once, until one round after the last
/// swap has found no other.
///
/// Candidates are looked at in parallel, ahead of what is known: the first that improves is taken and the rest forgotten,
/// so the swaps are those of one candidate after the other.
pub(super) fn eager<T: Entry, O: Objective<T, R>, const R: usize>(
    state: &mut State<T, O, R>,
    columns: &Columns<T>,
    max_iter: usize,
    cancel: &Cancel,
) -> Result<SearchStats> {
    let (objects, candidates) = (columns.objects(), columns.candidates());
    let mut stats = SearchStats::default();
    // Candidates since the last swap, and how many are looked at together.
    let (mut since, mut together) = (0, 1);
    while stats.iterations < max_iter && !stats.converged {
        stats.iterations += 1;
        columns.for_each_block(|first, block| {
            let count = block.len() / objects;
            let mut next = 0;
            while next < count && since < candidates {
                cancel.check()?;
                let range = next..(next + together).min(count);
                let column = |index: usize| &block[index * objects..][..objects];
                let improving = |index: usize, scratch: &mut Scratch<O::Integer>| {
                    let candidate = first + index;
                    let swap = (!cancel.is_cancelled() && !state.is_medoid(candidate))
                        .then(|| state.best_swap(candidate, column(index), scratch));
                    swap.filter(|swap| swap.change < O::Integer::ZERO)
                };
                let found = if range.len() < SHARED {
                    let mut scratch = state.scratch();
                    range.clone().find_map(|index| improving(index, &mut scratch))
                } else {
                    first_of(range.clone(), || state.scratch(), improving)
                };
                // What was passed over after a stop was not looked at.
                cancel.check()?;
                match found {
                    Some(swap) => {
                        let index = swap.candidate - first;
                        state.replace(swap, column(index));
                        stats.swaps += 1;
                        // As far apart as improving swaps are now.
                        together = (index + 1 - next).max(together / 2);
                        (since, next) = (1, index + 1);
                    }
                    None => {
                        since += range.len();
                        next = range.end;
                        together = (2 * together).min(MOST_TOGETHER);
                    }
                }
            }
            Ok(())
        })?;
        stats.converged = since >= candidates;
    }
    Ok(stats)
}

/// What `find` has first in a range, in order of the range; whatever is behind it is given up.
fn first_of<S: Send, I: Integer>(
    range: std::ops::Range<usize>,
    scratch: impl Fn() -> S + Sync + Send,
    find: impl Fn(usize, &mut S) -> Option<Swap<I>> + Sync + Send,
) -> Option<Swap<I>> {
    let piece = range.len().div_ceil(8 * rayon::current_num_threads()).max(2);
    let found = range
        .into_par_iter()
        .with_min_len(piece)
        .map_init(scratch, |scratch, index| find(index, scratch))
        .find_first(Option::is_some);
    found.flatten()
}

/// PAM's order: the best of all swaps, as long as it improves; ties to the lowest candidate, then the lowest place.
pub(super) fn steepest<T: Entry, O: Objective<T, R>, const R: usize>(
    state: &mut State<T, O, R>,
    columns: &Columns<T>,
    max_iter: usize,
    cancel: &Cancel,
) -> Result<SearchStats> {
    let objects = columns.objects();
    let mut stats = SearchStats::default();
    while stats.iterations < max_iter {
        stats.iterations += 1;
        let mut best: Option<Swap<O::Integer>> = None;
        columns.for_each_block(|first, block| {
            cancel.check()?;
            let candidates = block.par_chunks_exact(objects).enumerate();
            let swaps = candidates.map_init(
                || state.scratch(),
                |scratch, (index, column)| {
                    let candidate = first + index;
                    (!cancel.is_cancelled() && !state.is_medoid(candidate))
                        .then(|| state.best_swap(candidate, column, scratch))
                },
            );
            best = swaps.flatten().min().into_iter().chain(best).min();
            cancel.check()
        })?;
        match best.filter(|swap| swap.change < O::Integer::ZERO) {
            Some(swap) => {
                state.replace(swap, &columns.column(swap.candidate)?);
                stats.swaps += 1;
            }
            None => {
                stats.converged = true;
                break;
            }
        }
    }
    Ok(stats)
}
