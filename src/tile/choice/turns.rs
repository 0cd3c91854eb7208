//! All rows meet all columns of a window, in submissions of bounded length.

use std::time::Instant;

use crate::cancel::Cancel;
use crate::device::{Batch, Gpu, Pacer};
use crate::error::Result;

/// What is to be met, and by how many at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meeting {
    /// First of the rows, and their number.
    pub rows: (usize, usize),
    /// Rows of a tile, which turns are multiples of.
    pub tile_rows: u32,
    /// Columns, and those of one step.
    pub columns: (usize, usize),
    pub depth: usize,
}

/// Records every step of columns for every row: `record` gets rows (the first, and their number) and the first column.
/// Where one step of all rows is a long dispatch, rows take turns; where it is a short one, several steps share a submission.
pub(crate) fn in_turns<'a>(
    gpu: &Gpu,
    label: &'static str,
    meeting: Meeting,
    pacer: &Pacer,
    cancel: &Cancel,
    record: impl Fn(&mut Batch<'a>, (usize, usize), usize) -> Result<()>,
) -> Result<()> {
    let Meeting { rows: (first, count), tile_rows, columns: (columns, step), depth } = meeting;
    let units = depth as f64 * step.min(columns) as f64;
    let steps = columns.div_ceil(step);
    let mut row = first;
    while row < first + count {
        let left = (first + count - row) as u64;
        let turn = pacer.rows(left, units).next_multiple_of(u64::from(tile_rows)).min(left);
        let mut done = 0;
        while done < steps {
            cancel.check()?;
            let together = pacer.rows((steps - done) as u64, units * turn as f64) as usize;
            let begin = Instant::now();
            let mut batch = gpu.batch(label);
            for number in done..done + together {
                record(&mut batch, (row, turn as usize), number * step)?;
            }
            batch.submit_and_wait()?;
            pacer.record(units * turn as f64 * together as f64, begin.elapsed());
            done += together;
        }
        row += turn as usize;
    }
    Ok(())
}
