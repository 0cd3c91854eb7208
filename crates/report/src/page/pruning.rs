//! Products that exact pruning leaves, iteration by iteration.

use std::collections::BTreeMap;

use super::html::{device_and_driver, figure, section as html_section};
use super::results::{Measured, Results};
use super::scale::{Scale, count};
use super::svg::{Drawing, Labels, Panel};

const SIZE: [f64; 2] = [960.0, 380.0];

pub(super) fn section(results: &Results) -> Option<String> {
    // The longest run of each data set and shape on each device; a few are enough.
    let mut longest: BTreeMap<(&str, &str), Measured> = BTreeMap::new();
    let of_hardware = |measured: &&Measured| !measured.record.device.is_software;
    for measured in results.bench.iter().chain(&results.peers).filter(of_hardware) {
        let Some(products) = measured.run.products.as_ref().filter(|products| products.len() > 1) else {
            continue;
        };
        let key = (measured.record.device.name.as_str(), measured.run.data.as_str());
        let kept = longest.entry(key).or_insert(*measured);
        if products.len() > kept.run.products.as_ref().map_or(0, Vec::len) {
            *kept = *measured;
        }
    }
    let runs: Vec<Measured> = longest.into_values().collect();
    let first = runs.first()?;
    let shapes: Vec<String> =
        runs.iter().map(|measured| format!("{} {}", measured.run.data, measured.shape())).collect();
    let caption = format!("{}; {}.", device_and_driver(&first.record.device), shapes.join("; "));
    let content = figure(
        "chart-products",
        "Products per iteration, as a share of rows × clusters",
        &chart(&runs),
        &caption,
    );
    let words = "Bounds on distances show for most rows and clusters that no label can change; those products are left out. Labels stay \
                 those of f64. Data with clusters profits once most of them rest, noise hardly; where it does not pay it is not used.";
    Some(html_section("pruning", "Exact pruning", words, &content))
}

fn chart(runs: &[Measured]) -> String {
    let products = |measured: &Measured| measured.run.products.clone().unwrap_or_default();
    let longest = runs.iter().map(|measured| products(measured).len()).max().unwrap_or(2);
    let percent: fn(f64) -> String = |share| format!("{:.0} %", 100.0 * share);
    let x = Scale::counts(longest);
    let y = Scale::from_zero(runs.iter().flat_map(products).chain([1.0]));
    let panel = Panel { left: 66.0, top: 40.0, width: SIZE[0] - 250.0, height: SIZE[1] - 100.0, x, y };
    let mut drawing = Drawing::new(SIZE, "Products per iteration");
    panel.draw(&mut drawing, ["iteration", "share of all products"], [count, percent]);
    let mut labels = Labels::between(panel.top, panel.top + panel.height);
    for (series, measured) in runs.iter().enumerate() {
        let places: Vec<[f64; 2]> = products(measured)
            .iter()
            .enumerate()
            .map(|(at, &share)| panel.place(at as f64 + 1.0, share))
            .collect();
        drawing.curve(&places, series);
        if places.len() <= 40 {
            places.iter().for_each(|&place| drawing.mark(place, series, 4.0));
        }
        let all: f64 = products(measured).iter().sum::<f64>() / places.len() as f64;
        if let Some(&last) = places.last() {
            let software = if measured.record.device.is_software { ", software" } else { "" };
            labels.put(
                &mut drawing,
                last,
                SIZE[0],
                &format!("{}{software}: {:.0} %", measured.run.data, 100.0 * all),
            );
        }
    }
    drawing.finish()
}
