//! Recording into the caller's encoder, on the caller's buffers.

use super::copies::GroupWindow;
use super::{Input, Output, Strided};
use crate::device::{Arena, CommandEncoder, DeviceBuffer, Limits, RawBuffer, Slice};
use crate::error::{Error, Result};
use crate::lora::perform::Step;
use crate::lora::pool::{Bank, Lease};
use crate::lora::values::Precision;

/// Rows in a buffer of the caller's: row `r` begins at element `first + r * stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferRows {
    /// Elements before the first row.
    pub first: u64,
    /// Elements from row to row, at least the features of a row.
    pub stride: u64,
}

/// What was recorded needs this to live until the caller submitted its encoder: it keeps the adapters where they are.
/// The parameters and intermediate values that the commands name are not used for anything else, even after that.
#[derive(Default)]
pub struct Recording {
    arena: Arena,
    shrunk: Vec<DeviceBuffer>,
    leases: Vec<Lease>,
}

impl Recording {
    /// Keeps the adapters of `lease`.
    fn hold(&mut self, lease: &Lease) {
        if !self.leases.iter().any(|held| held.is(lease)) {
            self.leases.push(lease.clone());
        }
    }

    /// Makes room for what shrink makes, in the last buffer. Commands of one encoder run in order, so all groups share it.
    fn room(&mut self, bank: &Bank, bytes: u64) -> Result<()> {
        let fits = |buffer: &DeviceBuffer| buffer.size_bytes() >= bytes && bank.gpu.keeps(buffer);
        if !self.shrunk.last().is_some_and(fits) {
            self.shrunk.push(bank.gpu.buffer("shrunk", bytes)?);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("intermediates", &self.shrunk.len()).finish_non_exhaustive()
    }
}

/// Activations in a buffer of the caller's, which has the usage `STORAGE`.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// The buffer, of the device that the pool is on.
    pub buffer: &'a RawBuffer,
    /// The type of its elements.
    pub precision: Precision,
}

