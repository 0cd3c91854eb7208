//! Timing on a GPU: everything lies there already, as in an engine.

use ndarray::Array2;

use super::{ReadBytes, Timed};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::lora::gpu::copies::{GroupWindow, Packed};
use crate::lora::gpu::{Input, Output, Strided};
use crate::lora::{Scalar, Step};
use crate::measure::on_gpu::large_bytes;

/// Times the batch of `step` on group 0, kernels alone; `None` where the pool is not on a GPU.
pub(super) fn time<T: Scalar>(
    step: &Step,
    x: &Array2<T>,
    repetitions: usize,
    cancel: &Cancel,
) -> Result<Option<Timed>> {
    let Some(bank) = step.lease().bank() else { return Ok(None) };
    let gpu = &bank.gpu;
    if step.windows.len() != 1 {
        let rule = "as few rows as the device takes in one window";
        return Err(Error::parameter("rows", rule, step.routes().rows()));
    }
    // Adapters of rank 0 launch nothing.
    let Some(work) = GroupWindow::of(step, bank, 0)?.pop() else { return Ok(None) };
    let (plan, task) = (&work.plan, work.task());
    let size = size_of::<T>() as u64;
    let outputs = step.lease().groups()[0].modules[0].outputs as u64;
    let packed = Packed::new(&[x.view()], 8);
    let x_buffer = bank.gpu.filled("x", &packed.bytes)?;
    let y_rows = Strided { first: 0, stride: outputs.next_multiple_of(4), columns: outputs };
    let y_buffer = gpu.buffer("y", x.nrows() as u64 * y_rows.stride * size)?;
    let shrunk = gpu.buffer("shrunk", work.shrunk_bytes())?;
    let mut zeros = gpu.batch("lora bench");
    zeros.clear(&y_buffer)?;
    zeros.submit()?;
    let input = Input { slice: x_buffer.whole(), precision: T::PRECISION, rows: packed.rows[0] };
    let output = Output { slice: y_buffer.whole(), precision: T::PRECISION, targets: vec![y_rows] };
    // A cache is worth flushing where the memory is not the host's.
    let flusher = if gpu.is_software() { None } else { Some(gpu.buffer("flushed", large_bytes(gpu))?) };

    let mut seconds = Vec::with_capacity(repetitions);
    let mut counters = None;
    for _ in 0..repetitions {
        cancel.check()?;
        if let Some(flusher) = &flusher {
            let mut batch = gpu.batch("flush");
            batch.clear(flusher)?;
            batch.submit()?;
        }
        let before = gpu.counters();
        let mut batch = gpu.batch("lora bench");
        task.shrink(&mut batch, plan, &input, &shrunk)?;
        task.expand(&mut batch, plan.planes, plan.stride, &shrunk, &output)?;
        seconds.push(batch.submit_and_wait()?.as_secs_f64());
        counters = Some(gpu.counters().since(&before));
    }

    let counting = Step::new(step.lease(), step.routes(), true)?;
    let mut read = None;
    for work in GroupWindow::of(&counting, bank, 0)? {
        let Some(counts) = &work.on_device.counts else { continue };
        let (plan, task) = (&work.plan, work.task());
        let mut batch = gpu.batch("lora count");
        task.shrink(&mut batch, plan, &input, &shrunk)?;
        task.expand(&mut batch, plan.planes, plan.stride, &shrunk, &output)?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&batch.submit_and_read(&[(counts, 0..16)])?[0]);
        let [activations, weights, shrunk, tables] = [0, 1, 2, 3].map(|at| 4 * u64::from(words[at]));
        read = Some(ReadBytes { activations, weights, shrunk, tables });
    }
    Ok(Some(Timed { seconds, launches: work.launches(), read, counters }))
}
