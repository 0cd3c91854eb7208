//! The clusters in the plane of the first two principal components, and the inertia per iteration. The same numbers give
//! the same picture.

use super::axis::Axis;
use super::panel::{self, COLOURS, Panel, WIDTH, put, text};
use crate::words::{grouped, plural};

const HEIGHT: f64 = 640.0;
/// Centroids carry their number up to this many clusters.
const NUMBERED: usize = 40;
/// Markers of single iterations are drawn up to this many.
const DOTTED_ITERATIONS: usize = 60;
/// Shapes beyond the colours.
const SHAPES: [Shape; 4] = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Diamond];

#[derive(Clone, Copy)]
enum Shape {
    Circle,
    Square,
    Triangle,
    Diamond,
}

/// What the picture of a clustering shows.
pub struct Clusters<'a> {
    /// Rows that were clustered.
    pub rows: usize,
    /// Features of each.
    pub columns: usize,
    /// The rows that are drawn, in the plane.
    pub spots: Vec<[f64; 2]>,
    /// The cluster of each of them.
    pub labels: Vec<usize>,
    /// The centroids, in the plane.
    pub centres: Vec<[f64; 2]>,
    /// Share of the variance that each axis shows; fewer than two where the rows lie on a line or a point.
    pub shares: &'a [f64],
    /// Sum of squared distances.
    pub inertia: f64,
    /// The same at the start of each iteration.
    pub history: Vec<f64>,
    /// Iterations that were done.
    pub iterations: usize,
    /// Whether they ended by themselves.
    pub converged: bool,
}

/// The picture of a clustering.
pub fn draw_clusters(clusters: &Clusters) -> String {
    let mut page = String::new();
    put(
        &mut page,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" fill=\"{}\">",
            panel::INK
        ),
    );
    put(&mut page, format_args!("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"));
    draw_scatter(&mut page, clusters);
    draw_history(&mut page, &clusters.history);
    draw_title(&mut page, clusters);
    page.push_str("</svg>\n");
    page
}

fn draw_title(page: &mut String, clusters: &Clusters) {
    let count = |count: usize| grouped(count as u64);
    let (rows, columns) = (count(clusters.rows), count(clusters.columns));
    let (k, inertia) = (count(clusters.centres.len()), number(clusters.inertia));
    text(
        page,
        [90.0, 34.0],
        "start",
        20,
        &format!(
            "{rows} {} × {columns} {}, k = {k}, inertia {inertia}",
            plural(clusters.rows, "row"),
            plural(clusters.columns, "column")
        ),
    );
    let end = if clusters.converged { "converged" } else { "not converged" };
    let mut subtitle =
        format!("{} {}, {end}", count(clusters.iterations), plural(clusters.iterations, "iteration"));
    let drawn = clusters.spots.len();
    if drawn < clusters.rows {
        subtitle.push_str(&format!("; {} of {rows} rows drawn", count(drawn)));
    }
    text(page, [90.0, 58.0], "start", 15, &subtitle);
}

/// A number with seven digits, without an exponent where that is short.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { value.abs().log10().floor() };
    if (-4.0..9.0).contains(&digits) {
        let decimals = (6.0 - digits).clamp(0.0, 10.0) as usize;
        let text = format!("{value:.decimals$}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let whole = whole.parse().map_or(whole.to_owned(), grouped);
        format!("{whole}.{}", fraction.trim_end_matches('0')).trim_end_matches('.').to_owned()
    } else {
        format!("{value:.6e}")
    }
}

fn draw_scatter(page: &mut String, clusters: &Clusters) {
    let Clusters { spots, labels, centres, shares, .. } = clusters;
    let (mut spots, mut centres) = (spots.clone(), centres.clone());
    let on_a_line = shares.len() < 2;
    if on_a_line {
        // Without a second axis, each cluster gets a line of its own.
        spots.iter_mut().zip(labels).for_each(|(spot, &label)| spot[1] = label as f64);
        centres.iter_mut().enumerate().for_each(|(cluster, centre)| centre[1] = cluster as f64);
    }
    let values = |axis: usize| spots.iter().chain(&centres).map(move |spot| spot[axis]);
    let x = Axis::new(values(0), 8);
    let y = if on_a_line {
        // Half a line of room below the first cluster and above the last.
        Axis::new([-0.5, centres.len() as f64 - 0.5].into_iter(), 7).whole()
    } else {
        Axis::new(values(1), 7)
    };
    let panel = Panel { left: 90.0, top: 80.0, width: 640.0, height: 480.0, x, y };
    let label = |axis: usize, name: &str| match shares.get(axis) {
        Some(share) => format!("{name} principal component ({:.1} % of the variance)", 100.0 * share),
        None if axis == 0 => "all rows are equal".to_owned(),
        None => "cluster".to_owned(),
    };
    panel.draw_axes(page, &label(0, "first"), &label(1, "second"));
    let radius = match spots.len() {
        0..500 => 4.5,
        500..4000 => 3.5,
        _ => 2.5,
    };
    put(page, format_args!("<g fill-opacity=\"0.7\">"));
    for (spot, &label) in spots.iter().zip(labels) {
        marker(page, panel.place(spot[0], spot[1]), radius, label);
    }
    put(page, format_args!("</g>"));
    let places: Vec<[f64; 2]> = centres.iter().map(|centre| panel.place(centre[0], centre[1])).collect();
    draw_centroids(page, &panel, &places);
}

