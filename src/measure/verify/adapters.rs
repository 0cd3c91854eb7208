//! Batches of LoRA adapters against their definition.

use half::{bf16, f16};
use ndarray::Array2;

use super::battery::{Battery, Outcome, Planted};
use crate::error::Result;
use crate::lora::{Factors, Precision, Routes, Scalar, apply};
use crate::measure::data::uniform;
use crate::measure::lora::worst_share;
use crate::measure::record::Check;

/// A batch: rows, adapters, features of x and of y.
type Batch = (usize, usize, usize, usize);

pub(super) fn checks(battery: &Battery) -> Result<Vec<Check>> {
    // Few rows stream, many rows of one adapter go through tiles; odd sizes have partial vectors.
    let batches: [Batch; 7] = [
        (1, 1, 8, 8),
        (5, 5, 33, 17),
        (9, 3, 128, 130),
        (40, 1, 64, 96),
        (70, 2, 100, 36),
        (64, 40, 48, 64),
        (3, 2, 1030, 7),
    ];
    Precision::ALL
        .into_iter()
        .map(|precision| {
            let name = format!("batches of adapters in {} within their bound", precision.name());
            battery.check(&name, batches, |batch| match precision {
                Precision::F32 => one::<f32>(battery, batch),
                Precision::F16 => one::<f16>(battery, batch),
                Precision::Bf16 => one::<bf16>(battery, batch),
            })
        })
        .collect()
}

fn one<T: Scalar>(battery: &Battery, (rows, adapters, inputs, outputs): Batch) -> Outcome {
    let values = |rows: usize, columns: usize, stream: u64| uniform(rows, columns, stream).mapv(T::narrow);
    let factors = (0..adapters)
        .map(|slot| {
            // Ranks that fill vectors, and others; one has none.
            let rank = [16, 5, 0, 33][slot % 4];
            let (a, b) = (values(rank, inputs, 30 + slot as u64), values(outputs, rank, 90 + slot as u64));
            Factors::new(a.view(), b.view(), 0.5)
        })
        .collect::<Result<Vec<Factors>>>()?;
    // Every seventh row has no adapter.
    let routes = Routes::of_slots((0..rows).map(|row| (row % 7 != 6).then_some((row * 3 % adapters) as u32)));
    let (x, before) = (values(rows, inputs, 28), values(rows, outputs, 29));
    let mut after: Array2<T> = before.clone();
    apply(battery.device, &factors.iter().collect::<Vec<_>>(), &routes, x.view(), after.view_mut())?;
    if battery.planted == Some(Planted::Adapters)
        && let Some(value) = after.iter_mut().next()
    {
        *value = T::narrow(value.widen() + 0.25 + value.widen().abs());
    }
    let share = worst_share(&factors, &routes, &x, &before, &after);
    Ok((!(share <= 1.0)).then(|| {
        format!("{rows} rows, {adapters} adapters, {inputs} to {outputs}: {share:.2} times the error bound")
    }))
}
