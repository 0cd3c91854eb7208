//! `tilefold lora simulate`: policies on one trace, or the workloads of Punica.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tilefold_report::{PolicyRun, draw_policies};
use tilefold_simulate::{
    Arrivals, BaseCost, CacheLimits, DeviceLimits, FairTokens, Fcfs, FewAdapters, Lengths, LoopCost,
    LoraCost, NoLora, Percentiles, Policy, Punica, RankAware, Report, ServedAdapter, Simulation, StepCost,
    StepShape, TableRow, TableSettings, Trace, TraceBuilder, fit, punica_a100_points, punica_table,
};

use super::simulate_args::{ArrivalsName, Costs, PolicyName, Requests, Simulate};
use super::simulate_files::{read_points, read_trace};
use super::simulate_output::{
    Adapters, adapters_json, base_json, report_json, title, write_adapters, write_reports,
};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::measure::lora::Workload;
use crate::memory::{self, area};
use crate::random::Stream;

/// Runs the subcommand.
pub(super) fn run(arguments: &Simulate) -> Result<(), Failure> {
    let requests = &arguments.requests;
    let points = Some(PathBuf::from(&arguments.costs.lora_cost));
    let inputs = [("--trace", requests.trace.as_ref()), ("--lora-cost", points.as_ref())];
    output::check_distinct(&inputs, &[("--plot", arguments.plot.as_ref())])?;
    let base = base_cost(&arguments.costs.base_cost)?;
    let added = lora_cost(&arguments.costs)?;
    if arguments.table {
        return table(arguments, &base, added.as_ref());
    }
    let trace = trace(requests)?;
    let adapters = ServedAdapter::cycle(trace.adapters(), &requests.ranks)?;
    let lora: Box<dyn LoraCost> = match &added {
        None => Box::new(NoLora),
        Some(Adapters { fitted, is_loop: false, .. }) => Box::new(*fitted),
        Some(Adapters { fitted, is_loop: true, .. }) => Box::new(LoopCost { each: *fitted }),
    };
    let cost = StepCost { base: &base, lora: lora.as_ref() };
    let simulation = simulation(arguments)?;
    if let Some(path) = &arguments.plot {
        // Found out before the work; the file itself is made after it.
        drop(output::create("--plot", path, "svg")?);
    }
    let mut reports = Vec::new();
    for &name in &arguments.policy {
        reports.push(simulation.run(&trace, &adapters, cost, policy(name, arguments, cost)?.as_mut())?);
    }
    let title = title(arguments, &trace);
    if let Some(path) = &arguments.plot {
        let file = output::create("--plot", path, "svg")?;
        output::finish_text("--plot", file, &plot(&title, &reports))?;
    }
    output::print(|stdout| {
        if arguments.json {
            let object = json!({
                "requests": trace.requests().len(),
                "adapters": trace.adapters(),
                "output_tokens": trace.output_tokens(),
                "base_cost": base_json(&base),
                "lora_cost": added.as_ref().map(adapters_json),
                "policies": reports.iter().map(report_json).collect::<Vec<Value>>(),
            });
            return writeln!(stdout, "{object:#}");
        }
        writeln!(stdout, "{title}\nbase  {}", base.source)?;
        write_adapters(stdout, added.as_ref())?;
        write_reports(stdout, &reports)
    })
}

/// Throughput and tail latency of each run.
fn plot(title: &str, reports: &[Report]) -> String {
    let tail = |values: &Percentiles| [values.p50, values.p95, values.p99];
    let runs = reports.iter().map(|report| PolicyRun {
        policy: &report.policy,
        tokens_per_second: report.tokens_per_second,
        first_token_seconds: tail(&report.first_token_seconds),
        per_token_seconds: tail(&report.per_token_seconds),
    });
    draw_policies(title, &runs.collect::<Vec<PolicyRun>>())
}

fn trace(requests: &Requests) -> Result<Trace, Failure> {
    if let Some(path) = &requests.trace {
        return read_trace(path);
    }
    let (rate, cv) = (requests.rate, requests.cv);
    let arrivals = match requests.arrivals {
        ArrivalsName::AtOnce => Arrivals::AtOnce,
        ArrivalsName::Poisson => Arrivals::Poisson { rate },
        ArrivalsName::Gamma => Arrivals::Gamma { rate, cv },
    };
    made_up(requests.workload.parse()?, requests, requests.adapters, arrivals)
}

