//! The lines of a text, as its readers want them: without comments, ended, and within limits.
//!
//! A line is a comment where its first byte that is not blank is `#`, whatever else it holds, a quote included. What
//! stands between quotes is no line: a `#` there is text, and so is one behind a field. Comments become empty lines, so
//! that lines keep their numbers.

use std::io::{self, Read};

/// The longest number is far shorter; a longer field means that the delimiter is wrong or the file is no text.
const LONGEST_FIELD: usize = 4096;
/// What may stand between two quotes: names and notes in columns that are not read.
const LONGEST_QUOTE: usize = 1 << 20;
const MOST_FIELDS: usize = 1_000_000;
/// Readers hold a line whole: numbers of a million columns take half of it.
const LONGEST_LINE: usize = 64 << 20;
/// What editors put before a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where in a line a byte stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Before the first byte of a line that is not blank.
    Start,
    /// In a comment.
    Comment,
    /// Before the first byte of another field.
    Before,
    /// In a field.
    Field,
    /// Between quotes.
    Quoted,
    /// Behind a quote that ends the field, or is the first of two that stand for one.
    Quote,
}

/// A text without its comments.
pub(super) struct Lines<R> {
    inner: R,
    delimiter: u8,
    place: Place,
    field_bytes: usize,
    line_fields: usize,
    /// Of the line's fields that have ended.
    line_bytes: usize,
    /// Bytes of a byte order mark so far; all of them once there is none to come.
    mark_bytes: usize,
    /// The line that is being read, from 1, and the one where the last quote opened.
    line: u64,
    quote_line: u64,
    is_line_open: bool,
}

impl<R: Read> Lines<R> {
    /// The lines of `inner`, whose fields end at `delimiter`.
    pub(super) fn new(inner: R, delimiter: u8) -> Self {
        Self {
            inner,
            delimiter,
            place: Place::Start,
            field_bytes: 0,
            line_fields: 0,
            line_bytes: 0,
            mark_bytes: 0,
            line: 1,
            quote_line: 0,
            is_line_open: false,
        }
    }

    /// Goes over one byte: whether it is kept.
    #[inline]
    fn step(&mut self, byte: u8) -> bool {
        let is_end = byte == b'\n' || byte == b'\r';
        self.line += u64::from(byte == b'\n');
        self.field_bytes += 1;
        if let Some(&mark) = BYTE_ORDER_MARK.get(self.mark_bytes) {
            if byte == mark {
                self.mark_bytes += 1;
                self.field_bytes *= usize::from(self.mark_bytes < BYTE_ORDER_MARK.len());
                return true;
            }
            if self.mark_bytes > 0 {
                self.place = Place::Field;
            }
            self.mark_bytes = BYTE_ORDER_MARK.len();
        }
        if self.place == Place::Quoted {
            if byte == b'"' {
                self.place = Place::Quote;
            }
            return true;
        }
        if is_end {
            (self.field_bytes, self.line_fields, self.line_bytes) = (0, 0, 0);
            self.place = Place::Start;
            return true;
        }
        if self.place == Place::Comment {
            return false;
        }
        if byte == self.delimiter {
            self.line_bytes += self.field_bytes;
            self.field_bytes = 0;
            self.line_fields += 1;
            // A space that separates is blank at the start of a line.
            if byte != b' ' || self.place != Place::Start {
                self.place = Place::Before;
            }
            return true;
        }
        self.place = match (self.place, byte) {
            (Place::Start, b'#') => Place::Comment,
            (Place::Start, byte) if byte.is_ascii_whitespace() => Place::Start,
            (Place::Start | Place::Before, b'"') if self.field_bytes == 1 => self.open_quote(),
            (Place::Quote, b'"') => Place::Quoted,
            _ => Place::Field,
        };
        self.place != Place::Comment
    }

    fn open_quote(&mut self) -> Place {
        self.quote_line = self.line;
        Place::Quoted
    }

