//! Both products for arrays of the host: rows are copied to the device and back, window by window.

use std::ops::Range;

use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice as Rows};

use super::plan::ShrinkPlan;
use super::{Input, OnDevice, Output, Strided, Task};
use crate::device::DeviceBuffer;
use crate::error::{Error, Result};
use crate::lora::perform::{Shrunk, Step, Window};
use crate::lora::pool::Bank;
use crate::lora::route_order::segments_of;
use crate::lora::segments::Segment;
use crate::lora::values::Scalar;

/// The slabs that the adapters of a window lie in, for one group.
fn slabs(step: &Step, window: &Window, group: usize) -> Result<Vec<u32>> {
    let members = step.lease.members();
    let used = |segment: &Segment| {
        let member = &members[segment.slot];
        member.ranks[group].iter().any(|rank| *rank > 0).then_some(member.slabs[group])
    };
    let mut slabs: Vec<u32> = window.segments.segments.iter().filter_map(used).collect();
    slabs.sort_unstable();
    slabs.dedup();
    if slabs.len() > 1 && window.segments.has_several && mixes_slabs(step, window, group) {
        return Err(Error::TooLarge {
            what: "adapters of rows with several routes, which have to lie in one binding".into(),
            needed_bytes: slabs.iter().map(|slab| step.lease.slab_bytes(*slab)).sum(),
            limit_bytes: step.lease.slab_bytes(slabs[0]),
        });
    }
    Ok(slabs)
}

/// Whether the adapters of some row lie in more than one slab.
fn mixes_slabs(step: &Step, window: &Window, group: usize) -> bool {
    let members = step.lease.members();
    window.rows.clone().any(|row| {
        let used = step.routes().of_row(row).iter().map(|route| &members[route.slot as usize]);
        let mut slabs = used
            .filter(|member| member.ranks[group].iter().any(|rank| *rank > 0))
            .map(|member| member.slabs[group]);
        slabs.next().is_some_and(|first| slabs.any(|slab| slab != first))
    })
}

/// A window that has something to do for one group, with how it goes.
pub(crate) struct GroupWindow<'s> {
    pub window: &'s Window,
    pub on_device: &'s OnDevice,
    pub plan: ShrinkPlan,
    bank: &'s Bank,
    group: usize,
    slabs: Vec<u32>,
}

impl<'s> GroupWindow<'s> {
    /// For each window of `step` whose adapters update group `group`.
    pub fn of(step: &'s Step, bank: &'s Bank, group: usize) -> Result<Vec<Self>> {
        let mut all = Vec::with_capacity(step.windows.len());
        for window in &step.windows {
            let slabs = slabs(step, window, group)?;
            let Some(on_device) = window.on_device.as_ref().filter(|_| !slabs.is_empty()) else { continue };
            let plan = shrink_plan(step, window, on_device, bank, group);
            all.push(Self { window, on_device, plan, bank, group, slabs });
        }
        Ok(all)
    }

    /// What records it.
    pub fn task(&self) -> Task<'_> {
        Task { bank: self.bank, batch: self.on_device, group: self.group, slabs: &self.slabs }
    }

    /// Bytes of what shrink makes.
    pub fn shrunk_bytes(&self) -> u64 {
        self.plan.shrunk_bytes(self.on_device.plan.positions)
    }

    /// Kernels that both products launch.
    pub fn launches(&self) -> usize {
        self.slabs.len() * (self.plan.launches.len() + self.on_device.plan.expand.len())
    }
}

/// How shrink goes for one group of a window.
fn shrink_plan(step: &Step, window: &Window, on_device: &OnDevice, bank: &Bank, group: usize) -> ShrinkPlan {
    let members = step.lease.members();
    let ranks: Vec<u32> = window
        .segments
        .segments
        .iter()
        .map(|segment| members[segment.slot].ranks[group].iter().sum())
        .collect();
    on_device.plan.shrink_of(step.lease.groups()[group].inputs(), &ranks, &bank.gpu.limits())
}

