//! Where the time of a k-means run goes.

use std::collections::BTreeMap;

use super::html::{device_and_driver, figure, seconds, section as html_section, short_device};
use super::results::{Measured, Results};
use super::svg::{Drawing, legend};

/// Stages in the order of a run; others follow in the order of the alphabet.
const ORDER: [&str; 7] = ["upload", "compile", "init", "labels", "sums", "iterate", "other"];

/// Characters of a device's name beside a bar.
const MOST_CHARACTERS: usize = 32;

/// Stages of a run with their seconds, in order.
fn stages(measured: &Measured) -> Vec<(String, f64)> {
    let mut all = measured.run.seconds.stages.clone();
    if let Some(compile) = measured.run.seconds.compile.filter(|_| !all.contains_key("compile")) {
        all.insert("compile".to_owned(), compile);
    }
    let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
    let mut listed: Vec<(String, f64)> =
        all.into_iter().filter(|(_, seconds)| seconds.is_finite() && *seconds > 0.0).collect();
    listed.sort_by(|a, b| place(&a.0).cmp(&place(&b.0)).then_with(|| a.0.cmp(&b.0)));
    listed
}

pub(super) fn section(results: &Results) -> Option<String> {
    // The largest run of each device and data set.
    let mut chosen: BTreeMap<(&str, &str), Measured> = BTreeMap::new();
    for measured in results.bench.iter().filter(|measured| stages(measured).len() > 1) {
        let key = (measured.record.device.name.as_str(), measured.run.data.as_str());
        let best = chosen.entry(key).or_insert(*measured);
        if measured.run.flops > best.run.flops {
            *best = *measured;
        }
    }
    if chosen.is_empty() {
        return None;
    }
    let bars: Vec<Measured> = chosen.into_values().collect();
    let mut devices: Vec<String> =
        bars.iter().map(|measured| device_and_driver(&measured.record.device)).collect();
    devices.dedup();
    let caption = format!(
        "{}. Shares of one run; stages of a GPU are by its own clock, of a run that was watched for this. On the CPU labels and \
         sums are one pass over rows in cache: iterate.",
        devices.join("; ")
    );
    let content = figure("chart-stages", "Time per stage", &chart(&bars), &caption);
    let words = "From rows in memory to labels: bringing the data to the device, compiling kernels (once per process, from the \
                 driver’s cache where it has one), first centroids, and the iterations.";
    Some(html_section("stages", "Where the time goes", words, &content))
}

fn chart(bars: &[Measured]) -> String {
    let mut names: Vec<String> = Vec::new();
    for known in ORDER
        .iter()
        .map(|name| (*name).to_owned())
        .chain(bars.iter().flat_map(|bar| stages(bar).into_iter().map(|stage| stage.0)))
    {
        let is_used = bars.iter().any(|bar| stages(bar).iter().any(|stage| stage.0 == known));
        if is_used && !names.contains(&known) {
            names.push(known);
        }
    }
    let (left, width, row) = (250.0, 590.0, 48.0);
    let start = |height: f64| {
        let mut drawing = Drawing::new([960.0, height], "Share of each stage in the time of k-means runs");
        let top = 14.0 + legend(&mut drawing, &names, [left, 18.0], 680.0);
        (drawing, top)
    };
    // A GPU has many stages: how many lines their legend takes decides the height.
    let (_, top) = start(0.0);
    let (mut drawing, top) = start(top + row * bars.len() as f64);
    for (index, bar) in bars.iter().enumerate() {
        let y = top + row * index as f64;
        let listed = stages(bar);
        let total: f64 = listed.iter().map(|stage| stage.1).sum();
        drawing.text([left - 12.0, y + 11.0], "end", "", &format!("{}, {}", bar.run.data, short(bar)));
        // What does not fit beside the bars would leave the picture; the caption has the whole name.
        let device: String = short_device(&bar.record.device).chars().take(MOST_CHARACTERS).collect();
        drawing.text([left - 12.0, y + 26.0], "end", "tick", &device);
        let mut x = left;
        for (name, stage) in &listed {
            let length = width * stage / total;
            let series = names.iter().position(|known| known == name).unwrap_or(0);
            drawing.bar([x, y], [(length - 1.0).max(0.6), 28.0], series);
            if length > 44.0 {
                drawing.text(
                    [x + length / 2.0, y + 18.0],
                    "middle",
                    "inside",
                    &format!("{:.0} %", 100.0 * stage / total),
                );
            }
            x += length;
        }
        drawing.text([left + width + 10.0, y + 18.0], "start", "", &seconds(total));
    }
    drawing.finish()
}

fn short(measured: &Measured) -> String {
    let run = measured.run;
    format!("{}×{}×{}", super::scale::count(run.n as f64), run.d, run.k)
}