    /// Why the text cannot be read on.
    #[inline]
    fn check(&self) -> io::Result<()> {
        let is_long = self.line_fields > MOST_FIELDS || self.line_bytes > LONGEST_LINE;
        if self.field_bytes <= LONGEST_FIELD && !is_long {
            return Ok(());
        }
        let reason = match self.place {
            _ if self.line_bytes > LONGEST_LINE => format!("a line above {LONGEST_LINE} bytes"),
            Place::Quoted | Place::Quote if self.field_bytes <= LONGEST_QUOTE => return Ok(()),
            Place::Quoted | Place::Quote => {
                format!(
                    "a quote in line {} that does not close within {LONGEST_QUOTE} bytes",
                    self.quote_line
                )
            }
            _ => format!("a field above {LONGEST_FIELD} bytes or a line above {MOST_FIELDS} fields"),
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    /// What stands at the end of the text: a line end that it lacks.
    fn end(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.place == Place::Quoted {
            let reason = format!("a quote in line {} that never closes", self.quote_line);
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let Some(byte) = buffer.first_mut().filter(|_| self.is_line_open) else { return Ok(0) };
        self.is_line_open = false;
        *byte = b'\n';
        Ok(1)
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.inner.read(buffer)?;
            if count == 0 {
                return self.end(buffer);
            }
            self.is_line_open = buffer[count - 1] != b'\n';
            let mut kept = 0;
            for at in 0..count {
                let byte = buffer[at];
                if self.step(byte) {
                    self.check()?;
                    buffer[kept] = byte;
                    kept += 1;
                }
            }
            // A stretch of comment alone is not the end of the text.
            if kept > 0 {
                return Ok(kept);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, delimiter: u8, at_once: usize) -> io::Result<String> {
        /// Gives few bytes at once, as pipes do.
        struct Few<'t>(&'t [u8], usize);
        impl Read for Few<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let count = self.1.min(buffer.len());
                self.0.read(&mut buffer[..count])
            }
        }
        let mut all = String::new();
        Lines::new(Few(text.as_bytes(), at_once), delimiter).read_to_string(&mut all)?;
        Ok(all)
    }

    #[test]
    fn comments_become_empty_lines() {
        for (text, expected) in [
            ("# a \"b\n1,2\n", "\n1,2\n"),
            ("1,2\n  # \"\"\"\n3,4", "1,2\n  \n3,4\n"),
            ("#", "\n"),
            ("# a\r\n1,2\r\n#\r\n", "\r\n1,2\r\n\r\n"),
            ("#a\r1,2\r#\"\r3,4", "\r1,2\r\r3,4\n"),
            ("\u{feff}# \"\n1,2\n", "\u{feff}\n1,2\n"),
            ("\u{feff}\"a\n# b\",1\n", "\u{feff}\"a\n# b\",1\n"),
            ("\"a\n# b\",1\n# \"\n", "\"a\n# b\",1\n\n"),
            ("\"a\"\"\n# b\",1\n", "\"a\"\"\n# b\",1\n"),
            ("\"# a\",1\n", "\"# a\",1\n"),
            ("a\"b,#c\n#d\n", "a\"b,#c\n\n"),
            ("1,2 # \"\n", "1,2 # \"\n"),
            ("1,#\n", "1,#\n"),
        ] {
            for at_once in 1..6 {
                assert_eq!(lines(text, b',', at_once).unwrap(), expected, "{text:?} {at_once}");
            }
        }
        assert_eq!(lines("1 2\n  # \"x\n3 4\n", b' ', 3).unwrap(), "1 2\n  \n3 4\n");
        // A tab that separates ends an empty field.
        assert_eq!(lines("\t# x\n", b'\t', 3).unwrap(), "\t# x\n");
        let long = format!("#{}\n1\n", "\",x".repeat(100_000));
        assert_eq!(lines(&long, b',', 5000).unwrap(), "\n1\n");
    }

    #[test]
    fn a_quote_that_never_closes_is_named_by_its_line() {
        for (text, line) in
            [("1,2\n\"3,4\n5,6\n", 2), ("\"", 1), ("# \"\n1,\"\"\"", 2), ("\"a\n\n\",1\n\n\"", 5)]
        {
            let message = lines(text, b',', 3).unwrap_err().to_string();
            assert_eq!(message, format!("a quote in line {line} that never closes"), "{text:?}");
        }
        let endless = format!("1\n\"{}", "2,\n".repeat(LONGEST_QUOTE));
        let message = lines(&endless, b',', 8192).unwrap_err().to_string();
        assert!(message.starts_with("a quote in line 2 that does not close within"), "{message}");
        // Each field is short enough, and there are not too many.
        let mut wide = Lines { line_bytes: LONGEST_LINE - 1, ..Lines::new(&b"1,2\n1,2\n"[..], b',') };
        let message = wide.read_to_string(&mut String::new()).unwrap_err().to_string();
        assert_eq!(message, format!("a line above {LONGEST_LINE} bytes"));
        // Quotes may hold more than a number does.
        let note = format!("\"{}\",1\n", "a,b".repeat(LONGEST_FIELD));
        assert_eq!(lines(&note, b',', 8192).unwrap(), note);
    }
}
