//! What the autotuner's model said, and what was measured.

use std::collections::BTreeMap;

use super::html::{device_and_driver, escape, figure, seconds, seconds_tick, section as html_section, table};
use super::results::Results;
use super::scale::Scale;
use super::svg::{Drawing, Panel};
use crate::record::Candidate;

const SIZE: [f64; 2] = [960.0, 440.0];

/// Candidates of one shape.
type Shapes<'a> = BTreeMap<(&'a str, u64, u64, u64), Vec<&'a Candidate>>;

fn by_shape<'a>(candidates: &'a [Candidate]) -> Shapes<'a> {
    let mut shapes = Shapes::new();
    for candidate in candidates.iter().filter(|candidate| candidate.measured_seconds > 0.0) {
        let key = (candidate.workload.as_str(), candidate.rows, candidate.columns, candidate.depth);
        shapes.entry(key).or_default().push(candidate);
    }
    shapes
}

/// What taking the chosen candidate costs over the best verified one.
fn regret(candidates: &[&Candidate]) -> Option<f64> {
    let chosen = candidates.iter().find(|candidate| candidate.chosen)?;
    let verified = candidates.iter().filter(|candidate| candidate.verified);
    let best = verified.map(|candidate| candidate.measured_seconds).fold(f64::INFINITY, f64::min);
    best.is_finite().then(|| chosen.measured_seconds / best - 1.0)
}

pub(super) fn section(results: &Results) -> Option<String> {
    let mut content = String::new();
    for (index, (record, candidates)) in results.tune.iter().enumerate() {
        let shapes = by_shape(candidates);
        if shapes.is_empty() {
            continue;
        }
        let predicted: Vec<&Candidate> = candidates
            .iter()
            .filter(|candidate| candidate.predicted_seconds > 0.0 && candidate.measured_seconds > 0.0)
            .collect();
        let device = device_and_driver(&record.device);
        if !predicted.is_empty() {
            let mut errors: Vec<f64> =
                predicted.iter().map(|it| (it.predicted_seconds / it.measured_seconds - 1.0).abs()).collect();
            errors.sort_unstable_by(f64::total_cmp);
            // The two in the middle are one where their number is odd.
            let [lower, upper] = [(errors.len() - 1) / 2, errors.len() / 2].map(|at| errors[at]);
            let caption = format!(
                "{device}; {} candidates on {} shapes. Median error of the model {:.0} %, largest {:.0} %.",
                predicted.len(),
                shapes.len(),
                100.0 * f64::midpoint(lower, upper),
                100.0 * errors[errors.len() - 1]
            );
            let id = if index == 0 { "chart-tuning".to_owned() } else { format!("chart-tuning-{index}") };
            content.push_str(&figure(&id, "Model against measurement", &chart(&predicted), &caption));
        }
        content.push_str(&format!("<div style=\"margin-top:20px\">{}</div>", choices(index, &shapes)));
    }
    let words = "Regret is what the chosen candidate takes over the fastest verified one that was measured.";
    (!content.is_empty()).then(|| html_section("tuning", "Autotuning", words, &content))
}

fn choices(index: usize, shapes: &Shapes) -> String {
    let rows: Vec<Vec<String>> = shapes
        .iter()
        .map(|((workload, rows, columns, depth), candidates)| {
            let chosen = candidates.iter().find(|candidate| candidate.chosen);
            let best = candidates
                .iter()
                .filter(|candidate| candidate.verified)
                .min_by(|a, b| a.measured_seconds.total_cmp(&b.measured_seconds));
            let cell = |candidate: Option<&&Candidate>| {
                candidate.map_or("–".to_owned(), |it| {
                    format!("{} <small>{}</small>", escape(&it.candidate), seconds(it.measured_seconds))
                })
            };
            vec![
                format!("{} {rows} × {columns} × {depth}", escape(workload)),
                candidates.len().to_string(),
                cell(chosen),
                cell(best),
                regret(candidates).map_or("–".to_owned(), |regret| format!("{:.1} %", 100.0 * regret)),
            ]
        })
        .collect();
    table(&format!("table-tuning-{index}"), &["shape", "#candidates", "chosen", "fastest", "#regret"], &rows)
}

fn chart(predicted: &[&Candidate]) -> String {
    let values = || predicted.iter().flat_map(|it| [it.predicted_seconds, it.measured_seconds]);
    let panel = Panel {
        left: 76.0,
        top: 40.0,
        width: SIZE[0] - 100.0,
        height: SIZE[1] - 100.0,
        x: Scale::log(values()),
        y: Scale::log(values()),
    };
    let mut drawing = Drawing::new(SIZE, "Predicted against measured time");
    panel.draw(&mut drawing, ["measured time", "predicted time"], [seconds_tick, seconds_tick]);
    let [low, high] = panel.x.range();
    drawing.line(panel.place(low, low), panel.place(high, high), "thin");
    for candidate in predicted {
        let place = panel.place(candidate.measured_seconds, candidate.predicted_seconds);
        let (series, radius) = if candidate.chosen { (1, 6.0) } else { (0, 4.0) };
        drawing.mark(place, series, radius);
    }
    drawing.mark([panel.left + 20.0, panel.top + 16.0], 1, 6.0);
    drawing.text(
        [panel.left + 32.0, panel.top + 20.0],
        "start",
        "",
        "chosen by the tuner; dashed: as predicted",
    );
    drawing.finish()
}
