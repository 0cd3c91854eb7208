//! `lora simulate --plot`: throughput and tail latency, one line of the page per policy.

use tilefold_simulate::{Percentiles, Report};

use super::axis::Axis;
use super::panel::{INK, line, put, text};
use super::{COLOURS, WIDTH};

/// Left end of the first panel, right of the names.
const LEFT: f64 = 130.0;
const TOP: f64 = 96.0;
/// Height of one policy.
const ROW: f64 = 52.0;
const GAP: f64 = 46.0;
const GRID: &str = "#e4e4e4";

/// What one panel shows of a report.
struct Measure {
    title: &'static str,
    unit: &'static str,
    /// One value, or three percentiles.
    values: fn(&Report) -> Vec<f64>,
}

const MEASURES: [Measure; 3] = [
    Measure {
        title: "throughput",
        unit: "tokens per second",
        values: |report| vec![report.tokens_per_second],
    },
    Measure {
        title: "time to first token",
        unit: "seconds",
        values: |report| tail(&report.first_token_seconds, 1.0),
    },
    Measure {
        title: "time per output token",
        unit: "milliseconds",
        values: |report| tail(&report.per_token_seconds, 1e3),
    },
];

fn tail(values: &Percentiles, unit: f64) -> Vec<f64> {
    [values.p50, values.p95, values.p99].map(|value| unit * value).to_vec()
}

/// The picture of these runs of one trace.
pub(in crate::cli) fn draw(title: &str, reports: &[Report]) -> String {
    let bottom = TOP + ROW * reports.len() as f64;
    let height = bottom + 96.0;
    let mut page = String::new();
    put(
        &mut page,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" fill=\"{INK}\">"
        ),
    );
    put(&mut page, format_args!("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"));
    // The workload's text is the user's.
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    text(&mut page, [24.0, 38.0], "start", 20, &title);
    for (index, report) in reports.iter().enumerate() {
        text(&mut page, [LEFT - 12.0, middle(index) + 5.0], "end", 15, &report.policy);
    }
    let width = (WIDTH - LEFT - 30.0 - GAP * (MEASURES.len() - 1) as f64) / MEASURES.len() as f64;
    for (index, measure) in MEASURES.iter().enumerate() {
        let left = LEFT + index as f64 * (width + GAP);
        draw_measure(&mut page, measure, reports, [left, width, bottom]);
    }
    draw_legend(&mut page, bottom + 80.0);
    page.push_str("</svg>\n");
    page
}

/// The height at which a policy is drawn.
fn middle(index: usize) -> f64 {
    TOP + ROW * (index as f64 + 0.5)
}

fn draw_measure(page: &mut String, measure: &Measure, reports: &[Report], [left, width, bottom]: [f64; 3]) {
    let all: Vec<Vec<f64>> = reports.iter().map(measure.values).collect();
    let axis = Axis::new(all.iter().flatten().copied().chain([0.0]), 4);
    let place = |value: f64| left + width * axis.position(value);
    text(page, [left, TOP - 14.0], "start", 16, measure.title);
    for (position, label) in axis.ticks() {
        let x = left + width * position;
        line(page, [x, TOP], [x, bottom], GRID);
        line(page, [x, bottom], [x, bottom + 5.0], INK);
        text(page, [x, bottom + 21.0], "middle", 14, &label);
    }
    for (index, values) in all.iter().enumerate() {
        // A run without any time has no rate.
        if values.iter().all(|value| value.is_finite()) {
            draw_values(page, values, middle(index), place);
        }
    }
    put(
        page,
        format_args!(
            "<rect x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"none\" stroke=\"{INK}\"/>",
            bottom - TOP
        ),
    );
    text(page, [left + width / 2.0, bottom + 44.0], "middle", 15, &axis.title(measure.unit));
}

/// A bar for one value; for three percentiles a line with their marks.
fn draw_values(page: &mut String, values: &[f64], y: f64, place: impl Fn(f64) -> f64) {
    if let &[value] = values {
        let (begin, end) = (place(0.0), place(value));
        put(
            page,
            format_args!(
                "<rect x=\"{begin:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"22\" fill=\"{}\"/>",
                y - 11.0,
                end - begin,
                COLOURS[1]
            ),
        );
        text(page, [begin + 8.0, y + 5.0], "start", 14, &format!("{value:.0}"));
        return;
    }
    let places: Vec<f64> = values.iter().map(|&value| place(value)).collect();
    if let (Some(&first), Some(&last)) = (places.first(), places.last()) {
        line(page, [first, y], [last, y], INK);
    }
    // The largest first, so that the median lies on top where they meet.
    places.iter().enumerate().rev().for_each(|(which, &x)| mark(page, which, x, y));
}

/// The mark of p50, p95 or p99: shape and colour tell them apart.
fn mark(page: &mut String, which: usize, x: f64, y: f64) {
    let colour = [COLOURS[0], COLOURS[2], COLOURS[6]][which % 3];
    match which {
        0 => put(page, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\" fill=\"{colour}\"/>")),
        1 => put(
            page,
            format_args!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{colour}\"/>",
                x - 5.5,
                y - 5.5
            ),
        ),
        _ => put(
            page,
            format_args!(
                "<path d=\"M{:.1} {y:.1}l7.5 7.5l7.5 -7.5l-7.5 -7.5z\" fill=\"{colour}\"/>",
                x - 7.5
            ),
        ),
    }
}

fn draw_legend(page: &mut String, y: f64) {
    for (which, name) in ["p50", "p95", "p99"].into_iter().enumerate() {
        let x = LEFT + 330.0 + 80.0 * which as f64;
        mark(page, which, x + 80.0, y - 5.0);
        text(page, [x + 94.0, y], "start", 15, name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilefold_simulate::{BaseCost, Fcfs, NoLora, ServedAdapter, Simulation, StepCost, TraceBuilder};

    #[test]
    fn every_policy_has_its_marks_and_no_number_is_missing() {
        for (requests, base) in
            [(20, BaseCost::punica_a100_7b()), (20, BaseCost::zero()), (0, BaseCost::zero())]
        {
            let trace = TraceBuilder::new(vec![0; requests]).build(&|_, _| 0).expect("a trace");
            let cost = StepCost { base: &base, lora: &NoLora };
            let adapters = ServedAdapter::cycle(trace.adapters(), &[0]).expect("adapters");
            let report = Simulation::new().run(&trace, &adapters, cost, &mut Fcfs).expect("a run");
            let page = draw("a < b", &[report.clone(), report]);
            assert!(page.starts_with("<svg") && page.ends_with("</svg>\n") && page.contains("a &lt; b"));
            assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
            assert_eq!(page.matches("<circle").count(), 5, "two policies, two tails, one legend");
        }
    }
}
