//! Marks of charts. Colours are classes of the page, so that they follow light and dark.

use std::fmt::Write;

use super::html::escape;
use super::scale::Scale;

/// Colours that readers with any colour vision tell apart; after the last the first comes again.
const COLOURS: usize = 8;

/// A colour by number.
pub(super) fn colour(series: usize) -> String {
    format!("var(--c{})", series % COLOURS)
}

/// An SVG that is being drawn.
pub(super) struct Drawing {
    text: String,
    is_wide: bool,
    size: [f64; 2],
    title: String,
}

impl Drawing {
    /// An empty drawing; the title is what screen readers say.
    pub fn new(size: [f64; 2], title: &str) -> Self {
        Self { text: String::new(), is_wide: size[0] > 700.0, size, title: escape(title) }
    }

    /// Appends one element.
    pub fn put(&mut self, element: std::fmt::Arguments) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{element}");
    }

    /// A text; `class` and `anchor` are the chart's own words, `content` is escaped.
    pub fn text(&mut self, [x, y]: [f64; 2], anchor: &str, class: &str, content: &str) {
        let content = escape(content);
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{content}</text>"
        ));
    }

    /// A straight line.
    pub fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], class: &str) {
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        ));
    }

    /// A line through places.
    pub fn curve(&mut self, places: &[[f64; 2]], series: usize) {
        let points: Vec<String> = places.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect();
        let stroke = colour(series);
        self.put(format_args!(
            "<polyline points=\"{}\" class=\"curve\" style=\"stroke:{stroke}\"/>",
            points.join(" ")
        ));
    }

    /// A filled rectangle.
    pub fn bar(&mut self, [x, y]: [f64; 2], [width, height]: [f64; 2], series: usize) {
        let fill = colour(series);
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" style=\"fill:{fill}\"/>",
            width.max(0.0)
        ));
    }

    /// The mark of a series: colour and shape tell it apart.
    pub fn mark(&mut self, [x, y]: [f64; 2], series: usize, radius: f64) {
        let (fill, r) = (colour(series), radius);
        match series % 4 {
            0 => self.put(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r}\" style=\"fill:{fill}\"/>")),
            1 => self.put(format_args!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" style=\"fill:{fill}\"/>",
                x - 0.9 * r,
                y - 0.9 * r,
                1.8 * r,
                1.8 * r
            )),
            2 => self.put(format_args!(
                "<path d=\"M{:.1} {:.1}h{:.1}l{:.1} {:.1}z\" style=\"fill:{fill}\"/>",
                x - 1.1 * r,
                y + 0.9 * r,
                2.2 * r,
                -1.1 * r,
                -2.0 * r
            )),
            _ => self.put(format_args!(
                "<path d=\"M{:.1} {y:.1}l{r:.1} {r:.1}l{r:.1} -{r:.1}l-{r:.1} -{r:.1}z\" style=\"fill:{fill}\"/>",
                x - r
            )),
        }
    }

    /// The whole element.
    pub fn finish(self) -> String {
        let [width, height] = self.size;
        let class = if self.is_wide { " class=\"wide\"" } else { "" };
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\"{class}>\n{}</svg>",
            self.title, self.text
        )
    }
}

/// A rectangle with two axes.
pub(super) struct Panel {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Scale,
    pub y: Scale,
}

impl Panel {
    /// The place of a point.
    pub fn place(&self, x: f64, y: f64) -> [f64; 2] {
        [self.left + self.width * self.x.position(x), self.top + self.height * (1.0 - self.y.position(y))]
    }

    /// Draws grid, ticks and titles.
    pub fn draw(&self, drawing: &mut Drawing, titles: [&str; 2], write: [fn(f64) -> String; 2]) {
        let (right, bottom) = (self.left + self.width, self.top + self.height);
        let middle = (self.y.range()[0] + self.y.range()[1]) / 2.0;
        for tick in self.x.ticks() {
            let [x, _] = self.place(tick, middle);
            drawing.line([x, self.top], [x, bottom], "grid");
            drawing.text([x, bottom + 18.0], "middle", "tick", &write[0](tick));
        }
        for tick in self.y.ticks() {
            let [_, y] = self.place(self.x.range()[1], tick);
            drawing.line([self.left, y], [right, y], "grid");
            drawing.text([self.left - 8.0, y + 4.0], "end", "tick", &write[1](tick));
        }
        drawing.line([self.left, bottom], [right, bottom], "axis");
        drawing.line([self.left, self.top], [self.left, bottom], "axis");
        drawing.text([self.left + self.width / 2.0, bottom + 40.0], "middle", "", titles[0]);
        // Above the axis, where it needs no turning of the head.
        drawing.text([self.left - 44.0, self.top - 14.0], "start", "", titles[1]);
    }
}

/// Labels beside places, moved up or down until none covers another.
pub(super) struct Labels {
    taken: Vec<[f64; 4]>,
    bounds: [f64; 2],
}

impl Labels {
    /// None yet; they stay between these heights.
    pub fn between(top: f64, bottom: f64) -> Self {
        Self { taken: Vec::new(), bounds: [top, bottom] }
    }

    /// Keeps labels away from a mark.
    pub fn avoid(&mut self, [x, y]: [f64; 2]) {
        self.taken.push([x - 5.0, x + 5.0, y - 5.0, y + 5.0]);
    }

    /// Writes a label to the right of a place, or to its left where the right edge is near.
    pub fn put(&mut self, drawing: &mut Drawing, [x, y]: [f64; 2], right_edge: f64, content: &str) {
        let width = 6.9 * content.chars().count() as f64;
        let is_left = x + 10.0 + width > right_edge;
        let left = if is_left { x - 10.0 - width } else { x + 10.0 };
        let steps = (0..24).flat_map(|step| [f64::from(step), -f64::from(step)]);
        let place = steps.map(|step| y + 4.0 + 8.0 * step).find(|&y| {
            let inside = y > self.bounds[0] + 10.0 && y < self.bounds[1];
            let free =
                |[a, b, c, d]: &[f64; 4]| left + width < *a || left > *b || y - 11.0 > *d || y + 4.0 < *c;
            inside && self.taken.iter().all(free)
        });
        let y = place.unwrap_or(y + 4.0);
        self.taken.push([left, left + width, y - 11.0, y + 4.0]);
        let anchor = if is_left { "end" } else { "start" };
        drawing.text([if is_left { x - 10.0 } else { left }, y], anchor, "halo", content);
    }
}

/// A row of marks with their names, wrapped to a width; returns its height.
pub(super) fn legend(drawing: &mut Drawing, names: &[String], [left, top]: [f64; 2], width: f64) -> f64 {
    let (mut x, mut y) = (left, top);
    for (series, name) in names.iter().enumerate() {
        let length = 26.0 + 7.2 * name.chars().count() as f64;
        if x > left && x + length > left + width {
            (x, y) = (left, y + 20.0);
        }
        drawing.mark([x + 6.0, y - 4.0], series, 5.0);
        drawing.text([x + 17.0, y], "start", "", name);
        x += length;
    }
    y - top + 20.0
}
