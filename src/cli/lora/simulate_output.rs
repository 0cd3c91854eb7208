//! What `tilefold lora simulate` prints.

use std::io::Write;

use serde_json::{Value, json};
use tilefold_simulate::{BaseCost, CacheCounts, FittedCost, Percentiles, Report, Trace};

use super::simulate_args::{ArrivalsName, Simulate};
use crate::cli::summary::{grouped, plural};

/// What was served, in one line.
pub(super) fn title(arguments: &Simulate, trace: &Trace) -> String {
    let requests = &arguments.requests;
    let count = |count: usize, noun: &str| format!("{} {}", grouped(count as u64), plural(count, noun));
    let what = match (&requests.trace, requests.arrivals) {
        (Some(_), _) => "from a file".to_owned(),
        (None, ArrivalsName::AtOnce) => format!("{}, all at once", requests.workload),
        (None, ArrivalsName::Poisson) => format!("{}, {} per second", requests.workload, requests.rate),
        (None, ArrivalsName::Gamma) => {
            format!("{}, {} per second, cv {}", requests.workload, requests.rate, requests.cv)
        }
    };
    let (of, adapters) = (count(trace.requests().len(), "request"), count(trace.adapters(), "adapter"));
    format!("{of} to {adapters} ({what}), {}", count(arguments.machine.devices, "device"))
}

/// What the adapters cost, and who says so.
pub(super) struct Adapters {
    /// Cost of a whole step.
    pub fitted: FittedCost,
    /// Where the points come from.
    pub source: String,
    /// Whether each adapter is launched alone.
    pub is_loop: bool,
}

/// What the adapters cost.
pub(super) fn write_adapters(stdout: &mut dyn Write, adapters: Option<&Adapters>) -> std::io::Result<()> {
    let Some(Adapters { fitted: fit, source, is_loop }) = adapters else {
        return writeln!(stdout, "lora  none");
    };
    writeln!(
        stdout,
        "lora  {source}\n      {:.3} ms + {:.2} us/row + {:.2} us/adapter + {:.3} us/rank + {:.4} us/(row rank){}; \
         points fit to {:.1} %, at worst {:.1} %",
        1e3 * fit.launch_seconds,
        1e6 * fit.row_seconds,
        1e6 * fit.segment_seconds,
        1e6 * fit.rank_seconds,
        1e6 * fit.rank_row_seconds,
        if *is_loop { ", for each adapter alone" } else { "" },
        100.0 * fit.mean_residual,
        100.0 * fit.worst_residual
    )
}

/// One line per policy.
pub(super) fn write_reports(stdout: &mut dyn Write, reports: &[Report]) -> std::io::Result<()> {
    writeln!(
        stdout,
        "\npolicy        tokens/s  requests/s  first token p50/p95/p99 s  per token p50/p95/p99 ms  fairness  hits   adapters/step  evicted  migrated"
    )?;
    for report in reports {
        let three = |values: &Percentiles, unit: f64, decimals: usize| {
            let [a, b, c] = [values.p50, values.p95, values.p99].map(|value| unit * value);
            format!("{a:.decimals$}/{b:.decimals$}/{c:.decimals$}")
        };
        let asked = (report.cache.hits + report.cache.misses).max(1);
        writeln!(
            stdout,
            "{:<12} {:>9.0} {:>11.2} {:>26} {:>25} {:>9.3} {:>4.0} % {:>14.1} {:>8} {:>9}",
            report.policy,
            report.tokens_per_second,
            report.requests_per_second,
            three(&report.first_token_seconds, 1.0, 2),
            three(&report.per_token_seconds, 1e3, 1),
            report.fairness.contended,
            100.0 * report.cache.hits as f64 / asked as f64,
            report.mean_adapters_per_step,
            report.evictions,
            report.migrations
        )?;
    }
    Ok(())
}

/// A base model's cost.
pub(super) fn base_json(base: &BaseCost) -> Value {
    json!({
        "source": base.source,
        "fixed_seconds": base.fixed_seconds,
        "prefill_token_seconds": base.prefill_token_seconds,
        "decode_row_seconds": base.decode_row_seconds,
        "context_token_seconds": base.context_token_seconds,
    })
}

/// The adapters' cost.
pub(super) fn adapters_json(adapters: &Adapters) -> Value {
    let fit = &adapters.fitted;
    json!({
        "source": adapters.source,
        "loop": adapters.is_loop,
        "launch_seconds": fit.launch_seconds,
        "row_seconds": fit.row_seconds,
        "segment_seconds": fit.segment_seconds,
        "rank_seconds": fit.rank_seconds,
        "rank_row_seconds": fit.rank_row_seconds,
        "mean_residual": fit.mean_residual,
        "worst_residual": fit.worst_residual,
    })
}

/// A report, with the names of its fields.
pub(super) fn report_json(report: &Report) -> Value {
    let percentiles = |values: &Percentiles| json!({ "p50": values.p50, "p95": values.p95, "p99": values.p99, "mean": values.mean, "max": values.max });
    let cache = |counts: &CacheCounts| {
        json!({
            "hits": counts.hits,
            "misses": counts.misses,
            "loads": counts.loads,
            "prefetches": counts.prefetches,
            "evictions": counts.evictions,
            "bytes": counts.bytes,
            "load_seconds": counts.load_seconds,
        })
    };
    let devices = report.devices.iter().map(|device| {
        json!({ "steps": device.steps, "busy_share": device.busy_share, "cache": cache(&device.cache) })
    });
    json!({
        "policy": report.policy,
        "seconds": report.seconds,
        "tokens_per_second": report.tokens_per_second,
        "requests_per_second": report.requests_per_second,
        "first_token_seconds": percentiles(&report.first_token_seconds),
        "per_token_seconds": percentiles(&report.per_token_seconds),
        "end_to_end_seconds": percentiles(&report.end_to_end_seconds),
        "fairness": {
            "total": report.fairness.total,
            "contended": report.fairness.contended,
            "windows": report.fairness.windows,
        },
        "cache": cache(&report.cache),
        "steps": report.steps,
        "mean_batch": report.mean_batch,
        "mean_adapters_per_step": report.mean_adapters_per_step,
        "evictions": report.evictions,
        "migrations": report.migrations,
        "devices": devices.collect::<Vec<Value>>(),
    })
}
