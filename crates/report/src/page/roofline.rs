//! Rates against what the device could do at most.

use std::collections::BTreeMap;

use super::html::{device_and_driver, digits, figure, section as html_section, short_device};
use super::results::{Measured, Results};
use super::scale::{Scale, count};
use super::svg::{Drawing, Labels, Panel, colour};

const SIZE: [f64; 2] = [960.0, 470.0];

/// Multiplications and additions per byte.
fn intensity(measured: &Measured) -> f64 {
    measured.run.flops / measured.run.bytes
}

pub(super) fn section(results: &Results) -> Option<String> {
    let known: Vec<Measured> = results
        .bench
        .iter()
        .filter(|measured| measured.record.roofs.is_some())
        .filter(|measured| {
            measured.run.gflops > 0.0 && intensity(measured).is_finite() && intensity(measured) > 0.0
        })
        .copied()
        .collect();
    if known.is_empty() {
        return None;
    }
    let mut devices: BTreeMap<&str, Measured> = BTreeMap::new();
    for measured in &known {
        devices.entry(&measured.record.device.name).or_insert(*measured);
    }
    let caption = devices
        .values()
        .map(|measured| {
            let roofs = measured.record.roofs.map_or([0.0; 2], |roofs| {
                [roofs.fma_flops_per_second / 1e9, roofs.copy_bytes_per_second / 1e9]
            });
            format!(
                "{}: {} GFLOP/s, {} GB/s",
                device_and_driver(&measured.record.device),
                digits(roofs[0]),
                digits(roofs[1])
            )
        })
        .collect::<Vec<_>>()
        .join(". ");
    let caption =
        format!("{caption}. Each mark is one run; labels name the fastest of each workload, with its shape.");
    let chart = chart(&known, &devices);
    let words = "A mark on the slope is bound by memory, one under the flat part by arithmetic. Operations and bytes are those of \
                 the definition, each operand read once; k-means that skips products, or screens them in bytes, can lie above its roof.";
    let content = figure("chart-roofline", "Roofline: rate against operations per byte", &chart, &caption);
    Some(html_section("roofline", "How close to the machine", words, &content))
}

fn chart(known: &[Measured], devices: &BTreeMap<&str, Measured>) -> String {
    let roofs: Vec<(usize, f64, f64)> = devices
        .values()
        .enumerate()
        .filter_map(|(series, measured)| {
            let roofs = measured.record.roofs?;
            Some((series, roofs.fma_flops_per_second / 1e9, roofs.copy_bytes_per_second / 1e9))
        })
        .collect();
    let ridges = roofs.iter().map(|(_, fma, copy)| fma / copy);
    let x = Scale::log(known.iter().map(intensity).chain(ridges.flat_map(|ridge| [ridge / 4.0, ridge])));
    let [least, most] = x.range();
    let rates = known.iter().map(|measured| measured.run.gflops);
    let y = Scale::log(rates.chain(roofs.iter().map(|(_, fma, ..)| 1.6 * fma)));
    let panel = Panel { left: 66.0, top: 40.0, width: SIZE[0] - 90.0, height: SIZE[1] - 100.0, x, y };
    let mut drawing = Drawing::new(SIZE, "Roofline of all runs");
    let write = |value: f64| count(value);
    panel.draw(&mut drawing, ["operations per byte", "GFLOP/s"], [write, write]);
    let mut labels = Labels::between(panel.top, panel.top + panel.height);
    let right = panel.left + panel.width;
    for (series, fma, copy) in &roofs {
        let ridge = (fma / copy).max(least);
        let low = panel.y.range()[0];
        let start = (low / copy).max(least);
        let mut places = vec![panel.place(start, (copy * start).min(*fma)), panel.place(ridge, *fma)];
        places.push(panel.place(most, *fma));
        drawing.curve(&places, *series);
        let name = devices
            .values()
            .nth(*series)
            .map_or_else(String::new, |measured| short_device(&measured.record.device));
        let above = [right - 4.0, places[2][1] - 12.0];
        labels.put(&mut drawing, above, right, &format!("{name}: {} GFLOP/s", digits(*fma)));
    }
    let series_of = |measured: &Measured| {
        devices.keys().position(|name| *name == measured.record.device.name).unwrap_or(0)
    };
    let mut fastest: BTreeMap<(usize, &str, &str), Measured> = BTreeMap::new();
    for measured in known {
        let series = series_of(measured);
        let place = panel.place(intensity(measured), measured.run.gflops);
        drawing.mark(place, series, 4.5);
        labels.avoid(place);
        let best = fastest.entry((series, &measured.run.workload, &measured.run.data)).or_insert(*measured);
        if measured.run.gflops > best.run.gflops {
            *best = *measured;
        }
    }
    for ((_, workload, data), measured) in &fastest {
        let place = panel.place(intensity(measured), measured.run.gflops);
        let ring = colour(series_of(measured));
        drawing.put(format_args!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"8.5\" style=\"fill:none;stroke:{ring};stroke-width:1.5\"/>",
            place[0], place[1]
        ));
        let run = measured.run;
        labels.put(
            &mut drawing,
            place,
            right,
            &format!("{workload} {data} {}×{}×{}", count(run.n as f64), run.d, run.k),
        );
    }
    drawing.finish()
}
