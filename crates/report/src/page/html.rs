//! Pieces of the page. Everything that comes from a file is escaped here.

use crate::record::DeviceFacts;

const STYLE: &str = include_str!("page.css");

/// Text that means itself in HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A device in a few words, with the mark of a driver on the CPU. Not escaped.
pub(super) fn device(facts: &DeviceFacts) -> String {
    let mark = if facts.is_software { " (software)" } else { "" };
    format!("{}{mark}", facts.name)
}

/// The shortest name of a device. Not escaped.
pub(super) fn short_device(facts: &DeviceFacts) -> String {
    let mark = if facts.is_software { " (software)" } else { "" };
    format!("{}{mark}", facts.name.split(" (").next().unwrap_or_default())
}

/// A device with its driver. Not escaped.
pub(super) fn device_and_driver(facts: &DeviceFacts) -> String {
    if facts.driver.is_empty() {
        device(facts)
    } else {
        format!("{}, driver {}", device(facts), facts.driver)
    }
}

/// The document around head and body.
pub(super) fn page(head: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>tilefold benchmarks</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{head}\n{body}\n</main>\n\
         </body>\n</html>\n"
    )
}

/// A section with its heading and a sentence that says how to read it, which may hold markup.
pub(super) fn section(id: &str, title: &str, words: &str, content: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{title}</h2>\n<p class=\"lead\">{words}</p>\n{content}\n</section>")
}

/// A figure around a chart; title and caption are escaped.
pub(super) fn figure(id: &str, title: &str, chart: &str, caption: &str) -> String {
    format!(
        "<figure id=\"{id}\">\n<h3>{}</h3>\n<div class=\"scroll\">{chart}</div>\n<figcaption>{}</figcaption>\n</figure>",
        escape(title),
        escape(caption)
    )
}

/// A table: names of columns, and rows of cells that may hold markup. A name that begins with `#` is one of numbers.
pub(super) fn table(id: &str, columns: &[&str], rows: &[Vec<String>]) -> String {
    let class = |name: &str| if name.starts_with('#') { " class=\"number\"" } else { "" };
    let head: String = columns
        .iter()
        .map(|name| format!("<th scope=\"col\"{}>{}</th>", class(name), escape(name.trim_start_matches('#'))))
        .collect();
    let row = |cells: &Vec<String>| {
        let cells: String =
            cells.iter().zip(columns).map(|(cell, name)| format!("<td{}>{cell}</td>", class(name))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table id=\"{id}\">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>"
    )
}

/// Seconds in the unit that suits them.
pub(super) fn seconds(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (1e3 * s, "ms"),
        s => (1e6 * s, "µs"),
    };
    format!("{} {unit}", digits(value))
}

/// Seconds at a tick: without zeros that say nothing.
pub(super) fn seconds_tick(value: f64) -> String {
    let text = seconds(value);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') && !number.contains('e') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// Three digits that count.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 99.95 || v == 0.0 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}
