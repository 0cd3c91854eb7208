//! How the work is cut for threads. Nothing here can change a bit of the result.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::device::CpuPool;
use crate::lora::segments::Segments;

/// Lanes of a vector, on every instruction set: the order of summation counts on it.
pub(super) const LANES: usize = 16;

/// Most rows of one task: with 4096 features they fill half a second-level cache of 2 MiB.
pub(super) const ROWS: usize = 64;
/// Most elements of x in one task, for features beyond those.
const ELEMENTS: usize = 1 << 18;
/// Most features of rows that are cut so; of wider ones a task takes four.
pub(super) const WIDE: usize = ELEMENTS / 4;
/// Reading a weight from memory takes as long as multiplying it with about so many rows.
const ROWS_PER_READ: usize = 16;
/// Tasks per thread, so that the last ones to finish wait for little.
const TASKS_PER_THREAD: usize = 4;
/// Cost below which cutting costs more than it wins: 64 KiB of `f32` weights.
const LEAST_COST: usize = ROWS_PER_READ << 14;

/// Sums that a task keeps for rows with several routes: 1 MiB, half of a second-level cache.
pub(super) const KEPT: usize = 1 << 18;

/// Some parts (rank vectors, or outputs) for some positions of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Task {
    /// Which of the projections that are computed together, where the parts are not those of all.
    pub projection: usize,
    /// Index of the segment.
    pub segment: usize,
    /// Positions in the sorted order.
    pub positions: Range<usize>,
    /// The parts.
    pub parts: Range<usize>,
}

/// What one slot's weights amount to: `parts` vectors of `depth` elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub parts: usize,
    pub depth: usize,
}

/// Appends tasks that cover all segments. Parts are cut at multiples of `unit`; `features` bounds the rows of a task.
pub(super) fn cut(
    tasks: &mut Vec<Task>,
    segments: &Segments,
    projection: usize,
    threads: usize,
    (unit, features): (usize, usize),
    shape: impl Fn(usize) -> Shape,
) {
    let most_rows = (ELEMENTS / features.next_multiple_of(LANES).max(1)).clamp(4, ROWS);
    let cost = |rows: usize, depth: usize| (rows + ROWS_PER_READ).saturating_mul(depth);
    let total = segments.segments.iter().fold(0_usize, |total, segment| {
        let Shape { parts, depth } = shape(segment.slot);
        total.saturating_add(cost(segment.positions.len(), depth).saturating_mul(parts))
    });
    let least =
        if threads == 1 { usize::MAX } else { (total / (threads * TASKS_PER_THREAD)).max(LEAST_COST) };
    for (index, segment) in segments.segments.iter().enumerate() {
        let Shape { parts, depth } = shape(segment.slot);
        if parts == 0 || depth == 0 {
            continue;
        }
        let rows = segment.positions.len();
        let wanted = cost(rows, depth).saturating_mul(parts).div_ceil(least);
        let blocks = row_blocks(rows, parts, wanted, rows.div_ceil(most_rows));
        let count = parts.div_ceil(wanted.div_ceil(blocks)).next_multiple_of(unit);
        // Rows are computed four at a time.
        let rows = rows.div_ceil(blocks).next_multiple_of(4);
        for first in segment.positions.clone().step_by(rows) {
            let positions = first..segment.positions.end.min(first + rows);
            for part in (0..parts).step_by(count) {
                let parts = part..parts.min(part + count);
                tasks.push(Task { projection, segment: index, positions: positions.clone(), parts });
            }
        }
    }
}

/// Into how many blocks `rows` are cut, at least `fewest`, so that with the cuts of the parts there are `wanted` tasks
/// and little is read twice: each block of rows reads all parts, each block of parts all rows.
fn row_blocks(rows: usize, parts: usize, wanted: usize, fewest: usize) -> usize {
    let read = |blocks: usize| blocks * parts + wanted.div_ceil(blocks) * rows;
    let most = rows.div_ceil(4).clamp(fewest, wanted.max(fewest));
    (fewest..=most).min_by_key(|&blocks| read(blocks)).unwrap_or(fewest)
}

/// Appends tasks of some columns for all segments: where rows have several routes their sums meet in one task.
pub(super) fn cut_columns(
    tasks: &mut Vec<Task>,
    segments: &Segments,
    projection: usize,
    threads: usize,
    (unit, outputs): (usize, usize),
) {
    let even = outputs.div_ceil(threads * TASKS_PER_THREAD);
    let count = (KEPT / segments.count().max(1)).min(even).max(1).next_multiple_of(unit);
    for column in (0..outputs).step_by(count) {
        let parts = column..outputs.min(column + count);
        tasks.push(Task { projection, segment: 0, positions: 0..segments.count(), parts });
    }
}

