//! One HTML page without network from records.

mod accuracy;
mod html;
mod overview;
mod peers;
mod pruning;
mod results;
mod roofline;
mod scale;
mod scaling;
mod stages;
mod svg;
mod tuning;

use serde_json::Value;

use crate::record::Record;
use results::Results;

/// The page of an array of at least one record, as `tilefold bench`, `tune`, `verify` and `scripts/peers` write them.
///
/// # Errors
/// Says what is no record, or that there is none.
pub fn page(records: Value) -> serde_json::Result<String> {
    let records: Vec<Record> = serde_json::from_value(records)?;
    if records.is_empty() {
        return Err(serde::de::Error::invalid_length(0, &"at least one record"));
    }
    let results = Results::new(&records);
    let sections = [
        overview::machine(&results),
        peers::section(&results),
        roofline::section(&results),
        scaling::section(&results),
        stages::section(&results),
        accuracy::section(&results),
        pruning::section(&results),
        tuning::section(&results),
    ];
    let body: Vec<String> = sections.into_iter().flatten().collect();
    Ok(html::page(&overview::head(&results), &body.join("\n")))
}
