//! The file of `--routes`: which adapters each row goes through, one route per line.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use crate::data::storage::excerpt_of;
use crate::error::{Error, Result};
use crate::lora::Routes;

/// The columns; the last may be missing.
const COLUMNS: [&str; 3] = ["row", "adapter", "scale"];

/// The routes of a file, rows in order and those of a row in the order of their lines.
#[derive(Debug)]
pub(super) struct Listed {
    routes: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    row: usize,
    slot: u32,
    scale: f32,
}

impl Listed {
    /// Reads a CSV file with the columns row, adapter and, if wanted, scale, in any order. `names` are those of the
    /// adapters: a field names one by its position or by its name.
    pub fn read(path: &Path, names: &[String], rows: usize) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::File {
            path: path.into(),
            action: "opening",
            source,
        })?;
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .comment(Some(b'#'))
            .trim(Trim::All)
            .from_reader(file);
        let mut record = StringRecord::new();
        let mut header: Option<Header> = None;
        let mut routes = Vec::new();
        while reader.read_record(&mut record).map_err(|error| unreadable(path, error))? {
            let line =
                Line { path, record: &record, line: record.position().map_or(0, ::csv::Position::line) };
            match &header {
                None => header = Some(Header::new(&line)?),
                Some(header) => routes.push(header.route(&line, names, rows)?),
            }
        }
        if header.is_none() {
            return Err(malformed(path, "a first line row,adapter,scale", "an empty file"));
        }
        // The sort is stable: lines of one row keep their order.
        routes.sort_by_key(|route| route.row);
        Ok(Self { routes })
    }

    /// Number of lines.
    pub fn count(&self) -> usize {
        self.routes.len()
    }

    /// Rows that go through an adapter for which `counts` holds.
    pub fn rows_with(&self, counts: impl Fn(usize) -> bool) -> usize {
        let rows = self.routes.chunk_by(|a, b| a.row == b.row);
        rows.filter(|routes| routes.iter().any(|route| counts(route.slot as usize))).count()
    }

    /// The routes of rows `rows`; `slots` says which slot stands for an adapter, none for those that have no update.
    pub fn of_rows(&self, rows: Range<usize>, slots: &[Option<u32>]) -> Result<Routes> {
        let mut routes = Routes::new();
        let mut at = self.routes.partition_point(|route| route.row < rows.start);
        let mut row_routes = Vec::new();
        for row in rows {
            row_routes.clear();
            while let Some(route) = self.routes.get(at).filter(|route| route.row == row) {
                row_routes.extend(slots[route.slot as usize].map(|slot| (slot, route.scale)));
                at += 1;
            }
            routes.push_scaled(&row_routes)?;
        }
        Ok(routes)
    }
}

fn malformed(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::Format { path: path.into(), expected: expected.into(), got: got.into() }
}

fn unreadable(path: &Path, error: ::csv::Error) -> Error {
    let message = error.to_string();
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => Error::File { path: path.into(), action: "reading", source },
        _ => malformed(path, "lines of text in UTF-8", excerpt_of(&message, 120)),
    }
}

/// One line of the file.
struct Line<'a> {
    path: &'a Path,
    record: &'a StringRecord,
    line: u64,
}

impl Line<'_> {
    /// The field of column `column`, which lies in `place`, or why it is none.
    fn field<T>(
        &self,
        column: usize,
        place: usize,
        expected: impl Into<String>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.record.get(place).unwrap_or_default();
        parse(text).ok_or_else(|| {
            let got =
                format!("\"{}\" in line {}, column {}", excerpt_of(text, 40), self.line, COLUMNS[column]);
            malformed(self.path, expected, got)
        })
    }
}

/// Where each of [`COLUMNS`] lies.
struct Header {
    row: usize,
    adapter: usize,
    scale: Option<usize>,
    count: usize,
}

impl Header {
    fn new(line: &Line) -> Result<Self> {
        let mut places = [None; COLUMNS.len()];
        for (place, name) in line.record.iter().enumerate() {
            let column = COLUMNS.iter().position(|column| *column == name);
            let is_new = column.is_some_and(|column| places[column].replace(place).is_none());
            if !is_new {
                let name = excerpt_of(name, 40);
                let got = format!("\"{name}\" in line {}, column {}", line.line, place + 1);
                return Err(malformed(line.path, "a header of row, adapter and, if wanted, scale", got));
            }
        }
        let needed = |column: usize| {
            let got = || format!("none in line {}", line.line);
            places[column].ok_or_else(|| malformed(line.path, format!("a column {}", COLUMNS[column]), got()))
        };
        Ok(Self { row: needed(0)?, adapter: needed(1)?, scale: places[2], count: line.record.len() })
    }