fn marker(page: &mut String, [x, y]: [f64; 2], radius: f64, cluster: usize) {
    let colour = COLOURS[cluster % COLOURS.len()];
    let r = radius;
    match SHAPES[cluster / COLOURS.len() % SHAPES.len()] {
        Shape::Circle => {
            put(page, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\" fill=\"{colour}\"/>"));
        }
        Shape::Square => {
            let (x, y, side) = (x - 0.9 * r, y - 0.9 * r, 1.8 * r);
            put(
                page,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side}\" height=\"{side}\" fill=\"{colour}\"/>"
                ),
            );
        }
        Shape::Triangle => {
            let (w, h) = (1.2 * r, 1.1 * r);
            put(
                page,
                format_args!(
                    "<path d=\"M{:.1} {:.1}h{:.1}l{:.1} {:.1}z\" fill=\"{colour}\"/>",
                    x - w,
                    y + h,
                    2.0 * w,
                    -w,
                    -2.0 * h
                ),
            );
        }
        Shape::Diamond => {
            let w = 1.3 * r;
            put(
                page,
                format_args!(
                    "<path d=\"M{:.1} {y:.1}l{w:.1} {w:.1}l{w:.1} -{w:.1}l-{w:.1} -{w:.1}z\" fill=\"{colour}\"/>",
                    x - w
                ),
            );
        }
    }
}

/// Crosses with the cluster's colour inside, and their numbers where there is room.
fn draw_centroids(page: &mut String, panel: &Panel, places: &[[f64; 2]]) {
    for (cluster, [x, y]) in places.iter().enumerate() {
        let colour = COLOURS[cluster % COLOURS.len()];
        for (width, half, colour) in [(9.0, 9.0, "white"), (6.5, 8.0, "black"), (3.0, 6.5, colour)] {
            let length = 2.0 * half;
            put(
                page,
                format_args!(
                    "<path d=\"M{:.1} {y:.1}h{length}M{x:.1} {:.1}v{length}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
                    x - half,
                    y - half
                ),
            );
        }
    }
    if places.len() > NUMBERED {
        return;
    }
    let mut taken: Vec<[f64; 2]> = places.to_vec();
    for (cluster, &[x, y]) in places.iter().enumerate() {
        // Beside the cross, on the side that is freest.
        let sides = [[0.0, 22.0], [0.0, -20.0], [16.0, 14.0], [-16.0, 14.0], [16.0, -12.0], [-16.0, -12.0]];
        let room = |side: &[f64; 2]| {
            let spot = [x + side[0], y + side[1]];
            let distance = |other: &[f64; 2]| (spot[0] - other[0]).hypot(spot[1] - other[1]);
            let edges = [spot[1] - panel.top, panel.top + panel.height - spot[1]];
            taken.iter().map(distance).chain(edges.map(|edge| edge + 8.0)).fold(24.0_f64, f64::min)
        };
        // Of equal ones the first.
        let best = sides.iter().rev().max_by(|a, b| room(a).total_cmp(&room(b)));
        let [dx, dy] = best.copied().unwrap_or_default();
        let (x, y) = (x + dx, y + dy);
        taken.push([x, y]);
        let y = y + 5.0;
        for style in ["stroke=\"white\" stroke-width=\"4\" stroke-linejoin=\"round\"", "fill=\"black\""] {
            put(
                page,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" font-size=\"15\" font-weight=\"bold\" {style}>{cluster}</text>"
                ),
            );
        }
    }
}

fn draw_history(page: &mut String, history: &[f64]) {
    let numbers = (1..=history.len()).map(|number| number as f64);
    let x = Axis::new(numbers.clone(), 6).whole();
    let y = Axis::new(history.iter().copied(), 7);
    let panel = Panel { left: 860.0, top: 80.0, width: 350.0, height: 480.0, x, y };
    panel.draw_axes(page, "iteration", "inertia at its start");
    // Squares of numbers beyond 1e154 overflow: such an inertia has no place.
    let finite = numbers.zip(history).filter(|(_, inertia)| inertia.is_finite());
    let places: Vec<[f64; 2]> = finite.map(|(x, &y)| panel.place(x, y)).collect();
    let path: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
    put(
        page,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>",
            path.join(" "),
            COLOURS[0]
        ),
    );
    if places.len() <= DOTTED_ITERATIONS {
        for &place in &places {
            marker(page, place, 3.5, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 12.5, 1_169_531.744_934, 0.001, 1e300].map(number);
        assert_eq!(texts, ["0", "12.5", "1,169,532", "0.001", "1.000000e300"]);
    }
}
