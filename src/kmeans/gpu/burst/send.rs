//! Passes under way: how many are sent at a time, and what their records say.

use std::collections::VecDeque;
use std::time::Instant;

use bytemuck::pod_collect_to_vec;

use super::kernels::{RUNS, Record, STATUSES};
use super::record::Buffers;
use crate::device::{DeviceBuffer, Encoded, Gpu, Pacer, Program, Sent};
use crate::error::{Error, Result};
use crate::kmeans::lloyd::Start;

/// Passes of one submission at most.
const MOST_PASSES: u32 = 8;
/// Submissions under way: while the host reads one the device has another.
const UNDER_WAY: usize = 2;

/// How many passes each submission takes: twice as many as the one before, as far as their time allows. A submission takes
/// what the pacer gives a dispatch, so that a cancelled fit waits for two of those.
pub(super) struct Schedule {
    pub pacer: Pacer,
    pub units_per_pass: f64,
    pub most: u32,
    planned: u32,
    last: u32,
}

impl Schedule {
    /// At most `most` passes of so many units.
    pub fn new(pacer: Pacer, units_per_pass: f64, most: usize) -> Self {
        Self { pacer, units_per_pass, most: u32::try_from(most).unwrap_or(u32::MAX), planned: 0, last: 0 }
    }

    /// The first pass and the number of passes of the next submission.
    fn next(&mut self) -> Option<(u32, u32)> {
        let (first, left) = (self.planned, self.most - self.planned);
        let wanted = (2 * self.last).clamp(1, MOST_PASSES);
        self.last = self.pacer.rows(u64::from(wanted), self.units_per_pass) as u32;
        let passes = self.last.min(left);
        self.planned += passes;
        (passes > 0).then_some((first, passes))
    }

    /// No pass follows.
    fn end(&mut self) {
        self.most = self.planned;
    }
}

/// Passes under way.
pub(super) struct Passing<'p, 'a> {
    pub gpu: &'p Gpu,
    pub program: &'p Program<'a>,
    pub buffers: &'p Buffers,
    /// What the first pass finds set to zero.
    pub cleared: &'p [&'p DeviceBuffer],
}

/// How a burst went.
pub(super) struct Outcome {
    /// Passes in their order; the last one ended the burst or came to no end where the status says so.
    pub records: Vec<Record>,
    pub status: u32,
}

impl Passing<'_, '_> {
    /// Sends passes until the burst ends. What follows those under way is encoded while the device has them, so that an
    /// answer is followed by a submission at once.
    pub fn send_all(&self, start: &Start, mut schedule: Schedule) -> Result<Outcome> {
        let mut under_way: VecDeque<(Sent, u32)> = VecDeque::new();
        let mut following = self.encode_next(&mut schedule)?;
        let mut answered = Instant::now();
        let mut outcome = Outcome { records: Vec::new(), status: RUNS };
        loop {
            while under_way.len() < UNDER_WAY
                && let Some((encoded, passes)) = following.take()
            {
                under_way.push_back((encoded.send()?, passes));
                following = self.encode_next(&mut schedule)?;
            }
            let Some((flight, passes)) = under_way.pop_front() else { return Ok(outcome) };
            let begun = answered.max(flight.sent());
            let records = flight.finish(|bytes| {
                let parts = bytes.iter().map(|part| pod_collect_to_vec::<u8, Record>(part));
                parts.flatten().collect::<Vec<_>>()
            })?;
            answered = Instant::now();
            if outcome.status != RUNS {
                // Nothing came of what was sent behind the end.
                continue;
            }
            for record in records {
                self.check(&record, outcome.records.len())?;
                outcome.records.push(record);
                outcome.status = record.mark % STATUSES;
                if outcome.status != RUNS {
                    schedule.end();
                    following = None;
                    break;
                }
            }
            if outcome.status == RUNS {
                schedule.pacer.record(schedule.units_per_pass * f64::from(passes), answered - begun);
            }
            start.cancel.check()?;
        }
    }

    fn encode_next(&self, schedule: &mut Schedule) -> Result<Option<(Encoded, u32)>> {
        let Some((first, passes)) = schedule.next() else { return Ok(None) };
        let cleared = if first == 0 { self.cleared } else { &[] };
        let encoded = self.program.encoded(passes, cleared, &self.buffers.records(first, passes))?;
        Ok(Some((encoded, passes)))
    }

    /// A device that skipped a pass, or took one twice, is not believed.
    fn check(&self, record: &Record, expected: usize) -> Result<()> {
        let pass = record.mark / STATUSES;
        if pass as usize == expected {
            return Ok(());
        }
        let reason = format!("the record of pass {expected} says that it is that of {pass}");
        Err(Error::WrongResult { device: self.gpu.name(), operation: "a burst of passes", reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(units_per_pass: f64, most: usize) -> Vec<u32> {
        let mut schedule = Schedule::new(Pacer::given(3e13), units_per_pass, most);
        std::iter::from_fn(|| schedule.next().map(|(_, passes)| passes)).collect()
    }

    /// 2,048 x 32 with K 16, 4,000 x 16 with K 32 and 100,000 x 128 with K 1000 on a device of 30 TFLOP/s.
    #[test]
    fn eleven_passes_are_four_submissions_and_eight_more_are_one() {
        for (rows, columns, clusters) in [(2048.0, 32.0, 16.0), (4000.0, 16.0, 32.0), (1e5, 128.0, 1000.0)] {
            let units = 2.0 * rows * columns * clusters;
            assert_eq!(sizes(units, 11), [1, 2, 4, 4]);
            assert_eq!(sizes(units, 47), [1, 2, 4, 8, 8, 8, 8, 8]);
            assert_eq!(sizes(units, 1), [1]);
        }
        // 4,194,304 x 128 with K 1000: 36 ms a pass.
        assert_eq!(sizes(2.0 * 4_194_304.0 * 128.0 * 1000.0, 4), [1, 1, 1, 1]);
    }
}
