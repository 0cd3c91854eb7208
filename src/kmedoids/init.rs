//! First medoids.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use super::columns::Columns;
use super::entry::Entry;
use super::integer::{Integer, Units};
use super::params::{Init, Params};
use super::random::distinct;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::memory::{self, area};
use crate::random::Draws;

/// Candidates of BUILD whose gains are brought up to date together.
const TOGETHER: usize = 64;

/// Chooses `count` of the candidates, each of which is also an object, for columns of all objects.
pub(super) fn choose<T: Entry, G: Units>(
    columns: &Columns<T>,
    grid: G,
    (init, count): (&Init, usize),
    params: &Params,
    draws: &mut Draws,
) -> Result<Vec<usize>> {
    // Sums, gains and bounds of candidates, distances of objects.
    let objects = columns.objects().max(columns.candidates());
    memory::ask("the choice of first medoids", &[area::<u64>(objects, 12)])?;
    match init {
        Init::Given(medoids) => Ok(medoids.clone()),
        Init::Random => Ok(distinct(columns.candidates(), count, draws)),
        Init::Build => build(columns, grid, count, &params.cancel),
        Init::Lab => lab(columns, grid, count, draws, &params.cancel),
        Init::PlusPlus => plus_plus(columns, count, draws, &params.cancel),
        Init::Heuristic => heuristic(columns, grid, count),
    }
}

/// Sums of all columns, in units of the grid.
fn column_sums<T: Entry, G: Units>(columns: &Columns<T>, grid: G) -> Result<Vec<G::Integer>> {
    let mut sums = Vec::with_capacity(columns.candidates());
    columns.for_each_block(|_, block| {
        let block = block.par_chunks_exact(columns.objects());
        let of_block = block.map(|column| {
            columns.cancel().check()?;
            Ok(column.iter().map(|d| grid.integer(d.wide())).sum::<G::Integer>())
        });
        sums.extend(of_block.collect::<Result<Vec<_>>>()?);
        Ok(())
    })?;
    Ok(sums)
}

/// What the loss falls by when a candidate joins medoids at these distances.
fn gain<T: Entry, G: Units>(column: &[T], nearest: &[T], grid: G, hits: &mut Vec<u32>) -> G::Integer {
    hits.clear();
    T::below(column, nearest, hits);
    let gain = |&object: &u32| {
        let object = object as usize;
        grid.integer(nearest[object].wide()) - grid.integer(column[object].wide())
    };
    hits.iter().map(gain).sum()
}

/// Lowers nearest distances to those of a column.
fn lower<T: Entry>(nearest: &mut [T], column: &[T]) {
    nearest.iter_mut().zip(column).for_each(|(nearest, &d)| {
        if d < *nearest {
            *nearest = d;
        }
    });
}

/// BUILD: the candidate with the smallest sum, then always the one with the largest gain, ties to the lowest index.
///
/// A gain never grows when more medoids are there, so an old one is a bound: only candidates whose bound is the largest are
/// brought up to date (Minoux, 1978), which finds the same medoids as looking at all in every step.
fn build<T: Entry, G: Units>(
    columns: &Columns<T>,
    grid: G,
    count: usize,
    cancel: &Cancel,
) -> Result<Vec<usize>> {
    let sums = column_sums(columns, grid)?;
    let first = (0..sums.len()).min_by_key(|&candidate| (sums[candidate], candidate)).unwrap_or_default();
    let mut medoids = vec![first];
    let mut nearest = columns.column(first)?.into_owned();
    let mut bounds: BinaryHeap<(G::Integer, Reverse<usize>, usize)> = (0..sums.len())
        .filter(|&candidate| candidate != first)
        .map(|candidate| (G::Integer::MAX, Reverse(candidate), 0))
        .collect();
    // The first gains are those of all candidates.
    let mut together = bounds.len();
    while medoids.len() < count {
        cancel.check()?;
        let mut stale = Vec::with_capacity(together.min(bounds.len()));
        while stale.len() < together {
            match bounds.peek() {
                Some(&(_, Reverse(candidate), as_of)) if as_of < medoids.len() => {
                    stale.push(candidate);
                    bounds.pop();
                }
                _ => break,
            }
        }
        if stale.is_empty() {
            let Some((_, Reverse(candidate), _)) = bounds.pop() else { break };
            lower(&mut nearest, &columns.column(candidate)?);
            medoids.push(candidate);
            together = TOGETHER;
            continue;
        }
        let as_of = medoids.len();
        bounds.extend(
            gains(columns, &stale, &nearest, grid)?
                .into_iter()
                .zip(stale)
                .map(|(gain, candidate)| (gain, Reverse(candidate), as_of)),
        );
    }
    Ok(medoids)
}

/// Gains of some candidates.
fn gains<T: Entry, G: Units>(
    columns: &Columns<T>,
    candidates: &[usize],
    nearest: &[T],
    grid: G,
) -> Result<Vec<G::Integer>> {
    let objects = columns.objects();
    let gain_of = |hits: &mut Vec<u32>, column: &[T]| {
        columns.cancel().check()?;
        Ok(gain(column, nearest, grid, hits))
    };
    if let Some(values) = columns.whole() {
        let of = |hits: &mut Vec<u32>, &candidate: &usize| {
            gain_of(hits, &values[candidate * objects..][..objects])
        };
        return candidates.par_iter().map_init(Vec::new, of).collect();
    }
    if candidates.len() + 1 >= columns.candidates() {
        // All of them: in the order in which they are made.
        let mut all = Vec::with_capacity(columns.candidates());
        columns.for_each_block(|_, block| {
            let block = block.par_chunks_exact(objects);
            all.extend(block.map_init(Vec::new, gain_of).collect::<Result<Vec<_>>>()?);
            Ok(())
        })?;
        return Ok(candidates.iter().map(|&candidate| all[candidate]).collect());
    }
    let made = columns.of(candidates)?;
    let made = made.par_chunks_exact(objects);
    made.map_init(Vec::new, gain_of).collect()
}

