//! tilefold beside other libraries: the same rows, the same first centroids, in turns.

use std::collections::BTreeSet;

use super::html::{self, device_and_driver, digits, escape, figure, seconds, seconds_tick, table};
use super::results::{Measured, Results};
use super::scale::Scale;
use super::svg::{Drawing, Panel, legend};
use crate::words::plural;

/// Runs of one shape: that of tilefold, and those of others.
struct Group<'a> {
    ours: Measured<'a>,
    others: Vec<Measured<'a>>,
}

/// The library without its version, with the manner in which it ran: "tilefold 0.1.0, k-means++" is "tilefold, k-means++".
fn name(measured: &Measured) -> String {
    let (library, manner) = measured.run.library.split_once(',').unwrap_or((&measured.run.library, ""));
    let library = library.split_whitespace().next().unwrap_or("?");
    if manner.is_empty() { library.to_owned() } else { format!("{library},{manner}") }
}

/// Whether a name is that of another library.
fn is_peer(name: &str) -> bool {
    name != "tilefold" && !name.starts_with("tilefold,")
}

fn mode(measured: &Measured) -> String {
    match (measured.run.mode.as_deref(), measured.run.iterations) {
        (Some("converged"), Some(count)) => format!("to convergence ({count})"),
        (Some("converged"), None) => "to convergence".to_owned(),
        (_, Some(count)) => format!("{count} iterations"),
        _ => String::new(),
    }
}

fn groups<'a>(results: &Results<'a>) -> Vec<Group<'a>> {
    let key = |measured: &Measured| {
        let run = measured.run;
        (
            run.workload.clone(),
            run.data.clone(),
            run.n,
            run.d,
            run.k,
            run.mode.clone(),
            measured.record.date.clone(),
        )
    };
    let is_ours =
        |measured: &Measured| name(measured) == "tilefold" && measured.run.seconds.wall.median > 0.0;
    let ours = results.peers.iter().filter(|measured| is_ours(measured));
    let with_others = ours.map(|ours| {
        let same = |other: &&Measured| {
            key(other) == key(ours) && name(other) != "tilefold" && other.run.seconds.wall.median > 0.0
        };
        Group { ours: *ours, others: results.peers.iter().filter(same).copied().collect() }
    });
    with_others.filter(|group| group.others.iter().any(|other| is_peer(&name(other)))).collect()
}

/// The most telling ratios: for each peer the geometric mean over shapes.
pub(super) fn keys(results: &Results) -> Vec<(String, String)> {
    let groups = groups(results);
    let names: BTreeSet<String> =
        groups.iter().flat_map(|group| group.others.iter().map(name)).filter(|name| is_peer(name)).collect();
    names
        .into_iter()
        .filter_map(|peer| {
            let ratios: Vec<f64> = groups
                .iter()
                .flat_map(|group| group.others.iter().map(move |other| (group, other)))
                .filter(|(_, other)| name(other) == peer)
                .map(|(group, other)| other.run.seconds.wall.median / group.ours.run.seconds.wall.median)
                .collect();
            let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
            let words = format!(
                "the speed of {peer} on k-means, geometric mean over {} {}",
                ratios.len(),
                plural(ratios.len(), "shape")
            );
            mean.is_finite().then(|| (format!("{}×", digits(mean)), words))
        })
        .collect()
}

/// Medians, their range, and how the results compare.
fn all_runs(groups: &[Group]) -> String {
    let mut rows = Vec::new();
    for group in groups {
        let ours = group.ours.run.seconds.wall.median;
        for (index, measured) in std::iter::once(&group.ours).chain(&group.others).enumerate() {
            let run = measured.run;
            let wall = &run.seconds.wall;
            let shape = if index == 0 {
                format!(
                    "{}<br><small>{} {}</small>",
                    escape(&measured.shape()),
                    escape(&run.data),
                    escape(&mode(measured))
                )
            } else {
                String::new()
            };
            let inertia = match (run.inertia, group.ours.run.inertia) {
                _ if index == 0 => "reference".to_owned(),
                (Some(theirs), Some(own)) if own != 0.0 => format!("{:+.1e}", theirs / own - 1.0),
                _ => "–".to_owned(),
            };
            let equal = run.equal_labels.map_or("–".to_owned(), |share| format!("{:.3} %", 100.0 * share));
            let ratio = digits(wall.median / ours);
            let is_fastest = std::iter::once(&group.ours)
                .chain(&group.others)
                .all(|other| wall.median <= other.run.seconds.wall.median);
            let class = if is_fastest { " class=\"best\"" } else { "" };
            rows.push(vec![
                shape,
                escape(&run.library),
                format!("<span{class}>{}</span>", seconds(wall.median)),
                format!("{} – {}", seconds(wall.min), seconds(wall.max)),
                format!("{ratio}×"),
                run.iterations.map_or("–".to_owned(), |count| count.to_string()),
                if index == 0 { "–".to_owned() } else { equal },
                inertia,
            ]);
        }
    }
    let columns = [
        "shape",
        "library",
        "#median",
        "#min – max",
        "#time / tilefold",
        "#iterations",
        "#equal labels",
        "#inertia − tilefold’s",
    ];
    table("table-peers", &columns, &rows)
}

