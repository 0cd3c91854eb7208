//! Throughput and tail latency of scheduling policies, one line of the picture per policy.

use super::axis::Axis;
use super::panel::{COLOURS, INK, WIDTH, line, put, text};

/// Left end of the first panel, right of the names.
const LEFT: f64 = 130.0;
const TOP: f64 = 96.0;
/// Height of one policy.
const ROW: f64 = 52.0;
const GAP: f64 = 46.0;
const GRID: &str = "#e4e4e4";

/// What the picture shows of one policy's run.
pub struct PolicyRun<'a> {
    /// Name of the policy.
    pub policy: &'a str,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// Seconds to the first token: p50, p95 and p99.
    pub first_token_seconds: [f64; 3],
    /// Seconds per token after the first: p50, p95 and p99.
    pub per_token_seconds: [f64; 3],
}

/// What one panel shows of a run.
struct Measure {
    title: &'static str,
    unit: &'static str,
    /// One value, or three percentiles.
    values: fn(&PolicyRun) -> Vec<f64>,
}

const MEASURES: [Measure; 3] = [
    Measure { title: "throughput", unit: "tokens per second", values: |run| vec![run.tokens_per_second] },
    Measure { title: "time to first token", unit: "seconds", values: |run| run.first_token_seconds.to_vec() },
    Measure {
        title: "time per output token",
        unit: "milliseconds",
        values: |run| run.per_token_seconds.map(|seconds| 1e3 * seconds).to_vec(),
    },
];

/// The picture of these runs of one trace.
pub fn draw_policies(title: &str, runs: &[PolicyRun]) -> String {
    let bottom = TOP + ROW * runs.len() as f64;
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
    for (index, run) in runs.iter().enumerate() {
        text(&mut page, [LEFT - 12.0, middle(index) + 5.0], "end", 15, run.policy);
    }
    let width = (WIDTH - LEFT - 30.0 - GAP * (MEASURES.len() - 1) as f64) / MEASURES.len() as f64;
    for (index, measure) in MEASURES.iter().enumerate() {
        let left = LEFT + index as f64 * (width + GAP);
        draw_measure(&mut page, measure, runs, [left, width, bottom]);
    }
    draw_legend(&mut page, bottom + 80.0);
    page.push_str("</svg>\n");
    page
}

/// The height at which a policy is drawn.
fn middle(index: usize) -> f64 {
    TOP + ROW * (index as f64 + 0.5)
}

fn draw_measure(page: &mut String, measure: &Measure, runs: &[PolicyRun], [left, width, bottom]: [f64; 3]) {
    let all: Vec<Vec<f64>> = runs.iter().map(measure.values).collect();
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

    #[test]
    fn every_policy_has_its_marks_and_no_number_is_missing() {
        // The second run took no time, the third had no requests.
        for (tokens_per_second, seconds) in [(812.5, 0.03), (f64::INFINITY, 0.0), (0.0, 0.0)] {
            let run = || PolicyRun {
                policy: "fcfs",
                tokens_per_second,
                first_token_seconds: [1.0, 2.0, 5.0].map(|factor| factor * seconds),
                per_token_seconds: [seconds; 3],
            };
            let page = draw_policies("a < b", &[run(), run()]);
            assert!(page.starts_with("<svg") && page.ends_with("</svg>\n") && page.contains("a &lt; b"));
            assert!(!page.contains("NaN") && !page.contains("inf\""), "{page}");
            assert_eq!(page.matches("<circle").count(), 5, "two policies, two tails, one legend");
        }
    }
}