/// A trace of this workload, drawn under the seed.
fn made_up(
    workload: Workload,
    requests: &Requests,
    adapters: Option<usize>,
    arrivals: Arrivals,
) -> Result<Trace, Failure> {
    let lengths = lengths(&requests.lengths)?;
    // Requests as they come, wait and are reported, and the adapters' shares.
    let parts = [area::<[u64; 24]>(requests.requests, 1), area::<[u64; 24]>(adapters.unwrap_or(0), 1)];
    memory::ask("requests to simulate", &parts)?;
    let adapters = workload.adapter_of_each(requests.requests, adapters, requests.seed)?;
    let random = |stream, index| Stream::new(requests.seed, stream).bits(index);
    Ok(TraceBuilder::new(adapters).arrivals(arrivals).lengths(lengths).build(&random)?)
}

fn lengths(text: &str) -> Result<Lengths, Failure> {
    let range = |text: &str| -> Option<(u32, u32)> {
        let (least, most) = text.split_once('-')?;
        Some((least.parse().ok()?, most.parse().ok()?))
    };
    let parse = || -> Option<Lengths> {
        let (kind, numbers) = text.split_once(':')?;
        if kind == "punica" {
            return Some(Lengths::Punica { most_tokens: numbers.parse().ok()? });
        }
        let (prompt, answer) = numbers.split_once(',')?;
        // The prefill gives the first token of an answer.
        let steps = |tokens: u32| tokens.checked_sub(1);
        match kind {
            "fixed" => Some(Lengths::Fixed {
                prompt_tokens: prompt.parse().ok()?,
                decode_steps: steps(answer.parse().ok()?)?,
            }),
            "uniform" => {
                let (least, most) = range(answer)?;
                let decode_steps = (steps(least)?, steps(most)?);
                Some(Lengths::Uniform { prompt_tokens: range(prompt)?, decode_steps })
            }
            _ => None,
        }
    };
    let expected = "punica:MOST, fixed:PROMPT,ANSWER or uniform:A-B,C-D with answers of at least 1";
    parse().ok_or_else(|| Failure::usage("--lengths", expected, text))
}

fn base_cost(text: &str) -> Result<BaseCost, Failure> {
    match text {
        "a100-7b" => return Ok(BaseCost::punica_a100_7b()),
        "zero" => return Ok(BaseCost::zero()),
        _ => {}
    }
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let seconds: Option<Vec<f64>> = numbers.filter(|numbers| {
        numbers.iter().all(|number| *number >= 0.0 && number.is_finite()) && numbers.len() == 4
    });
    let Some(milliseconds) = seconds else {
        let expected = "a100-7b, zero, or four numbers of milliseconds that are not negative";
        return Err(Failure::usage("--base-cost", expected, text));
    };
    Ok(BaseCost {
        fixed_seconds: 1e-3 * milliseconds[0],
        prefill_token_seconds: 1e-3 * milliseconds[1],
        decode_row_seconds: 1e-3 * milliseconds[2],
        context_token_seconds: 1e-3 * milliseconds[3],
        source: format!("as given: {text} ms per step, prefilled token, decoding request, cached token"),
    })
}

fn lora_cost(costs: &Costs) -> Result<Option<Adapters>, Failure> {
    if !(costs.operators > 0.0 && costs.operators.is_finite()) {
        return Err(Failure::usage("--operators", "a positive number", costs.operators));
    }
    let times = format!("{} times", costs.operators);
    let (points, source) = match costs.lora_cost.as_str() {
        "none" => return Ok(None),
        "a100" => {
            let source = format!(
                "{times} one operator on an A100 80 GB, launch by the host included (Punica, MLSys 2024)"
            );
            (punica_a100_points(), source)
        }
        path => {
            let points = read_points(Path::new(path))?;
            (points, format!("{times} what was measured in {path}"))
        }
    };
    Ok(Some(Adapters { fitted: fit(&points)?.times(costs.operators), source, is_loop: costs.is_loop }))
}

