//! Small CSV files whose first line names their columns, in any order. Comments are what `lines.rs` says.

use std::path::Path;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use super::lines::Lines;
use super::storage::{decode_error, excerpt_of, reserve};
use super::whole::Whole;
use crate::cancel::Cancel;
use crate::error::{Error, Result};

/// Largest file that is read: ten million lines and more.
const MOST_BYTES: u64 = 1 << 30;

/// The columns of a file: the last `optional` of them may be missing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns<'c> {
    /// Their names.
    pub names: &'c [&'c str],
    /// How many of the last may be missing.
    pub optional: usize,
}

/// One line of a file.
pub(crate) struct Record<'a> {
    path: &'a Path,
    columns: Columns<'a>,
    places: &'a [Option<usize>],
    fields: &'a StringRecord,
    line: u64,
}

impl Record<'_> {
    /// Whether the file has column `column`.
    pub(crate) fn has(&self, column: usize) -> bool {
        self.places[column].is_some()
    }

    /// The field of column `column` as `parse` reads it, or else what was expected.
    pub(crate) fn field<T>(
        &self,
        column: usize,
        expected: impl Into<String>,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.places[column].and_then(|place| self.fields.get(place)).unwrap_or_default();
        parse(text).ok_or_else(|| {
            let name = self.columns.names[column];
            let got = format!("\"{}\" in line {}, column {name}", excerpt_of(text, 40), self.line);
            malformed(self.path, expected, got)
        })
    }
}

/// Reads all lines of `path` but the first with `each`, unless `cancel` is set meanwhile.
///
/// # Errors
/// [`Error::File`] where it cannot be read; [`Error::Format`] with line and column for a missing, unknown or repeated
/// column and a line of another length; those of `each`.
pub(crate) fn read_records<T>(
    path: &Path,
    columns: Columns<'_>,
    cancel: &Cancel,
    mut each: impl FnMut(&Record<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    // Not only regular files: a list may come from a pipe.
    let bytes = Whole { what: "a list", mark: b"", most_bytes: MOST_BYTES }.read(path, cancel)?;
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(Lines::new(bytes.as_slice(), b','));
    let mut fields = StringRecord::new();
    let mut header: Option<(Vec<Option<usize>>, usize)> = None;
    let mut all = Vec::new();
    while reader.read_record(&mut fields).map_err(|error| unreadable(path, error))? {
        cancel.check()?;
        if fields.len() == 1 && fields[0].is_empty() {
            continue;
        }
        // The position is behind the line end, which `Lines` adds to a last line that lacks it.
        let line = reader.position().line().saturating_sub(1);
        match &header {
            None => header = Some((places(path, columns, &fields, line)?, fields.len())),
            Some((_, count)) if *count != fields.len() => {
                let got = format!("{} in line {line}", fields.len());
                return Err(malformed(path, format!("{count} fields"), got));
            }
            Some((places, _)) => {
                let one = each(&Record { path, columns, places, fields: &fields, line })?;
                reserve(&mut all, 1, path)?;
                all.push(one);
            }
        }
    }
    if header.is_none() {
        return Err(malformed(path, format!("a first line {}", columns.names.join(",")), "an empty file"));
    }
    Ok(all)
}

/// Where each column lies.
fn places(path: &Path, columns: Columns<'_>, fields: &StringRecord, line: u64) -> Result<Vec<Option<usize>>> {
    let mut places = vec![None; columns.names.len()];
    for (place, name) in fields.iter().enumerate() {
        let column = columns.names.iter().position(|column| *column == name);
        let is_new = column.is_some_and(|column| places[column].replace(place).is_none());
        if !is_new {
            let got = format!("\"{}\" in line {line}, column {}", excerpt_of(name, 40), place + 1);
            return Err(malformed(path, format!("each of {} once", columns.names.join(", ")), got));
        }
    }
    let needed = columns.names.len() - columns.optional;
    match places[..needed].iter().position(Option::is_none) {
        None => Ok(places),
        Some(missing) => {
            let expected = format!("a column {}", columns.names[missing]);
            Err(malformed(path, expected, format!("none in line {line}")))
        }
    }
}

fn malformed(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::Format { path: path.into(), expected: expected.into(), got: got.into() }
}

fn unreadable(path: &Path, error: ::csv::Error) -> Error {
    let message = error.to_string();
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => decode_error(path, "lines of text", source),
        _ => malformed(path, "lines of text in UTF-8", excerpt_of(&message, 120)),
    }
}
