//! The definition, in `f64` and plain loops: every swap is judged by the whole sum it leads to.
//!
//! What is summed is `read`: the number itself, or what stands for it in exact sums, where those of `f64` lose digits.

use std::iter::Sum;

use ndarray::ArrayView2;

use crate::cancel::Cancel;
use crate::error::Result;

/// What sums are made of.
pub(super) trait Number: Copy + PartialOrd + Sum {}

impl<S: Copy + PartialOrd + Sum> Number for S {}

/// In which order swaps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The first that improves, candidates by index, the best place for each.
    Eager,
    /// The best of all.
    Steepest,
}

/// Iterations and swaps of a walk, and whether it ended by itself.
pub(super) type Steps = (usize, usize, bool);

/// `sum over o of min over medoids m of d(o, m)`.
pub(super) fn loss<S: Number>(matrix: &ArrayView2<f64>, medoids: &[usize], read: impl Fn(f64) -> S) -> S {
    (0..matrix.nrows()).map(|object| read(nearest_two(matrix, medoids, object).0)).sum()
}

/// `sum over o of d1 / d2`, the distances to the nearest two medoids; 0 where both are 0.
pub(super) fn ratios<S: Number>(matrix: &ArrayView2<f64>, medoids: &[usize], read: impl Fn(f64) -> S) -> S {
    let ratio = |object| {
        let (nearest, second, _) = nearest_two(matrix, medoids, object);
        read(if nearest > 0.0 { nearest / second } else { 0.0 })
    };
    (0..matrix.nrows()).map(ratio).sum()
}

/// The mean of 1 - d1 / d2.
pub(super) fn silhouette(matrix: &ArrayView2<f64>, medoids: &[usize]) -> f64 {
    1.0 - ratios(matrix, medoids, |ratio| ratio) / matrix.nrows() as f64
}

/// The place of the nearest medoid of each object, ties to the lowest.
pub(super) fn labels(matrix: &ArrayView2<f64>, medoids: &[usize]) -> Vec<u32> {
    (0..matrix.nrows()).map(|object| nearest_two(matrix, medoids, object).2).collect()
}

/// Distances to the nearest two medoids, and the place of the first of them.
fn nearest_two(matrix: &ArrayView2<f64>, medoids: &[usize], object: usize) -> (f64, f64, u32) {
    let (mut nearest, mut second, mut place) = (f64::INFINITY, f64::INFINITY, 0);
    for (index, &medoid) in medoids.iter().enumerate() {
        let d = matrix[[object, medoid]];
        if d < nearest {
            (nearest, second, place) = (d, nearest, index as u32);
        } else if d < second {
            second = d;
        }
    }
    (nearest, second, place)
}

/// BUILD: always the object with which the loss is smallest, ties to the lowest index.
pub(super) fn build<S: Number>(
    matrix: &ArrayView2<f64>,
    count: usize,
    read: impl Fn(f64) -> S,
    cancel: &Cancel,
) -> Result<Vec<usize>> {
    let mut medoids: Vec<usize> = Vec::new();
    while medoids.len() < count {
        let mut best: Option<(S, usize)> = None;
        for candidate in (0..matrix.nrows()).filter(|candidate| !medoids.contains(candidate)) {
            cancel.check()?;
            let with: Vec<usize> = medoids.iter().copied().chain([candidate]).collect();
            let loss = loss(matrix, &with, &read);
            if best.is_none_or(|(least, _)| loss < least) {
                best = Some((loss, candidate));
            }
        }
        medoids.extend(best.map(|(_, candidate)| candidate));
    }
    Ok(medoids)
}

/// Swaps medoids while that makes the sum smaller, at most `max_iter` passes (or best swaps).
pub(super) fn swaps<S: Number>(
    matrix: &ArrayView2<f64>,
    medoids: &mut [usize],
    sum: impl Fn(&[usize]) -> S,
    order: Order,
    max_iter: usize,
    cancel: &Cancel,
) -> Result<Steps> {
    let objects = matrix.nrows();
    let (mut swaps, mut since) = (0, 0);
    for iteration in 1..=max_iter {
        let current = sum(medoids);
        let mut best = (current, 0, 0);
        for candidate in 0..objects {
            if order == Order::Eager {
                if since == objects {
                    break;
                }
                since += 1;
                best = (sum(medoids), 0, 0);
            }
            let before = best.0;
            for place in (0..medoids.len()).filter(|_| !medoids.contains(&candidate)) {
                cancel.check()?;
                let mut swapped = medoids.to_vec();
                swapped[place] = candidate;
                let sum = sum(&swapped);
                if sum < best.0 {
                    best = (sum, candidate, place);
                }
            }
            if order == Order::Eager && best.0 < before {
                medoids[best.2] = candidate;
                (swaps, since) = (swaps + 1, 1);
            }
        }
        match order {
            Order::Eager if since == objects => return Ok((iteration, swaps, true)),
            Order::Steepest if best.0 == current => return Ok((iteration, swaps, true)),
            Order::Steepest => {
                medoids[best.2] = best.1;
                swaps += 1;
            }
            Order::Eager => {}
        }
    }
    Ok((max_iter, swaps, false))
}

/// Assigns, then takes the best medoid within each cluster, until none is better.
pub(super) fn alternate<S: Number>(
    matrix: &ArrayView2<f64>,
    medoids: &mut [usize],
    max_iter: usize,
    read: impl Fn(f64) -> S,
    cancel: &Cancel,
) -> Result<Steps> {
    let mut swaps = 0;
    for iteration in 1..=max_iter {
        let (labels, old) = (labels(matrix, medoids), medoids.to_vec());
        for (place, medoid) in medoids.iter_mut().enumerate() {
            let members = || (0..labels.len()).filter(|&object| labels[object] as usize == place);
            let sum = |candidate| members().map(|object| read(matrix[[object, candidate]])).sum::<S>();
            let mut best = sum(*medoid);
            for candidate in members().filter(|candidate| !old.contains(candidate)) {
                cancel.check()?;
                if sum(candidate) < best {
                    (best, *medoid) = (sum(candidate), candidate);
                }
            }
        }
        let changed = medoids.iter().zip(&old).filter(|(new, old)| new != old).count();
        if changed == 0 {
            return Ok((iteration, swaps, true));
        }
        swaps += changed;
    }
    Ok((max_iter, swaps, false))
}