/// The section, where there are peers.
pub(super) fn section(results: &Results) -> Option<String> {
    let groups = groups(results);
    let first = groups.first()?;
    let caption = format!(
        "{}; {}, {} threads. Medians of up to {} runs in turns; wall time from data in memory to labels. Axis: less is better.",
        device_and_driver(&first.ours.record.device),
        first.ours.record.machine.cpu,
        first.ours.record.machine.threads,
        groups.iter().map(|group| group.ours.run.seconds.wall.count).max().unwrap_or(0)
    );
    let content = figure("chart-peers", "k-means: time by library", &chart(&groups), &caption)
        + "<div style=\"margin-top:20px\">"
        + &all_runs(&groups)
        + "</div>";
    let words = "The same float32 rows and the same first centroids for everyone but superkmeans, which chooses its own, and \
                 tilefold’s own k-means++, whose time counts; all threads. A result counts only once it was compared: inertia is \
                 computed again in float64 for each library’s centroids and labels. tilefold’s labels equal those of float64 arithmetic; the others compute in float32.";
    Some(html::section("peers", "Beside other libraries", words, &content))
}

fn chart(groups: &[Group]) -> String {
    let mut names: Vec<String> = vec!["tilefold".to_owned()];
    for other in groups.iter().flat_map(|group| &group.others) {
        if !names.contains(&name(other)) {
            names.push(name(other));
        }
    }
    let row = 46.0;
    let (left, width) = (175.0, 525.0);
    let height = row * groups.len() as f64;
    let mut drawing = Drawing::new([960.0, height + 110.0], "Time of k-means by library and shape");
    let top = 22.0 + legend(&mut drawing, &names, [left, 18.0], 640.0);
    let all = groups.iter().flat_map(|group| std::iter::once(&group.ours).chain(&group.others));
    let x = Scale::log(all.map(|measured| measured.run.seconds.wall.median));
    let panel = Panel { left, top, width, height, x, y: Scale::from_zero([1.0].into_iter()) };
    let bottom = top + height;
    for tick in panel.x.ticks() {
        let [at, _] = panel.place(tick, 0.0);
        drawing.line([at, top], [at, bottom], "grid");
        drawing.text([at, bottom + 18.0], "middle", "tick", &seconds_tick(tick));
    }
    drawing.text([left + panel.width / 2.0, bottom + 40.0], "middle", "", "wall time, logarithmic");
    for (index, group) in groups.iter().enumerate() {
        let y = top + row * (index as f64 + 0.5);
        drawing.text([left - 12.0, y - 3.0], "end", "", &group.ours.shape());
        drawing.text([left - 12.0, y + 13.0], "end", "tick", &mode(&group.ours));
        let places: Vec<(f64, usize)> = std::iter::once(&group.ours)
            .chain(&group.others)
            .map(|measured| {
                let series = names.iter().position(|known| *known == name(measured)).unwrap_or(0);
                (panel.place(measured.run.seconds.wall.median, 0.0)[0], series)
            })
            .collect();
        let ends =
            places.iter().fold([f64::INFINITY, 0.0_f64], |[low, high], (x, _)| [low.min(*x), high.max(*x)]);
        drawing.line([ends[0], y], [ends[1], y], "axis");
        // Ours last, on top.
        places.iter().rev().for_each(|&(x, series)| drawing.mark([x, y], series, 7.0));
        let ours = group.ours.run.seconds.wall.median;
        let peers = group.others.iter().filter(|other| is_peer(&name(other)));
        if let Some(best) =
            peers.min_by(|a, b| a.run.seconds.wall.median.total_cmp(&b.run.seconds.wall.median))
        {
            let ratio = best.run.seconds.wall.median / ours;
            let words = if ratio >= 1.0 {
                format!("{}× faster than {}", digits(ratio), name(best))
            } else {
                format!("{}× slower than {}", digits(1.0 / ratio), name(best))
            };
            drawing.text([left + width + 16.0, y + 4.0], "start", "", &words);
        }
    }
    drawing.finish()
}
