//! A rectangle with axes, and the marks drawn in it.

use std::fmt::Write;

use super::axis::Axis;

/// Width of every picture.
pub(super) const WIDTH: f64 = 1240.0;
/// Paul Tol's "muted" colours, told apart by readers with any colour vision (Tol, SRON/EPS/TN/09-002, 2021), and grey.
pub(super) const COLOURS: [&str; 10] = [
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499",
    "#777777",
];
/// Ink of axes and texts.
pub(super) const INK: &str = "#222222";
const GRID: &str = "#e4e4e4";

/// A place on the page, in pixels.
pub(super) struct Panel {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
}

impl Panel {
    /// Page coordinates of a point.
    pub fn place(&self, x: f64, y: f64) -> [f64; 2] {
        [self.left + self.x.position(x) * self.width, self.top + (1.0 - self.y.position(y)) * self.height]
    }

    /// Draws frame, grid, ticks and titles.
    pub fn draw_axes(&self, page: &mut String, x_label: &str, y_label: &str) {
        let (left, top, width, height) = (self.left, self.top, self.width, self.height);
        let (right, bottom) = (left + width, top + height);
        let mut widest = 0;
        for (position, label) in self.x.ticks() {
            let x = left + position * width;
            line(page, [x, top], [x, bottom], GRID);
            line(page, [x, bottom], [x, bottom + 5.0], INK);
            text(page, [x, bottom + 21.0], "middle", 14, &label);
        }
        for (position, label) in self.y.ticks() {
            let y = bottom - position * height;
            line(page, [left, y], [right, y], GRID);
            line(page, [left - 5.0, y], [left, y], INK);
            text(page, [left - 9.0, y + 5.0], "end", 14, &label);
            widest = widest.max(label.chars().count());
        }
        put(
            page,
            format_args!(
                "<rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"{INK}\"/>"
            ),
        );
        text(page, [left + width / 2.0, bottom + 47.0], "middle", 15, &self.x.title(x_label));
        // Left of the widest tick label, 8 pixels a character.
        let (x, y) = (left - 24.0 - 8.0 * widest as f64, top + height / 2.0);
        let title = self.y.title(y_label);
        put(
            page,
            format_args!(
                "<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\" text-anchor=\"middle\" font-size=\"15\">{title}</text>"
            ),
        );
    }
}

/// Appends one element.
pub(super) fn put(page: &mut String, element: std::fmt::Arguments) {
    // Writing to a string cannot fail.
    let _ = writeln!(page, "{element}");
}

/// A horizontal text whose baseline begins, is centred or ends at a place.
pub(super) fn text(page: &mut String, [x, y]: [f64; 2], anchor: &str, size: u32, content: &str) {
    put(
        page,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{content}</text>"
        ),
    );
}

/// A straight line.
pub(super) fn line(page: &mut String, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], colour: &str) {
    put(
        page,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
        ),
    );
}