impl Step {
    /// Records [`Step::apply`] for group `group` into `encoder`: x and y are read and updated where they are, when the
    /// caller submits. All modules of the group are updated in one buffer `y`, module `i` at `y_rows[i]`. Rows of
    /// 16-bit elements in y begin at even elements; rows that begin at multiples of 8 (x) and 4 (y) elements are
    /// fastest. `recording` has to live until `encoder` was submitted, this step and its lease need not.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a pool that is not on a GPU, a group beyond the last, odd rows of 16-bit elements, a
    /// stride below the features or a buffer that is too short or not for storage; [`Error::Shape`] where `y_rows` has
    /// not one entry per module; [`Error::TooLarge`] where the rows exceed a binding, and as [`Step::apply`]; device
    /// errors. Only these last ones may leave a part of the work recorded.
    pub fn record(
        &self,
        encoder: &mut CommandEncoder,
        recording: &mut Recording,
        group: usize,
        x: (Activations<'_>, BufferRows),
        y: (Activations<'_>, &[BufferRows]),
    ) -> Result<()> {
        let Some(bank) = self.lease.bank() else {
            return Err(Error::parameter("pool", "a pool on a GPU", self.lease.backend().name()));
        };
        let about = self.lease.group(group)?;
        if y.1.len() != about.modules.len() {
            let expected = format!("rows for each of {} modules", about.modules.len());
            return Err(Error::shape("y_rows", expected, format!("rows for {}", y.1.len())));
        }
        let places: Vec<(BufferRows, usize)> =
            y.1.iter().copied().zip(about.modules.iter().map(|module| module.outputs)).collect();
        if y.0.precision != Precision::F32
            && let Some((rows, _)) = places.iter().find(|(rows, _)| rows.first % 2 + rows.stride % 2 > 0)
        {
            let got = format!("first {}, stride {}", rows.first, rows.stride);
            let rule = "rows that begin at even elements, as 16-bit types ask for";
            return Err(Error::parameter("y_rows", rule, got));
        }
        // All windows are checked before anything is recorded.
        let limits = bank.gpu.limits();
        let all = GroupWindow::of(self, bank, group)?;
        let mut bound = Vec::with_capacity(all.len());
        for work in &all {
            let rows = &work.window.rows;
            let (x_slice, x_rows) = bind("x", x.0, &[(x.1, about.inputs())], rows, &limits)?;
            let (y_slice, targets) = bind("y", y.0, &places, rows, &limits)?;
            let input = Input { slice: x_slice, precision: x.0.precision, rows: x_rows[0] };
            bound.push((input, Output { slice: y_slice, precision: y.0.precision, targets }));
        }
        let Some(most_bytes) = all.iter().map(GroupWindow::shrunk_bytes).max() else { return Ok(()) };
        recording.hold(&self.lease);
        recording.room(bank, most_bytes)?;
        let Recording { arena, shrunk, .. } = recording;
        let shrunk = &shrunk[shrunk.len() - 1];
        for (work, (input, output)) in all.iter().zip(&bound) {
            let (plan, task) = (&work.plan, work.task());
            let mut batch = bank.gpu.batch("lora");
            task.shrink(&mut batch, plan, input, shrunk)?;
            task.expand(&mut batch, plan.planes, plan.stride, shrunk, output)?;
            batch.encode_into(encoder, arena)?;
        }
        Ok(())
    }
}

/// The part of a caller's buffer that holds rows `window` of all `places` (rows, features), and where they begin in it.
fn bind<'b>(
    name: &'static str,
    activations: Activations<'b>,
    places: &[(BufferRows, usize)],
    window: &std::ops::Range<usize>,
    limits: &Limits,
) -> Result<(Slice<'b>, Vec<Strided>)> {
    let size = activations.precision.size_bytes() as u64;
    let (mut begin, mut end) = (u64::MAX, 0);
    for (rows, features) in places {
        if rows.stride < *features as u64 {
            let rule = format!("a stride of at least {features} elements");
            return Err(Error::parameter(name, rule, format!("{} elements", rows.stride)));
        }
        let at = |row: usize| (row as u64).checked_mul(rows.stride)?.checked_add(rows.first);
        let last = at(window.end - 1).and_then(|first| first.checked_add(*features as u64));
        let (Some(first), Some(last)) = (at(window.start), last) else {
            let got = format!("a stride of {} elements", rows.stride);
            return Err(Error::parameter(name, "rows within 2^64 elements", got));
        };
        begin = begin.min(first);
        end = end.max(last);
    }
    // A binding begins at a multiple of the device's step, and at whole vectors.
    let step = u64::from(limits.min_offset_alignment.max(16)) / size;
    let offset = begin - begin % step;
    let bytes = (end - offset).checked_mul(size).and_then(|bytes| bytes.checked_next_multiple_of(4));
    let needed_bytes = bytes.unwrap_or(u64::MAX);
    let Some(offset_bytes) = offset.checked_mul(size) else {
        return Err(Error::parameter(name, "rows within 2^64 bytes", format!("first element {begin}")));
    };
    // Kernels count elements in 32 bits.
    let limit_bytes = limits.max_binding_bytes.min(size << 32);
    if needed_bytes > limit_bytes {
        let what = format!("rows of {name} in one binding");
        return Err(Error::TooLarge { what, needed_bytes, limit_bytes });
    }
    // Vectors at the end of a row may reach beyond the last row.
    let room = activations.buffer.size().saturating_sub(offset_bytes);
    let whole = needed_bytes.next_multiple_of(8 * size).min(limit_bytes);
    let bytes = whole.min(room - room % 4).max(needed_bytes);
    let slice = Slice::of_caller(name, activations.buffer, offset_bytes, bytes)?;
    let strided = |(rows, features): &(BufferRows, usize)| Strided {
        first: rows.first + window.start as u64 * rows.stride - offset,
        stride: rows.stride,
        columns: *features as u64,
    };
    Ok((slice, places.iter().map(strided).collect()))
}