fn simulation(arguments: &Simulate) -> Result<Simulation, Failure> {
    let machine = &arguments.machine;
    memory::ask("devices to simulate", &[area::<[u64; 64]>(machine.devices, 1)])?;
    let cache = CacheLimits {
        budget_bytes: machine.cache_bytes,
        bytes_per_second: machine.copy_rate,
        ..CacheLimits::default()
    };
    let limits = DeviceLimits { batch: machine.batch, kv_tokens: machine.kv_tokens, cache };
    let simulation = Simulation::new().devices(machine.devices).limits(limits).prefetch(!machine.no_prefetch);
    Ok(simulation.patience_seconds(machine.patience))
}

fn policy<'a>(
    name: PolicyName,
    arguments: &Simulate,
    cost: StepCost<'a>,
) -> Result<Box<dyn Policy + 'a>, Failure> {
    Ok(match name {
        PolicyName::Fcfs => Box::new(Fcfs),
        PolicyName::Punica => Box::new(Punica::default()),
        PolicyName::Fair => Box::new(FairTokens::default()),
        PolicyName::FewAdapters if arguments.most_adapters == 0 => {
            return Err(Failure::usage("--most-adapters", "at least 1", 0));
        }
        PolicyName::FewAdapters => Box::new(FewAdapters::new(arguments.most_adapters)),
        PolicyName::RankAware => {
            let target =
                arguments.target.map_or_else(|| 1.2 * full_batch(arguments, cost.base), |ms| 1e-3 * ms);
            if !(target >= 0.0) {
                return Err(Failure::usage("--target", "milliseconds that are not negative", 1e3 * target));
            }
            Box::new(RankAware::new(cost, target))
        }
    })
}

/// Seconds of a decode step of the base model with a full batch of 512 tokens each.
fn full_batch(arguments: &Simulate, base: &BaseCost) -> f64 {
    let mut step = StepShape::default();
    // A batch beyond this has no other meaning than "no limit".
    (0..arguments.machine.batch.min(1 << 16)).for_each(|_| step.decode(0, 0, 512));
    base.seconds(&step)
}

fn table(arguments: &Simulate, base: &BaseCost, added: Option<&Adapters>) -> Result<(), Failure> {
    let requests = &arguments.requests;
    let Some(added) = added else {
        return Err(Failure::usage("--lora-cost", "a100 or a file of measured points for --table", "none"));
    };
    let &[rank] = requests.ranks.as_slice() else {
        return Err(Failure::usage("--ranks", "one rank for --table", requests.ranks.len()));
    };
    let settings = TableSettings { rank, simulation: simulation(arguments)? };
    let workloads = [Workload::Identical, Workload::Skewed, Workload::Uniform, Workload::Distinct];
    let traces = workloads
        .iter()
        .map(|&workload| Ok((workload.name(), made_up(workload, requests, None, Arrivals::AtOnce)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let rows = punica_table(&traces, &added.fitted, &LoopCost { each: added.fitted }, base, &settings)?;
    output::print(|stdout| {
        if arguments.json {
            let row = |row: &TableRow| {
                json!({
                    "workload": row.workload,
                    "lora": row.lora,
                    "base": row.base,
                    "of_identical": row.of_first,
                    "report": report_json(&row.report),
                })
            };
            let rows: Vec<Value> = rows.iter().map(row).collect();
            return writeln!(stdout, "{:#}", json!({ "lora_cost": adapters_json(added), "rows": rows }));
        }
        write_adapters(stdout, Some(added))?;
        let mut base = "";
        for row in &rows {
            if row.base != base {
                base = &row.base;
                writeln!(
                    stdout,
                    "\nbase  {base}\nworkload   lora        tokens/s  of identical  adapters/step"
                )?;
            }
            writeln!(
                stdout,
                "{:<10} {:<10} {:>9.0} {:>13.2} {:>14.1}",
                row.workload,
                row.lora,
                row.report.tokens_per_second,
                row.of_first,
                row.report.mean_adapters_per_step
            )?;
        }
        Ok(())
    })
}
