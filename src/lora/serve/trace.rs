//! A list of requests in the order of arrival, made up or from a file.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use ::csv::{ReaderBuilder, StringRecord, Trim};

use super::request::Request;
use crate::data::AtomicFile;
use crate::error::{Error, Result};

/// Adapters of a trace at most: tables of adapters are as long.
pub(super) const MOST_ADAPTERS: usize = 1 << 20;

/// Columns of a trace file.
const COLUMNS: [&str; 5] = ["adapter", "prompt_tokens", "decode_steps", "arrival_seconds", "priority"];

/// Requests in the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    requests: Vec<Request>,
}

impl Trace {
    /// Sorts the requests by arrival, equal ones in the given order, and numbers them.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a prompt without tokens, or an arrival that is negative or not finite.
    pub fn new(mut requests: Vec<Request>) -> Result<Self> {
        for (position, request) in requests.iter().enumerate() {
            let place = |rule: &str| format!("{rule} (request {position})");
            if request.prompt_tokens == 0 {
                return Err(Error::parameter("prompt_tokens", place("at least 1"), 0));
            }
            if !(request.arrival_seconds >= 0.0 && request.arrival_seconds.is_finite()) {
                let rule = place("a finite number that is not negative");
                return Err(Error::parameter("arrival_seconds", rule, request.arrival_seconds));
            }
        }
        requests.sort_by(|a, b| a.arrival_seconds.total_cmp(&b.arrival_seconds));
        requests.iter_mut().enumerate().for_each(|(id, request)| request.id = id);
        Ok(Self { requests })
    }

    /// The requests; the `id` of each is its place.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// One more than the largest adapter, 0 without requests.
    pub fn adapters(&self) -> usize {
        self.requests.iter().map(|request| request.adapter as usize + 1).max().unwrap_or(0)
    }

    /// Tokens that all requests give.
    pub fn output_tokens(&self) -> u64 {
        self.requests.iter().map(Request::output_tokens).sum()
    }

    /// Reads a CSV file whose first line names the columns `adapter`, `prompt_tokens`, `decode_steps`,
    /// `arrival_seconds` and, if wanted, `priority`, in any order. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read; [`Error::Format`] with line and column for a missing, unknown or repeated
    /// column, a line of another length, or a field that is no number of its kind.
    pub fn read_csv(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
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
        let mut requests = Vec::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(unreadable(path, error)),
            }
            let line = record.position().map_or(0, ::csv::Position::line);
            let row = Line { path, record: &record, line };
            match &header {
                None => header = Some(Header::new(&row)?),
                Some(header) => requests.push(header.request(&row)?),
            }
        }
        if header.is_none() {
            return Err(malformed(path, format!("a first line {}", COLUMNS.join(",")), "an empty file"));
        }
        Self::new(requests)
    }

    /// Writes the trace so that [`read_csv`](Self::read_csv) gives the same.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Format`] if the file cannot be written.
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = AtomicFile::create(&path)?;
        let mut write = || {
            writeln!(file, "{}", COLUMNS.join(","))?;
            for request in &self.requests {
                let Request { adapter, prompt_tokens, decode_steps, arrival_seconds, priority, .. } = request;
                writeln!(file, "{adapter},{prompt_tokens},{decode_steps},{arrival_seconds:?},{priority}")?;
            }
            Ok(())
        };
        let path = path.as_ref().to_owned();
        write().map_err(|source| Error::File { path, action: "writing", source })?;
        file.commit()
    }
}

fn malformed(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::Format { path: path.into(), expected: expected.into(), got: got.into() }
}

fn unreadable(path: &Path, error: ::csv::Error) -> Error {
    let message = error.to_string();
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => Error::File { path: path.into(), action: "reading", source },
        _ => malformed(path, "lines of text in UTF-8", message),
    }
}

/// One line of the file.
struct Line<'a> {
    path: &'a Path,
    record: &'a StringRecord,
    line: u64,
}

impl Line<'_> {
    /// The field in this place, read as `T`.
    fn field<T: FromStr>(
        &self,
        place: usize,
        column: &str,
        expected: &str,
        is_good: fn(&T) -> bool,
    ) -> Result<T> {
        let text = self.record.get(place).unwrap_or_default();
        text.parse().ok().filter(is_good).ok_or_else(|| {
            let short: String = text.chars().take(40).flat_map(char::escape_default).collect();
            let got = format!("\"{short}\" in line {}, column {column}", self.line);
            malformed(self.path, expected, got)
        })
    }
}

/// Where each of [`COLUMNS`] lies.
struct Header {
    places: [Option<usize>; COLUMNS.len()],
    count: usize,
}

impl Header {
    fn new(row: &Line) -> Result<Self> {
        let mut places = [None; COLUMNS.len()];
        for (place, name) in row.record.iter().enumerate() {
            let column = COLUMNS.iter().position(|column| *column == name);
            let is_new = column.is_some_and(|column| places[column].replace(place).is_none());
            if !is_new {
                let short: String = name.chars().take(40).flat_map(char::escape_default).collect();
                let got = format!("\"{short}\" in line {}, column {}", row.line, place + 1);
                return Err(malformed(row.path, format!("each of {} once", COLUMNS.join(", ")), got));
            }
        }
        // Without a priority all are equal.
        if let Some(missing) = places[..COLUMNS.len() - 1].iter().position(Option::is_none) {
            let got = format!("none in line {}", row.line);
            return Err(malformed(row.path, format!("a column {}", COLUMNS[missing]), got));
        }
        Ok(Self { places, count: row.record.len() })
    }

    fn request(&self, row: &Line) -> Result<Request> {
        if row.record.len() != self.count {
            let got = format!("{} in line {}", row.record.len(), row.line);
            return Err(malformed(row.path, format!("{} fields", self.count), got));
        }
        // Only the priority may be missing.
        let place = |column: usize| self.places[column].unwrap_or(usize::MAX);
        let priority = match self.places[4] {
            Some(place) => row.field(place, COLUMNS[4], "a whole number", |_| true)?,
            None => 0,
        };
        let whole = "a whole number from 0 to 4294967295";
        Ok(Request {
            id: 0,
            adapter: row.field(
                place(0),
                COLUMNS[0],
                "a whole number from 0 to 1048575",
                |&index: &u32| (index as usize) < MOST_ADAPTERS,
            )?,
            prompt_tokens: row
                .field(place(1), COLUMNS[1], "a whole number of at least 1", |&count| count > 0)?,
            decode_steps: row.field(place(2), COLUMNS[2], whole, |_| true)?,
            arrival_seconds: row.field(place(3), COLUMNS[3], "seconds, not negative", |&seconds: &f64| {
                seconds >= 0.0 && seconds.is_finite()
            })?,
            priority,
        })
    }
}