/// Rows on their way to or from a device, each filled up to a multiple of `step` elements.
pub(crate) struct Packed {
    pub bytes: Vec<u8>,
    pub rows: Vec<Strided>,
}

impl Packed {
    pub fn new<T: Scalar>(arrays: &[ArrayView2<'_, T>], step: usize) -> Self {
        let mut packed = Self { bytes: Vec::new(), rows: Vec::new() };
        let size = size_of::<T>();
        for array in arrays {
            let stride = array.ncols().next_multiple_of(step);
            let first = packed.bytes.len() / size;
            packed.rows.push(Strided {
                first: first as u64,
                stride: stride as u64,
                columns: array.ncols() as u64,
            });
            packed.bytes.reserve(array.nrows() * stride * size);
            for row in array.rows() {
                match row.as_slice() {
                    Some(values) => packed.bytes.extend_from_slice(bytemuck::cast_slice(values)),
                    None => {
                        row.iter().for_each(|value| packed.bytes.extend_from_slice(bytemuck::bytes_of(value)))
                    }
                }
                packed.bytes.resize(packed.bytes.len() + (stride - array.ncols()) * size, 0);
            }
        }
        packed
    }
}

/// Copies what came back into the rows of `array`.
fn unpack<T: Scalar>(bytes: &[u8], rows: &Strided, array: &mut ArrayViewMut2<'_, T>) {
    let size = size_of::<T>();
    for (number, mut row) in array.rows_mut().into_iter().enumerate() {
        let begin = (rows.first as usize + number * rows.stride as usize) * size;
        for (value, bytes) in row.iter_mut().zip(bytes[begin..].chunks_exact(size)) {
            *value = bytemuck::pod_read_unaligned(bytes);
        }
    }
}

/// Both products for arrays of the host.
pub(crate) fn apply<X: Scalar, Y: Scalar>(
    step: &Step,
    group: usize,
    x: ArrayView2<'_, X>,
    y: &mut [ArrayViewMut2<'_, Y>],
) -> Result<()> {
    let bank = step.lease.bank_or_lost()?;
    // An error leaves y as it was.
    let mut done = Vec::with_capacity(step.windows.len());
    for work in &GroupWindow::of(step, bank, group)? {
        let (window, plan, task) = (work.window, &work.plan, work.task());
        let inputs = Packed::new(&[x.slice_axis(Axis(0), Rows::from(window.rows.clone()))], 8);
        let x_buffer = bank.gpu.filled("x", &inputs.bytes)?;
        let input = Input { slice: x_buffer.whole(), precision: X::PRECISION, rows: inputs.rows[0] };
        let shrunk = bank.gpu.buffer("shrunk", work.shrunk_bytes())?;
        let (y_buffer, targets) = upload_outputs(bank, window, y)?;
        let output = Output { slice: y_buffer.whole(), precision: Y::PRECISION, targets };
        let mut batch = bank.gpu.batch("lora");
        task.shrink(&mut batch, plan, &input, &shrunk)?;
        task.expand(&mut batch, plan.planes, plan.stride, &shrunk, &output)?;
        let mut read = batch.submit_and_read(&[(&y_buffer, 0..y_buffer.size_bytes())])?;
        done.push((window, output.targets, read.swap_remove(0)));
    }
    done.iter().for_each(|(window, targets, bytes)| return_outputs(bytes, window, targets, y));
    Ok(())
}

fn upload_outputs<Y: Scalar>(
    bank: &Bank,
    window: &Window,
    y: &[ArrayViewMut2<'_, Y>],
) -> Result<(DeviceBuffer, Vec<Strided>)> {
    let rows = Rows::from(window.rows.clone());
    let views: Vec<_> = y.iter().map(|array| array.slice_axis(Axis(0), rows)).collect();
    let packed = Packed::new(&views, 4);
    Ok((bank.gpu.filled("y", &packed.bytes)?, packed.rows))
}

fn return_outputs<Y: Scalar>(
    bytes: &[u8],
    window: &Window,
    targets: &[Strided],
    y: &mut [ArrayViewMut2<'_, Y>],
) {
    for (rows, array) in targets.iter().zip(y) {
        unpack(bytes, rows, &mut array.slice_axis_mut(Axis(0), Rows::from(window.rows.clone())));
    }
}

/// The positions of a window in the order of its routes, each with the places of its values in a [`Shrunk`], of which
/// the first is `first`.
fn places_of(
    step: &Step,
    window: &Window,
    group: usize,
    first: usize,
) -> impl Iterator<Item = (usize, Range<usize>)> {
    let segments = &window.segments;
    let of = segments_of(segments);
    let ranks = step.module_ranks(group);
    segments.by_row.iter().scan(first, move |begin, &position| {
        let rank: u32 = ranks(segments.segments[of[position as usize]].slot).iter().sum();
        let places = *begin..*begin + rank as usize;
        *begin = places.end;
        Some((position as usize, places))
    })
}

/// The first product for arrays of the host.
pub(crate) fn shrink<X: Scalar>(
    step: &Step,
    group: usize,
    x: ArrayView2<'_, X>,
    made: &mut Shrunk,
) -> Result<()> {
    let bank = step.lease.bank_or_lost()?;
    for work in &GroupWindow::of(step, bank, group)? {
        let (window, plan, task) = (work.window, &work.plan, work.task());
        let inputs = Packed::new(&[x.slice_axis(Axis(0), Rows::from(window.rows.clone()))], 8);
        let x_buffer = bank.gpu.filled("x", &inputs.bytes)?;
        let input = Input { slice: x_buffer.whole(), precision: X::PRECISION, rows: inputs.rows[0] };
        let (positions, bytes) = (work.on_device.plan.positions, work.shrunk_bytes());
        let shrunk = bank.gpu.buffer("shrunk", bytes)?;
        let mut batch = bank.gpu.batch("lora shrink");
        task.shrink(&mut batch, plan, &input, &shrunk)?;
        let read = batch.submit_and_read(&[(&shrunk, 0..bytes)])?;
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&read[0]);
        let stride = plan.stride as usize;
        for (position, places) in places_of(step, window, group, made.first_of_row(window.rows.start)) {
            for (index, place) in places.enumerate() {
                let of_plane =
                    |plane: usize| values[(plane * positions as usize + position) * stride + index];
                made.values_mut()[place] =
                    (0..plan.planes as usize).fold(0.0, |sum, plane| sum + of_plane(plane));
            }
        }
    }
    Ok(())
}

/// The second product for arrays of the host.
pub(crate) fn expand<Y: Scalar>(
    step: &Step,
    group: usize,
    made: &Shrunk,
    y: &mut [ArrayViewMut2<'_, Y>],
) -> Result<()> {
    let bank = step.lease.bank_or_lost()?;
    // An error leaves y as it was.
    let mut done = Vec::with_capacity(step.windows.len());
    for work in &GroupWindow::of(step, bank, group)? {
        let (window, plan, task) = (work.window, &work.plan, work.task());
        let (positions, stride) = (work.on_device.plan.positions as usize, plan.stride as usize);
        let mut values = vec![0.0_f32; positions * stride];
        for (position, places) in places_of(step, window, group, made.first_of_row(window.rows.start)) {
            let begin = position * stride;
            values[begin..begin + places.len()].copy_from_slice(&made.values()[places]);
        }
        let shrunk = bank.gpu.filled("shrunk", &values)?;
        let (y_buffer, targets) = upload_outputs(bank, window, y)?;
        let output = Output { slice: y_buffer.whole(), precision: Y::PRECISION, targets };
        let mut batch = bank.gpu.batch("lora expand");
        task.expand(&mut batch, 1, plan.stride, &shrunk, &output)?;
        let mut read = batch.submit_and_read(&[(&y_buffer, 0..y_buffer.size_bytes())])?;
        done.push((window, output.targets, read.swap_remove(0)));
    }
    done.iter().for_each(|(window, targets, bytes)| return_outputs(bytes, window, targets, y));
    Ok(())
}
