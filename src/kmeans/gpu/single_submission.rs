//! A pass of Lloyd's algorithm on the GPU in one submission, where the rows are few: labels and sums, and one wait.
//!
//! The device sums by its tile's labels. Rows that the host then labels otherwise are moved in the sums that came back; on the
//! device they follow in the next pass, like every row whose label is not the one that it is summed under.

use super::GpuPasses;
use super::plan::UpdatePlan;
use super::sums::Labelled;
use crate::device::DeviceBuffer;
use crate::error::Result;
use crate::kmeans::lloyd::Pass;
use crate::tile::nearest::gpu::single_submission::{Answer, Moved, Settled};
use crate::tile::nearest::gpu::{Task, Window};
use crate::tile::operands::gpu::columns::DeviceBook;

impl GpuPasses<'_, '_> {
    /// The pass over rows that are one window, if they are few enough.
    pub(crate) fn pass_in_one_submission(
        &mut self,
        book: &DeviceBook,
        update: &UpdatePlan,
        window: &Window,
        weights: Option<&DeviceBuffer>,
    ) -> Result<Option<Pass>> {
        let problem = self.problem;
        let load = |row: usize, x: &mut [f32]| problem.load(window.start + row, x);
        let (labels, summed) = (&self.labels[0], &self.summed[0]);
        let reach = self.pruner.as_ref().map(|pruner| pruner.reach(0));
        let task = Task { book, largest_norm: problem.largest_norm, window, labels, reach, load: &load };
        let Some(at_once) = self.labeller.at_once(&task) else { return Ok(None) };
        let (summer, labeller, sums) = (&self.summer, &self.labeller, &mut self.sums);
        let mut batch = self.gpu.batch("pass");
        labeller.record(&mut batch, &task, at_once)?;
        let rows = Labelled { window, weights, labels, summed };
        summer.record(&mut batch, update, &rows, labeller.scratch())?;
        let [counters, listed, found] = labeller.ranges(at_once);
        let [values, totals] = summer.ranges();
        let answer = batch.submit_and_take(&[counters, listed, found, values, totals], |bytes| {
            summer.take(&bytes[3..], sums);
            Answer::of(at_once, bytes)
        })?;
        let settled = self.labeller.settle(&task, at_once, answer)?;
        #[cfg(test)]
        self.taken.count(&settled);
        match settled {
            Settled::AtOnce(labelled, moved) => {
                self.move_rows(window, &moved)?;
                Ok(Some(self.passed(labelled, window.rows)))
            }
            Settled::Again(labelled) => {
                self.update_window(update, window, weights, 0)?;
                self.summer.read(&self.gpu, &mut self.sums)?;
                Ok(Some(self.passed(labelled, window.rows)))
            }
        }
    }

    /// Moves rows in the sums that came back. Those on the device follow in the next pass, like every row whose label is
    /// not the one that it is summed under.
    fn move_rows(&mut self, window: &Window, moved: &[Moved]) -> Result<()> {
        let mut x = vec![0.0; self.problem.columns];
        for &Moved { row, from, to } in moved {
            let row = window.start + row as usize;
            self.problem.load(row, &mut x)?;
            self.problem.move_row(&x, row, Some(from), to, &mut self.sums);
        }
        Ok(())
    }
}
