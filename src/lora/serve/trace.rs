//! A list of requests in the order of arrival, made up or from a file.

use std::io::Write;
use std::path::Path;

use super::request::Request;
use crate::data::AtomicFile;
use crate::data::records::{Columns, read_records};
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
        let columns = Columns { names: &COLUMNS, optional: 1 };
        let requests = read_records(path.as_ref(), columns, |record| {
            let whole = |least: u32, most: u32| {
                move |text: &str| text.parse().ok().filter(|count| (least..=most).contains(count))
            };
            let seconds =
                |text: &str| text.parse().ok().filter(|seconds: &f64| *seconds >= 0.0 && seconds.is_finite());
            let last = MOST_ADAPTERS as u32 - 1;
            Ok(Request {
                id: 0,
                adapter: record.field(0, format!("a whole number from 0 to {last}"), whole(0, last))?,
                prompt_tokens: record.field(1, "a whole number of at least 1", whole(1, u32::MAX))?,
                decode_steps: record.field(2, "a whole number from 0 to 4294967295", whole(0, u32::MAX))?,
                arrival_seconds: record.field(3, "seconds, not negative", seconds)?,
                // Without a priority all are equal.
                priority: if record.has(4) {
                    record.field(4, "a whole number", |text| text.parse().ok())?
                } else {
                    0
                },
            })
        })?;
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