/// BUILD where each step looks at a sample of the candidates and measures gains on the same sample of the objects.
fn lab<T: Entry, G: Units>(
    columns: &Columns<T>,
    grid: G,
    count: usize,
    draws: &mut Draws,
    cancel: &Cancel,
) -> Result<Vec<usize>> {
    let objects = columns.objects();
    let size = (10 + objects.isqrt() + usize::from(objects.isqrt().pow(2) < objects)).min(objects);
    let mut medoids: Vec<usize> = Vec::with_capacity(count);
    let mut nearest = vec![T::INFINITY; objects];
    while medoids.len() < count {
        cancel.check()?;
        // Medoids are drawn too, and passed over: a few more make up for them.
        let drawn = distinct(objects, (size + medoids.len()).min(objects), draws);
        let mut sample: Vec<usize> = drawn.into_iter().filter(|object| !medoids.contains(object)).collect();
        sample.truncate(size);
        sample.sort_unstable();
        let part = columns.part(&sample, &sample)?;
        let known: Vec<T> = sample.iter().map(|&object| nearest[object]).collect();
        let scores = part.par_chunks_exact(sample.len()).map_init(Vec::new, |hits, column| {
            if medoids.is_empty() {
                -column.iter().map(|d| grid.integer(d.wide())).sum::<G::Integer>()
            } else {
                gain(column, &known, grid, hits)
            }
        });
        let scores: Vec<G::Integer> = scores.collect();
        let best = (0..sample.len()).max_by_key(|&at| (scores[at], Reverse(at))).unwrap_or_default();
        lower(&mut nearest, &columns.column(sample[best])?);
        medoids.push(sample[best]);
    }
    Ok(medoids)
}

/// The candidates with the smallest sums.
fn heuristic<T: Entry, G: Units>(columns: &Columns<T>, grid: G, count: usize) -> Result<Vec<usize>> {
    let sums = column_sums(columns, grid)?;
    let mut order: Vec<usize> = (0..sums.len()).collect();
    order.sort_unstable_by_key(|&candidate| (sums[candidate], candidate));
    order.truncate(count);
    Ok(order)
}

/// Greedy k-means++ on squared dissimilarities.
fn plus_plus<T: Entry>(
    columns: &Columns<T>,
    count: usize,
    draws: &mut Draws,
    cancel: &Cancel,
) -> Result<Vec<usize>> {
    let objects = columns.objects();
    let trials = 2 + (count as f64).ln() as usize;
    let mut medoids = vec![draws.below(objects as u64) as usize];
    let mut nearest = columns.of(&medoids)?;
    while medoids.len() < count {
        cancel.check()?;
        // Where the largest is 1 squares neither overflow nor vanish together.
        let largest = nearest.iter().fold(0.0_f64, |largest, d| largest.max(d.wide()));
        let weight = |d: &T| match d.wide() {
            // What is infinitely far is drawn before all else.
            d if d == largest && largest > 0.0 => 1.0,
            d if largest > 0.0 => (d.max(0.0) / largest).powi(2),
            _ => 0.0,
        };
        let total: f64 = nearest.iter().map(weight).sum();
        if !(total > 0.0) {
            // Every object is as near as can be to a medoid: the lowest that are none.
            let others = (0..objects).filter(|object| !medoids.contains(object));
            let others: Vec<usize> = others.take(count - medoids.len()).collect();
            medoids.extend(others);
            break;
        }
        let drawn: Vec<usize> = (0..trials).map(|_| drawn(&nearest, weight, draws.unit() * total)).collect();
        let tried = columns.of(&drawn)?;
        let potential = |column: &[T]| {
            let both = nearest.iter().zip(column);
            both.map(|(nearest, d)| weight(if d < nearest { d } else { nearest })).sum::<f64>()
        };
        let potentials: Vec<f64> = tried.par_chunks_exact(objects).map(potential).collect();
        let best =
            (0..drawn.len()).min_by(|&a, &b| potentials[a].total_cmp(&potentials[b])).unwrap_or_default();
        lower(&mut nearest, &tried[best * objects..][..objects]);
        // An object with weight is none of the medoids, unless dissimilarities to itself are not 0.
        let chosen = if medoids.contains(&drawn[best]) {
            (0..objects).find(|object| !medoids.contains(object)).unwrap_or_default()
        } else {
            drawn[best]
        };
        medoids.push(chosen);
    }
    Ok(medoids)
}

/// The object at which the running sum of the weights passes `goal`.
fn drawn<T>(nearest: &[T], weight: impl Fn(&T) -> f64, goal: f64) -> usize {
    let (mut sum, mut last) = (0.0, 0);
    for (object, d) in nearest.iter().enumerate() {
        let weight = weight(d);
        if weight > 0.0 {
            sum += weight;
            last = object;
            if sum > goal {
                break;
            }
        }
    }
    last
}
