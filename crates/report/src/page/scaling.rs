//! How time grows with rows, features and clusters.

use std::collections::BTreeMap;

use super::html::{device_and_driver, figure, seconds_tick, section as html_section};
use super::results::{Measured, Results};
use super::scale::{Scale, count};
use super::svg::{Drawing, Labels, Panel};

/// Rows get the whole width, features and clusters lie beside each other.
const WIDE: [f64; 2] = [960.0, 400.0];
const HALF: [f64; 2] = [560.0, 400.0];

/// Runs that differ in one size alone, with that size and their time.
struct Series<'a> {
    name: String,
    first: Measured<'a>,
    points: Vec<[f64; 2]>,
}

impl Series<'_> {
    /// The slope of the straight line through the logarithms: 1 is linear growth.
    fn slope(&self) -> f64 {
        let logs: Vec<[f64; 2]> = self.points.iter().map(|point| point.map(f64::ln)).collect();
        let count = logs.len() as f64;
        let mean = |axis: usize| logs.iter().map(|point| point[axis]).sum::<f64>() / count;
        let (x, y) = (mean(0), mean(1));
        let above: f64 = logs.iter().map(|point| (point[0] - x) * (point[1] - y)).sum();
        above / logs.iter().map(|point| (point[0] - x).powi(2)).sum::<f64>()
    }
}

/// Seconds of kernels where they are known, else of the wall; of one iteration for k-means.
fn time(measured: &Measured) -> f64 {
    let seconds = &measured.run.seconds;
    let all = seconds.kernel.filter(|&kernel| kernel > 0.0).unwrap_or(seconds.wall.median);
    all / measured.run.iterations.unwrap_or(1).max(1) as f64
}

/// Series along axis 0 (rows), 1 (features) or 2 (clusters), of three points or more.
fn series<'a>(results: &Results<'a>, axis: usize) -> Vec<Series<'a>> {
    let mut groups: BTreeMap<Vec<String>, Vec<Measured<'a>>> = BTreeMap::new();
    for measured in &results.bench {
        let run = measured.run;
        let mut sizes = [run.n, run.d, run.k];
        sizes[axis] = 0;
        let mut key = vec![
            measured.record.device.name.clone(),
            run.workload.clone(),
            run.data.clone(),
            run.dtype.clone(),
        ];
        key.extend(sizes.map(|size| size.to_string()));
        key.push(run.mode.clone().unwrap_or_default());
        groups.entry(key).or_default().push(*measured);
    }
    let mut all = Vec::new();
    for group in groups.values() {
        let first = group[0];
        let size = |measured: &Measured| [measured.run.n, measured.run.d, measured.run.k][axis] as f64;
        let mut points: Vec<[f64; 2]> =
            group.iter().map(|measured| [size(measured), time(measured)]).collect();
        points.retain(|point| point.iter().all(|value| value.is_finite() && *value > 0.0));
        points.sort_by(|a, b| a[0].total_cmp(&b[0]));
        points.dedup_by(|a, b| a[0] == b[0]);
        if points.len() >= 3 {
            let software = if first.record.device.is_software { ", software" } else { "" };
            let name = format!("{} {}{software}", first.run.workload, first.run.data);
            all.push(Series { name, first, points });
        }
    }
    all
}

pub(super) fn section(results: &Results) -> Option<String> {
    let axes = [
        ("chart-scaling-n", "Time against rows n", "rows n"),
        ("chart-scaling-d", "Time against features d", "features d"),
        ("chart-scaling-k", "Time against clusters k", "clusters k (columns of a matrix)"),
    ];
    let figures: Vec<String> = axes
        .into_iter()
        .enumerate()
        .filter_map(|(axis, (id, title, label))| {
            let all = series(results, axis);
            let first = all.first()?.first;
            let run = first.run;
            let fixed = match axis {
                0 => format!("d {}, k {}", run.d, run.k),
                1 => format!("n {}, k {}", count(run.n as f64), run.k),
                _ => format!("n {}, d {}", count(run.n as f64), run.d),
            };
            let caption = format!(
                "{}; {fixed}, {}. Kernel time, per iteration for k-means. Numbers are slopes; dashed: linear growth.",
                device_and_driver(&first.record.device),
                run.dtype
            );
            let size = if axis == 0 { WIDE } else { HALF };
            Some(figure(id, title, &chart(&all, label, size), &caption))
        })
        .collect();
    if figures.is_empty() {
        return None;
    }
    // Where there is no chart of rows the first of the others takes its place.
    let content = format!("{}<div class=\"pair\">{}</div>", figures[0], figures[1..].join("\n"));
    let words = "Both axes are logarithmic; the slope is fitted to all points of a series. Work grows linearly in each size, so a slope \
                 of 1 is what arithmetic alone gives; below 1 a fixed cost weighs on the small end.";
    Some(html_section("scaling", "Scaling", words, &content))
}

fn chart(all: &[Series], label: &str, size: [f64; 2]) -> String {
    let points = || all.iter().flat_map(|series| &series.points);
    let x = Scale::log(points().map(|point| point[0]));
    let y = Scale::log(points().map(|point| point[1]));
    let panel = Panel { left: 66.0, top: 40.0, width: size[0] - 260.0, height: size[1] - 100.0, x, y };
    let mut drawing = Drawing::new(size, &format!("Time against {label}"));
    panel.draw(&mut drawing, [label, "time"], [count, seconds_tick]);
    let mut labels = Labels::between(panel.top, panel.top + panel.height);
    // Linear growth from the first point of the first series.
    if let Some(series) = all.first() {
        let (first, last) = (series.points[0], series.points[series.points.len() - 1]);
        let end = [last[0], first[1] * last[0] / first[0]];
        let most = panel.y.range()[1];
        let end = if end[1] > most { [first[0] * most / first[1], most] } else { end };
        drawing.line(panel.place(first[0], first[1]), panel.place(end[0], end[1]), "thin");
    }
    for (index, series) in all.iter().enumerate() {
        let places: Vec<[f64; 2]> =
            series.points.iter().map(|point| panel.place(point[0], point[1])).collect();
        drawing.curve(&places, index);
        for &place in &places {
            drawing.mark(place, index, 4.5);
            labels.avoid(place);
        }
    }
    for series in all {
        let last = series.points[series.points.len() - 1];
        let right = size[0];
        labels.put(
            &mut drawing,
            panel.place(last[0], last[1]),
            right,
            &format!("{}: {:.2}", series.name, series.slope()),
        );
    }
    drawing.finish()
}
