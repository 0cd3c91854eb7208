//! Arguments that several subcommands take.

use std::ops::Range;

use clap::{Args, ValueEnum};

pub(super) const EXIT_CODES: &str = "\
Data goes to stdout, everything else to stderr. Files appear when all is done, or not at all.

Exit codes:
  0    success (also when the reader of stdout closed it)
  1    a device or the file system failed while working
  2    bad input or usage
  130  interrupted by Ctrl-C";

/// How input files are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(super) struct Read {
    /// Columns to use, counted from 0: A..B is A to B-1.
    #[arg(long, value_name = "A..B", value_parser = column_range)]
    pub columns: Option<Range<usize>>,

    /// What separates the fields of a text file: one character, or tab [default: found in the first line].
    #[arg(long, value_name = "C", value_parser = delimiter)]
    pub delimiter: Option<u8>,

    /// Whether the first line of a text file holds names [default: if it holds no number].
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    pub header: Option<YesNo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum YesNo {
    Yes,
    No,
}

/// Where work runs and what is said.
#[derive(Debug, Args)]
#[command(next_help_heading = "Running")]
pub(super) struct Run {
    /// auto, cpu, cpu:THREADS, reference, gpu, or an adapter: index, vulkan:0, PCI bus id, part of its name.
    #[arg(long, value_name = "D", default_value = "auto")]
    pub device: String,

    /// Threads of the CPU path and of the host's part of GPU work [default: all].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub threads: Option<usize>,

    /// Largest window of rows that a GPU sees at once; K, M, G are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub window_bytes: Option<u64>,

    /// GPU memory to use at most; K, M, G are powers of 1024.
    #[arg(long, value_name = "BYTES", value_parser = size, allow_negative_numbers = true)]
    pub memory_budget: Option<u64>,

    /// Prints the result as JSON on stdout instead of a summary on stderr.
    #[arg(long)]
    pub json: bool,

    /// Prints no summary, progress or warnings.
    #[arg(long, short)]
    pub quiet: bool,
}

fn column_range(text: &str) -> Result<Range<usize>, String> {
    let bounds = text.split_once("..").and_then(|(a, b)| Some(a.parse().ok()?..b.parse().ok()?));
    bounds.ok_or_else(|| "expected A..B, such as 0..128".to_owned())
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        b"space" => Ok(b' '),
        [byte] => Ok(*byte),
        _ => Err("expected one ASCII character, tab or space".to_owned()),
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => (&text[..text.len() - 1], 10),
        Some(b'm') => (&text[..text.len() - 1], 20),
        Some(b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(1 << shift));
    bytes.filter(|&bytes| bytes > 0).ok_or_else(|| "expected a number of bytes such as 64M".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_or_refused() {
        assert_eq!(column_range("3..10"), Ok(3..10));
        assert!(["3", "..", "3..", "-1..3", "3-4", "a..b"].iter().all(|text| column_range(text).is_err()));
        assert_eq!((delimiter(";"), delimiter("tab"), delimiter("\\t")), (Ok(b';'), Ok(9), Ok(9)));
        assert!(["", ";;", "é"].iter().all(|text| delimiter(text).is_err()));
        assert_eq!((size("5"), size("2k"), size("1G")), (Ok(5), Ok(2048), Ok(1 << 30)));
        assert!(["", "0", "-1", "k", "1T", "99999999999G"].iter().all(|text| size(text).is_err()));
    }
}
