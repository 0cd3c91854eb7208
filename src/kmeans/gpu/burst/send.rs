//! Passes under way: how many are sent at a time, and what their records say.

use std::collections::VecDeque;
use std::time::Duration;

use bytemuck::pod_collect_to_vec;

use super::kernels::{RUNS, Record, STATUSES};
use super::record::Buffers;
use crate::device::{DeviceBuffer, Gpu, Program, Sent};
use crate::error::{Error, Result};
use crate::kmeans::lloyd::Start;

/// Passes of one submission at most.
const MOST_PASSES: u32 = 8;
/// What one submission should take at most: a cancelled fit waits for two of them.
const TARGET: Duration = Duration::from_millis(50);

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
    /// Sends passes until the burst ends, twice as many each time as far as their time allows, always some behind those
    /// that are awaited.
    pub fn send_all(&self, start: &Start) -> Result<Outcome> {
        let most = u32::try_from(start.most).unwrap_or(u32::MAX);
        let mut under_way: VecDeque<(Sent, u32)> = VecDeque::new();
        let (mut sent, mut next, mut bound) = (0, 1, 2);
        let mut outcome = Outcome { records: Vec::new(), status: RUNS };
        loop {
            while under_way.len() < 2 && sent < most {
                let passes = next.min(most - sent);
                let cleared = if sent == 0 { self.cleared } else { &[] };
                let flight = self.program.send(passes, cleared, &self.buffers.records(sent, passes))?;
                under_way.push_back((flight, passes));
                sent += passes;
                next = (2 * next).min(bound);
            }
            let Some((flight, passes)) = under_way.pop_front() else { return Ok(outcome) };
            let take = |bytes: &[&[u8]]| -> Vec<Record> {
                bytes.iter().flat_map(|part| pod_collect_to_vec::<u8, Record>(part)).collect()
            };
            let (records, elapsed) = flight.finish(take)?;
            if outcome.status != RUNS {
                // Nothing came of what was sent behind the end.
                continue;
            }
            for record in records {
                let (pass, status) = (record.mark / STATUSES, record.mark % STATUSES);
                if pass as usize != outcome.records.len() {
                    let reason = format!(
                        "the record of pass {} says that it is that of {pass}",
                        outcome.records.len()
                    );
                    return Err(Error::WrongResult {
                        device: self.gpu.name(),
                        operation: "a burst of passes",
                        reason,
                    });
                }
                outcome.records.push(record);
                outcome.status = status;
                if status != RUNS {
                    sent = most;
                    break;
                }
            }
            start.cancel.check()?;
            let fitting = TARGET.as_secs_f64() * f64::from(passes) / elapsed.as_secs_f64().max(1e-9);
            bound = (fitting as u32).clamp(1, MOST_PASSES);
            next = next.min(bound);
        }
    }
}
