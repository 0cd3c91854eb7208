//! The benchmark `lora`: rows spread evenly over adapters of one rank, from `d` features to as many.

use super::{Measurement, Workload, measure};
use crate::cancel::Cancel;
use crate::device::Device;
use crate::error::Result;
use crate::measure::benchmark::{Benchmark, Parts, times};
use crate::measure::record::{Run, Spread, Verified};

pub(in crate::measure) fn run(device: &Device, benchmark: &Benchmark, cancel: &Cancel) -> Result<Run> {
    let batch = Measurement {
        workload: Workload::Uniform,
        rows: benchmark.n,
        adapters: None,
        ranks: vec![benchmark.k],
        inputs: benchmark.d,
        outputs: benchmark.d,
        precision: benchmark.dtype.parse()?,
        repetitions: benchmark.repetitions,
    };
    let measured = measure(device, &batch, cancel)?;
    let median = measured.seconds;
    let wall = Spread {
        median,
        min: measured.range[0],
        max: measured.range[1],
        count: benchmark.repetitions as u64,
    };
    // Batches are timed by the device's clock where there is one, and hold nothing but kernels.
    let parts = Parts { kernel: Some(median), ..Parts::default() };
    let values = (benchmark.n * benchmark.d) as u64;
    Ok(Run {
        data: Workload::Uniform.name().to_owned(),
        flops: 2.0 * measured.total_rank_rows as f64 * 2.0 * benchmark.d as f64,
        bytes: (measured.least_bytes + measured.written_bytes) as f64,
        verified: Verified { checked: values, of: values, worst_share: Some(measured.worst_share) },
        seconds: times(parts, wall),
        counters: measured.counters,
        ..Run::default()
    })
}