    fn route(&self, line: &Line, names: &[String], rows: usize) -> Result<Entry> {
        if line.record.len() != self.count {
            let got = format!("{} in line {}", line.record.len(), line.line);
            return Err(malformed(line.path, format!("{} fields", self.count), got));
        }
        // A table has at least one row.
        let expected = format!("a row of x, 0 to {}", rows - 1);
        let row = line.field(0, self.row, expected, |text| text.parse().ok().filter(|&row| row < rows))?;
        let expected = format!("one adapter: 0 to {} or the last part of its path", names.len() - 1);
        let slot = line.field(1, self.adapter, expected, |text| slot(text, names))?;
        let number = |text: &str| text.parse().ok().filter(|scale: &f32| scale.is_finite());
        let scale = match self.scale {
            Some(place) => line.field(2, place, "a finite number", number)?,
            None => 1.0,
        };
        Ok(Entry { row, slot, scale })
    }
}

/// The one adapter that `text` names by position or by name. A text that could mean two names none.
fn slot(text: &str, names: &[String]) -> Option<u32> {
    let position = text.parse().ok().filter(|&position: &usize| position < names.len());
    let mut named = (0..names.len()).filter(|&slot| names[slot] == text);
    let first = position.or_else(|| named.next())?;
    let is_alone = named.all(|slot| slot == first);
    u32::try_from(first).ok().filter(|_| is_alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str, rows: usize) -> Result<Listed> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("routes.csv");
        std::fs::write(&path, text).unwrap();
        Listed::read(&path, &["en".into(), "de".into(), "de".into(), "0".into()], rows)
    }

    #[test]
    fn lines_of_a_row_keep_their_order() {
        let listed = listed("scale,adapter,row\n2,1,3\n# none\n0.5, en ,0\n-1,2,3\n", 5).unwrap();
        let slots = [Some(0), Some(1), None, None];
        let routes = listed.of_rows(0..5, &slots).unwrap();
        let of_row = |routes: &Routes, row| -> Vec<(u32, f32)> {
            routes.of_row(row).iter().map(|route| (route.slot, route.scale)).collect()
        };
        assert_eq!((routes.rows(), listed.count()), (5, 3));
        assert_eq!([of_row(&routes, 0), of_row(&routes, 1)], [vec![(0, 0.5)], vec![]]);
        assert_eq!(of_row(&routes, 3), [(1, 2.0)]);
        let all = listed.of_rows(3..4, &[Some(7), Some(8), Some(9), None]).unwrap();
        assert_eq!(of_row(&all, 0), [(8, 2.0), (9, -1.0)]);
        assert_eq!((listed.rows_with(|_| true), listed.rows_with(|slot| slot == 2)), (2, 1));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, words) in [
            ("", "an empty file"),
            ("row\n", "a column adapter"),
            ("row,adapter,weight\n", "\"weight\" in line 1, column 3"),
            ("row,row,adapter\n", "\"row\" in line 1, column 2"),
            ("row,adapter\n0,1,2\n", "expected 2 fields, got 3 in line 2"),
            ("row,adapter\n0,1\n5,1\n", "0 to 4, got \"5\" in line 3, column row"),
            ("row,adapter\n-1,1\n", "\"-1\" in line 2, column row"),
            (
                "row,adapter\n0,4\n",
                "0 to 3 or the last part of its path, got \"4\" in line 2, column adapter",
            ),
            ("row,adapter\n0,fr\n", "\"fr\" in line 2, column adapter"),
            ("row,adapter\n0,de\n", "\"de\" in line 2, column adapter"),
            ("row,adapter\n0,0\n", "\"0\" in line 2, column adapter"),
            ("row,adapter\n0,\n", "\"\" in line 2, column adapter"),
            ("row,adapter,scale\n0,1,\n", "a finite number, got \"\" in line 2, column scale"),
            ("row,adapter,scale\n0,1,nan\n", "\"nan\" in line 2, column scale"),
            ("row,adapter,scale\n0,1,1e39\n", "\"1e39\" in line 2, column scale"),
        ] {
            let message = listed(text, 5).unwrap_err().to_string();
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }
}
