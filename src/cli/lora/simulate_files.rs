//! Files that `tilefold lora simulate` reads: traces and measured points.

use std::path::Path;

use tilefold_simulate::{MeasuredPoint, Request, Trace};

use crate::cancel::Cancel;
use crate::cli::failure::Failure;
use crate::data::records::{Columns, read_records};
use crate::measure::lora::MOST_ADAPTERS;

/// Reads a CSV file whose first line names the columns `adapter`, `prompt_tokens`, `decode_steps`, `arrival_seconds` and,
/// if wanted, `priority`, in any order. Lines that begin with `#` are comments.
pub(super) fn read_trace(path: &Path) -> Result<Trace, Failure> {
    let names = ["adapter", "prompt_tokens", "decode_steps", "arrival_seconds", "priority"];
    let requests = read_records(path, Columns { names: &names, optional: 1 }, &Cancel::new(), |record| {
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
    });
    Ok(Trace::new(requests.map_err(Failure::about("--trace"))?)?)
}

/// Reads points from a CSV file whose first line names the columns `rows`, `segments`, `total_rank_rows`, `total_rank` and
/// `seconds`, in any order. Lines that begin with `#` are comments.
pub(super) fn read_points(path: &Path) -> Result<Vec<MeasuredPoint>, Failure> {
    let names = ["rows", "segments", "total_rank_rows", "total_rank", "seconds"];
    let points = read_records(path, Columns { names: &names, optional: 0 }, &Cancel::new(), |record| {
        let count = |column: usize| record.field(column, "a whole number", |text| text.parse::<u64>().ok());
        let positive =
            |text: &str| text.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && seconds.is_finite());
        Ok(MeasuredPoint {
            rows: count(0)?,
            segments: count(1)?,
            total_rank_rows: count(2)?,
            total_rank: count(3)?,
            seconds: record.field(4, "a positive number", positive)?,
        })
    });
    points.map_err(Failure::about("--lora-cost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "adapter,prompt_tokens,decode_steps,arrival_seconds,priority\n";
    const POINTS: &str = "rows,segments,total_rank_rows,total_rank,seconds\n";

    /// What `read` makes of a file with these bytes.
    fn of_file<T>(read: fn(&Path) -> Result<T, Failure>, bytes: impl AsRef<[u8]>) -> Result<T, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.csv");
        std::fs::write(&path, bytes).unwrap();
        read(&path).map_err(|failure| failure.message)
    }

    #[test]
    fn a_trace_file_gives_back_the_trace() {
        let request = |adapter, arrival_seconds| {
            let (prompt_tokens, decode_steps) = (7 + adapter, 9 * adapter);
            Request { id: 0, adapter, prompt_tokens, decode_steps, arrival_seconds, priority: -3 }
        };
        let trace = Trace::new(vec![request(3, 0.1 + 0.2), request(0, 1e-300), request(1, 2e5)]).unwrap();
        assert_eq!(of_file(read_trace, trace.to_csv()).unwrap(), trace);
        let text = "# by \"hand\nprompt_tokens, arrival_seconds,adapter,decode_steps\n5,2.5,1,0\n\n# \"5,1\n  # \"\n6,0,0,3";
        let requests = of_file(read_trace, text).unwrap().requests().to_vec();
        assert_eq!((requests[0].prompt_tokens, requests[1].adapter, requests[1].id), (6, 1, 1));
    }

    #[test]
    fn a_damaged_trace_file_is_refused_with_line_and_column() {
        let lines = |text: &str| format!("{TRACE}{text}");
        let damages = [
            (String::new(), "an empty file"),
            ("adapter,prompt_tokens,decode_steps\n".to_owned(), "a column arrival_seconds"),
            ("adapter,adapter,prompt_tokens\n".to_owned(), "\"adapter\" in line 1, column 2"),
            ("adapter,colour\n".to_owned(), "\"colour\" in line 1, column 2"),
            (lines("0,5,5,0,0\nx,5,5,0,0\n"), "\"x\" in line 3, column adapter"),
            (lines("0,0,5,0,0\n"), "\"0\" in line 2, column prompt_tokens"),
            (lines("0,5,-1,0,0\n"), "column decode_steps"),
            (lines("0,5,5,nan,0\n"), "column arrival_seconds"),
            (lines("0,5,5,-1,0\n"), "column arrival_seconds"),
            (lines("0,5,5,0,high\n"), "column priority"),
            (lines("0,5,5\n"), "3 in line 2"),
            (lines("99999999,5,5,0,0\n"), "column adapter"),
        ];
        for (text, expected) in damages {
            let message = of_file(read_trace, text).unwrap_err();
            assert!(message.starts_with("--trace ") && message.contains(expected), "{message}");
            assert!(message.len() < 300, "{message}");
        }
        assert!(of_file(read_trace, [TRACE.as_bytes(), b"0,5,\xff\xfe,0,0\n"].concat()).is_err());
        assert!(read_trace(Path::new("no such file.csv")).is_err());
    }

    #[test]
    fn measured_points_are_read_or_refused_with_their_line() {
        let text = format!("{POINTS}64,8,1024,128,4e-5\n# a comment\n1,1,16,16,2e-5\n");
        let points = of_file(read_points, text).unwrap();
        assert_eq!((points.len(), points[0].total_rank, points[1].seconds), (2, 128, 2e-5));
        let text = "seconds,rows,segments,total_rank,total_rank_rows\n2e-5,1,1,16,48\n";
        let points = of_file(read_points, text).unwrap();
        assert_eq!((points[0].seconds, points[0].total_rank), (2e-5, 16));
        for (text, expected) in [
            ("rows,seconds\n".to_owned(), "expected a column segments, got none in line 1"),
            (format!("{POINTS}1,1,16,x,2e-5\n"), "column total_rank"),
            (format!("{POINTS}1,1,16,16,0\n"), "\"0\" in line 2, column seconds"),
            (format!("{POINTS}1,1,16\n"), "3 in line 2"),
        ] {
            let message = of_file(read_points, text).unwrap_err();
            assert!(message.starts_with("--lora-cost ") && message.contains(expected), "{message}");
        }
    }
}
