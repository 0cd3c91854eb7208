//! The head of the page and what everything was measured on.

use std::collections::BTreeSet;

use super::html::{device, escape, section, table};
use super::peers;
use super::results::Results;
use crate::record::Record;
use crate::words::{grouped, plural};

/// Title, machine in one line, and the figures to remember.
pub(super) fn head(results: &Results) -> String {
    let first = &results.records[0];
    let machine = &first.machine;
    let dates: BTreeSet<&str> = results.records.iter().filter_map(|record| record.date.get(..10)).collect();
    let dates: Vec<&str> = dates.into_iter().collect();
    let keys: Vec<String> = keys(results)
        .into_iter()
        .map(|(value, words)| format!("<li><b>{}</b><span>{}</span></li>", escape(&value), escape(&words)))
        .collect();
    format!(
        "<header>\n<h1>tilefold benchmarks</h1>\n<p>{}, {} {}, {} · {} · tilefold {}</p>\n<ul class=\"keys\">{}</ul>\n</header>",
        escape(&machine.cpu),
        machine.threads,
        plural(machine.threads as usize, "thread"),
        escape(&machine.os),
        escape(&dates.join(", ")),
        escape(&first.tilefold),
        keys.join("")
    )
}

/// What is worth remembering: a value and what it says.
fn keys(results: &Results) -> Vec<(String, String)> {
    let mut keys = peers::keys(results);
    let roof = results
        .bench
        .iter()
        .filter(|measured| !measured.record.device.is_software && !measured.has_pruned())
        .filter_map(|measured| Some((measured.run.fma_share?, measured)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((share, measured)) = roof {
        let words = format!(
            "of the measured multiply-add roof: {} {}, {}, {}",
            measured.run.workload,
            measured.run.data,
            measured.shape(),
            measured.device()
        );
        keys.push((format!("{:.0} %", 100.0 * share), words));
    }
    let checked: u64 =
        results.bench.iter().chain(&results.peers).map(|measured| measured.run.verified.checked).sum();
    if checked > 0 {
        let words = "rows and entries were computed again in f64 before any time was taken; each was right"
            .to_owned();
        keys.push((grouped(checked), words));
    }
    let checks: Vec<_> = results.verify.iter().flat_map(|(_, checks)| checks.iter()).collect();
    if !checks.is_empty() {
        let passed = checks.iter().filter(|check| check.failure.is_none()).count();
        let devices = results.verify.len();
        let words = format!("checks of tilefold verify passed on {devices} {}", plural(devices, "device"));
        keys.push((format!("{passed} of {}", checks.len()), words));
    }
    keys
}

/// Machine, devices with their roofs, and what `verify` said.
pub(super) fn machine(results: &Results) -> Option<String> {
    let first = results.records.first()?;
    let machine = &first.machine;
    let mut facts = vec![
        (
            "Processor",
            format!(
                "{}, {} {}, vectors: {}",
                machine.cpu,
                machine.threads,
                plural(machine.threads as usize, "thread"),
                machine.simd
            ),
        ),
        ("System", machine.os.clone()),
        ("Version", format!("tilefold {}, commit {}", first.tilefold, first.commit)),
    ];
    let others: BTreeSet<&str> = results
        .records
        .iter()
        .map(|record| record.machine.cpu.as_str())
        .filter(|cpu| *cpu != machine.cpu)
        .collect();
    if !others.is_empty() {
        facts.push(("Also measured on", others.into_iter().collect::<Vec<_>>().join("; ")));
    }
    let facts: String =
        facts.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value))).collect();
    let mut content = format!("<dl>{facts}</dl>");
    content.push_str(&devices(results));
    let failures = failures(results);
    if !failures.is_empty() {
        content.push_str(&format!("<p class=\"fail\">Failed checks</p><ul>{failures}</ul>"));
    }
    let words = "Roofs are measured, not taken from a data sheet: chains of multiply-adds in registers, and a copy and a \
                 fill larger than the caches. Times of a driver that runs on the processor (<span class=\"tag\">software</span>) \
                 say nothing of GPUs; it is here to show that results are right.";
    Some(section("machine", "Machine and devices", words, &content))
}

fn devices(results: &Results) -> String {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let with_roofs = results.records.iter().filter(|record| record.roofs.is_some());
    for record in with_roofs.chain(results.verify.iter().map(|(record, _)| *record)) {
        if !seen.insert(&record.device.name) {
            continue;
        }
        rows.push(device_row(results, record));
    }
    if rows.is_empty() {
        return String::new();
    }
    let columns = ["device", "driver", "#multiply-adds", "#copy", "#write", "#empty launch", "verify"];
    format!("<div style=\"margin-top:18px\">{}</div>", table("table-devices", &columns, &rows))
}

fn device_row(results: &Results, record: &Record) -> Vec<String> {
    let facts = &record.device;
    let roofs = record.roofs;
    let number = |value: Option<f64>, unit: &str| match value {
        Some(value) => format!("{} {unit}", super::html::digits(value)),
        None => "–".to_owned(),
    };
    let checks: Vec<_> = results
        .verify
        .iter()
        .filter(|(other, _)| other.device.name == facts.name)
        .flat_map(|(_, checks)| checks.iter())
        .collect();
    let passed = checks.iter().filter(|check| check.failure.is_none()).count();
    let verdict = match checks.len() {
        0 => "–".to_owned(),
        all if all == passed => format!("<span class=\"pass\">{passed} of {all} pass</span>"),
        all => format!("<span class=\"fail\">{} of {all} fail</span>", all - passed),
    };
    let name = if facts.is_software {
        format!("{} <span class=\"tag\">software</span>", escape(&facts.name))
    } else {
        escape(&device(facts))
    };
    vec![
        name,
        if facts.driver.is_empty() { "–".to_owned() } else { escape(&facts.driver) },
        number(roofs.map(|roofs| roofs.fma_flops_per_second / 1e9), "GFLOP/s"),
        number(roofs.map(|roofs| roofs.copy_bytes_per_second / 1e9), "GB/s"),
        number(roofs.map(|roofs| roofs.write_bytes_per_second / 1e9), "GB/s"),
        roofs.map_or("–".to_owned(), |roofs| {
            if roofs.launch_seconds > 0.0 {
                super::html::seconds(roofs.launch_seconds)
            } else {
                "none".to_owned()
            }
        }),
        verdict,
    ]
}

fn failures(results: &Results) -> String {
    let mut items = String::new();
    for (record, checks) in &results.verify {
        for check in *checks {
            if let Some(failure) = &check.failure {
                items.push_str(&format!(
                    "<li>{}: {}: {}</li>",
                    escape(&record.device.name),
                    escape(&check.name),
                    escape(failure)
                ));
            }
        }
    }
    items
}
