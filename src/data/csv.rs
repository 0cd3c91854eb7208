//! Text: numbers between delimiters, one row per line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

use ::csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::ElementType;
use super::lines::{BYTE_ORDER_MARK, Lines};
use super::storage::{Storage, decode_error, excerpt, malformed, reserve};
use super::table::{Layout, ReadOptions, Table};
use crate::error::Result;

/// The first line is looked at within this many bytes.
const SNIFFED_BYTES: usize = 64 * 1024;

/// Reads a text file into memory.
pub(super) fn read(path: &Path, file: File, extension: &str, options: &ReadOptions) -> Result<Table> {
    let mut reader = BufReader::with_capacity(SNIFFED_BYTES, file);
    let delimiter = match options.delimiter {
        Some(delimiter) => delimiter,
        None if extension == "tsv" => b'\t',
        None => sniff(reader.fill_buf().map_err(|source| decode_error(path, "text", source))?),
    };
    let records = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        // Rows of unequal length are refused here, with their line.
        .flexible(true)
        // A carriage return before the line end is trimmed off with the blanks.
        .terminator(Terminator::Any(b'\n'))
        .from_reader(Lines::new(reader, delimiter));
    let text = Text { path, records, delimiter, options };
    if options.single_precision {
        let Numbers { values, rows, columns } = text.numbers::<f32>()?;
        let layout = Layout::row_major(ElementType::F32, 0, rows, columns);
        Table::new(path, Storage::F32(values), layout, &options.cancel)
    } else {
        let Numbers { values, rows, columns } = text.numbers::<f64>()?;
        let layout = Layout::row_major(ElementType::F64, 0, rows, columns);
        Table::new(path, Storage::F64(values), layout, &options.cancel)
    }
}

/// The delimiter of the first line that is neither blank nor a comment. A semicolon goes before a comma, which may be a
/// decimal sign next to it, and a comma before a space, which may be inside a name.
fn sniff(start: &[u8]) -> u8 {
    let start = start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start);
    let mut lines = start.split(|&byte| byte == b'\n' || byte == b'\r').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#")).unwrap_or_default();
    *b"\t;, ".iter().find(|delimiter| first.contains(delimiter)).unwrap_or(&b',')
}

/// The selected numbers of a file, row by row.
struct Numbers<T> {
    values: Vec<T>,
    rows: usize,
    columns: usize,
}

/// A text file being read.
struct Text<'a, R> {
    path: &'a Path,
    records: Reader<R>,
    delimiter: u8,
    options: &'a ReadOptions,
}

impl<R: Read> Text<'_, R> {
    fn numbers<T: FromStr>(mut self) -> Result<Numbers<T>> {
        let path = self.path;
        let mut numbers = Numbers { values: Vec::new(), rows: 0, columns: 0 };
        let mut record = ByteRecord::new();
        let mut first_count = None;
        while self.next(&mut record)? {
            let line = self.line();
            let fields = || {
                record
                    .iter()
                    .map(<[u8]>::trim_ascii)
                    .filter(|field| self.delimiter != b' ' || !field.is_empty())
            };
            let count = fields().count();
            let first = fields().next().unwrap_or_default();
            if count <= 1 && first.is_empty() {
                continue;
            }
            let is_first = first_count.is_none();
            let expected_count = *first_count.get_or_insert(count);
            if count != expected_count {
                let expected = format!("{expected_count} fields in every line");
                return Err(malformed(path, expected, format!("{count} fields in line {line}")));
            }
            let columns = self.options.columns.clone().unwrap_or(0..count);
            if columns.end > count {
                let rule = format!("a range within 0..{count}");
                return Err(crate::error::Error::parameter("columns", rule, format!("{columns:?}")));
            }
            let selected = || fields().skip(columns.start).take(columns.len());
            if is_first && self.is_header::<T>(selected(), line)? {
                continue;
            }
            reserve(&mut numbers.values, columns.len(), path)?;
            for (column, field) in selected().enumerate() {
                let Some(value) = number(field) else {
                    let text = excerpt(&String::from_utf8_lossy(&field[..field.len().min(40)]));
                    let got = format!("\"{text}\" in line {line}, column {}", columns.start + column + 1);
                    return Err(malformed(path, "a number", got));
                };
                numbers.values.push(value);
            }
            numbers.columns = columns.len();
            numbers.rows += 1;
        }
        Ok(numbers)
    }

    fn next(&mut self, record: &mut ByteRecord) -> Result<bool> {
        self.options.cancel.check()?;
        self.records.read_byte_record(record).map_err(|error| {
            let message = error.to_string();
            match error.into_kind() {
                ::csv::ErrorKind::Io(source) => decode_error(self.path, "lines of numbers", source),
                _ => malformed(self.path, "lines of numbers", message),
            }
        })
    }

    /// The last line of the record just read. (The record's own position lies before the blank lines that it follows.)
    fn line(&self) -> u64 {
        // The position is behind the line end, which `Lines` adds to a last line that lacks it.
        self.records.position().line().saturating_sub(1)
    }

    /// Whether the first record holds names. Dropping a record that also holds numbers could lose a row: it is refused.
    fn is_header<'f, T: FromStr>(&self, fields: impl Iterator<Item = &'f [u8]>, line: u64) -> Result<bool> {
        if let Some(header) = self.options.header {
            return Ok(header);
        }
        let (mut has_number, mut has_name) = (false, false);
        for field in fields.filter(|field| !field.is_empty()) {
            let is_number = number::<T>(field).is_some();
            has_number |= is_number;
            has_name |= !is_number;
        }
        if has_number && has_name {
            let got = format!("both in line {line}: say whether it is a header");
            return Err(malformed(self.path, "a first line of numbers or of names", got));
        }
        Ok(has_name)
    }
}

fn number<T: FromStr>(field: &[u8]) -> Option<T> {
    str::from_utf8(field).ok()?.parse().ok()
}
