//! A set with itself on the CPU: every product of two rows serves both of them.
//!
//! Rows and columns are prepared from the same features by the same operations, and products commute, so the sum of the
//! pair (i, j) has the bits of that of (j, i): the value of row i for column j is j's half norm less the sum, the other way
//! round it is i's half norm less the same sum. Windows of columns are whole blocks of rows, met in turn:
//!
//! 1. The window's own blocks meet all of it. After that every row of it has a limit.
//! 2. Every block before it meets it, and what the products say about its columns goes to their lists too, under a lock per
//!    block. A limit that fell meanwhile only drops more.
//!
//! So every ordered pair is seen once, with half the products. Which entries a list holds when may differ from run to run;
//! which columns may be among the nearest does not, and `f64` decides among those.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::{Call, QueryBlock, Window};
use crate::error::Result;
use crate::neighbours::fold::Fold;
use crate::neighbours::judge::Scratch;
use crate::neighbours::plan::Cut;
use crate::neighbours::problem::Problem;
use crate::neighbours::screen::Screen;
use crate::tile::bound::f32::next_f32;
use crate::tile::collect::cpu::{Columns, RowCandidate, RowTerms, Sums, trials_of_bytes};
use crate::tile::collect::lists::Candidate;

/// A block as rows, and what it is as columns.
struct RowsAndColumns<A> {
    rows: QueryBlock<A>,
    terms: RowTerms,
    errors: Vec<f32>,
}

/// What a thread needs beside its blocks.
#[derive(Default)]
struct Tools {
    sums: Sums,
    scratch: Scratch,
    limits: Vec<f32>,
    found: Vec<RowCandidate>,
}

/// The answers of all rows, in order. `count` are wanted of each.
pub(crate) fn search<F: Fold>(
    problem: &Problem,
    screen: &Screen,
    fold: &F,
    count: usize,
    cut: Cut,
) -> Result<Vec<F::Answer>> {
    let rows: Vec<u32> = (0..problem.points.rows() as u32).collect();
    let mut blocks: Vec<Mutex<RowsAndColumns<F::Answer>>> = rows
        .par_chunks(cut.block)
        .map(|rows| Mutex::new(RowsAndColumns::load(problem, screen, rows, fold)))
        .collect();
    let call = Call { problem, judge: problem.judge(), fold, cut };
    let window_blocks = cut.mirror_blocks(rows.len());
    let bytes = trials_of_bytes(rows.len(), rows.len(), screen.depth());
    for first in (0..blocks.len()).step_by(window_blocks) {
        let last = (first + window_blocks).min(blocks.len());
        let window = Window::load(
            problem,
            screen,
            rows[first * cut.block..(last * cut.block).min(rows.len())].to_vec(),
            &bytes,
        );
        let (before, rest) = blocks.split_at(first);
        let own = &rest[..last - first];
        own.par_iter().try_for_each_init(Tools::default, |tools, block| {
            problem.cancel.check()?;
            let mut block = locked(block);
            block.rows.meet(&window, &call, &mut tools.sums, &mut tools.scratch);
            (0..block.rows.queries.len()).for_each(|row| block.rows.block.tighten(row, count));
            Ok(())
        })?;
        before.par_iter().try_for_each_init(Tools::default, |tools, block| {
            problem.cancel.check()?;
            meet_both(&call, count, &mut locked(block), &window, own, tools);
            Ok(())
        })?;
        bytes.learn(window.packed.pays((last * cut.block).min(rows.len())));
    }
    let finished = blocks.par_iter_mut().map_init(Scratch::default, |scratch, block| {
        problem.cancel.check()?;
        let block = block.get_mut().unwrap_or_else(PoisonError::into_inner);
        Ok(block.rows.finish(&call, scratch))
    });
    let answers: Vec<Vec<F::Answer>> = finished.collect::<Result<_>>()?;
    Ok(answers.into_iter().flatten().collect())
}

/// A poisoned block means that another task panicked, and that panic ends the search.
fn locked<A>(block: &Mutex<RowsAndColumns<A>>) -> MutexGuard<'_, RowsAndColumns<A>> {
    block.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<A: Send + Default> RowsAndColumns<A> {
    fn load<F: Fold<Answer = A>>(problem: &Problem, screen: &Screen, rows: &[u32], fold: &F) -> Self {
        let (rows, norms) = QueryBlock::load(problem, screen, rows, fold);
        let (half_norms, errors) = norms.into_iter().unzip();
        Self { rows, terms: RowTerms::new(half_norms), errors }
    }
}

/// A block meets a window behind it, whose blocks are `others`. `count` are wanted of each row.
fn meet_both<F: Fold>(
    call: &Call<F>,
    count: usize,
    both: &mut RowsAndColumns<F::Answer>,
    window: &Window,
    others: &[Mutex<RowsAndColumns<F::Answer>>],
    tools: &mut Tools,
) {
    let (Tools { sums, scratch, limits, found }, rows) = (tools, call.cut.block);
    let Window { packed, errors, numbers } = window;
    limits.clear();
    for other in others {
        let other = locked(other);
        limits.extend_from_slice(&other.rows.block.limits[..other.rows.queries.len()]);
    }
    found.clear();
    let columns = Columns { packed, errors, numbers };
    both.rows.block.collect_both(&columns, count, &both.terms, limits, sums, found);
    both.rows.decide(call, call.cut.entries, scratch);
    // By block, so that each is locked once.
    found.sort_unstable_by_key(|candidate| candidate.column);
    for group in found.chunk_by(|a, b| a.column as usize / rows == b.column as usize / rows) {
        let mut other = locked(&others[group[0].column as usize / rows]);
        for &RowCandidate { row, column, value } in group {
            let row = row as usize;
            let upper = next_f32(f64::from(value) + 2.0 * f64::from(both.errors[row]));
            let candidate = Candidate { value, upper, column: both.rows.queries[row] };
            other.rows.block.add(column as usize % rows, candidate, count);
        }
        other.rows.decide(call, call.cut.entries, scratch);
    }
}