/// Runs `work` for every item on the threads of the pool; each thread has a scratch of its own and takes the next item
/// when it is done.
pub(super) fn for_each<T: Sync, S: Default>(pool: &CpuPool, items: &[T], work: impl Fn(&T, &mut S) + Sync) {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut scratch = S::default();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item, &mut scratch);
        }
    };
    let threads = pool.threads().min(items.len());
    if threads == 0 {
        return;
    }
    // A thread that is busy elsewhere finds nothing left to do when it comes.
    pool.install(|| {
        rayon::scope(|scope| {
            (1..threads).for_each(|_| scope.spawn(|_| take()));
            take();
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::routes::Routes;

    #[test]
    fn tasks_cover_everything_once() {
        let rows = [3, 1, 0, 200, 65, 64, 5];
        let slots =
            rows.iter().enumerate().flat_map(|(slot, &rows)| (0..rows).map(move |_| Some(slot as u32)));
        let segments = Segments::new(&Routes::of_slots(slots), 0..rows.iter().sum());
        for threads in [1, 2, 64] {
            for (unit, features) in [(4, 4096), (64, 1), (4, 1 << 24)] {
                let mut tasks = Vec::new();
                let shape = |slot: usize| Shape { parts: slot * 37, depth: if slot == 4 { 0 } else { 3000 } };
                cut(&mut tasks, &segments, 5, threads, (unit, features), shape);
                let mut covered = vec![0; segments.count() * 300];
                for task in &tasks {
                    assert_eq!(task.projection, 5);
                    assert!(task.parts.start.is_multiple_of(unit), "{task:?}");
                    assert!(task.positions.len() <= if features > 4096 { 4 } else { ROWS }, "{task:?}");
                    let segment = &segments.segments[task.segment];
                    for position in task.positions.clone() {
                        assert!(segment.positions.contains(&position), "{task:?}");
                        task.parts.clone().for_each(|part| covered[position * 300 + part] += 1);
                    }
                }
                for segment in &segments.segments {
                    let Shape { parts, depth } = shape(segment.slot);
                    for position in segment.positions.clone() {
                        for part in 0..300 {
                            let expected = usize::from(part < parts && depth > 0);
                            assert_eq!(covered[position * 300 + part], expected, "{position} {part}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn many_threads_get_many_tasks_and_small_work_stays_whole() {
        let segments = Segments::new(&Routes::of_slots([Some(0)]), 0..1);
        let tasks = |threads, parts| {
            let mut tasks = Vec::new();
            cut(&mut tasks, &segments, 0, threads, (4, 4096), |_| Shape { parts, depth: 4096 });
            tasks.len()
        };
        assert_eq!((tasks(1, 64), tasks(2, 64), tasks(2, 4)), (1, 8, 1));
    }

    #[test]
    fn columns_are_cut_however_many_positions_there_are() {
        for rows in [0, 1, 100, 300_000] {
            let segments = Segments::new(&Routes::of_slots(vec![Some(0); rows]), 0..rows);
            for outputs in [0, 1, 64, 130, 5000] {
                let mut tasks = Vec::new();
                cut_columns(&mut tasks, &segments, 1, 2, (64, outputs));
                let ends = tasks.iter().map(|task| task.parts.end);
                let starts = tasks.iter().map(|task| task.parts.start).skip(1).chain([outputs]);
                assert!(ends.eq(starts.take(tasks.len())), "{rows} {outputs}: {tasks:?}");
                assert_eq!(tasks.first().map_or(0, |task| task.parts.start), 0);
                assert_eq!(tasks.is_empty(), outputs == 0);
            }
        }
    }

    #[test]
    fn few_parts_cut_the_rows_and_few_rows_the_parts() {
        assert_eq!(row_blocks(64, 16, 4, 1), 4);
        assert_eq!(row_blocks(2, 16, 4, 1), 1);
        assert_eq!(row_blocks(64, 4096, 8, 1), 1);
        assert_eq!(row_blocks(300, 4096, 2, 5), 5);
    }

    #[test]
    fn every_item_is_worked_on_once() {
        let pool = CpuPool::default();
        for count in [0, 1, 2, 1000] {
            let items: Vec<AtomicUsize> = (0..count).map(AtomicUsize::new).collect();
            for_each(&pool, &items, |item, seen: &mut usize| {
                item.fetch_add(10_000, Ordering::Relaxed);
                *seen += 1;
            });
            let right = |(at, item): (usize, &AtomicUsize)| item.load(Ordering::Relaxed) == at + 10_000;
            assert!(items.iter().enumerate().all(right), "{count}");
        }
    }
}
