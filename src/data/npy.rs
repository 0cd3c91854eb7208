//! NumPy's `.npy`: a header that is a Python dictionary, then the elements.
//!
//! The header is read by a parser of ours: it has no recursion, and what it claims is compared with the file's length
//! before anything is allocated. Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::path::Path;

use super::ElementType;
use super::storage::{AlignedBytes, PIECE_BYTES, Storage, malformed};
use super::table::{Layout, Opened, Table};
use crate::cancel::Cancel;
use crate::error::Result;

/// The first bytes of every `.npy` file.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses headers above 10,000 bytes unless told otherwise; ours describe two dimensions at most.
const LONGEST_HEADER: usize = 64 * 1024;
/// The data begins at a multiple of this, so that it is aligned in a map.
const ALIGNMENT: usize = 64;

/// What the header says.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// An element type and whether the file's byte order is not the host's.
struct Descr {
    element: ElementType,
    reversed: bool,
    is_bool: bool,
}

/// The header of a file that holds `shape` elements of type `descr`, row by row; the data follows at once.
pub(super) fn header_bytes(descr: &str, shape: &[usize]) -> Vec<u8> {
    let lengths: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let text =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", lengths.join(", "));
    let prefix_bytes = MAGIC.len() + 4;
    let total_bytes = (prefix_bytes + text.len() + 1).next_multiple_of(ALIGNMENT);
    let header_length = u16::try_from(total_bytes - prefix_bytes).expect("two lengths take less than 64 KiB");
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    bytes.extend(header_length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(total_bytes - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// A table over the bytes of an `.npy` file of one or two dimensions.
pub(super) fn read(path: &Path, storage: Storage, cancel: &Cancel) -> Result<Opened> {
    let bytes = storage.bytes();
    let (text, start) = header_text(bytes).map_err(|(expected, got)| malformed(path, expected, got))?;
    let header = parse_header(text).map_err(|got| malformed(path, "a .npy header", got))?;
    let descr = parse_descr(&header.descr).map_err(|got| malformed(path, "numbers of 1 to 8 bytes", got))?;
    let (rows, columns) = match header.shape[..] {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        _ => {
            let got = format!("shape {:?}", header.shape);
            return Err(malformed(path, "an array of 2 dimensions", got));
        }
    };
    let held = bytes.len() - start;
    let claimed = rows.checked_mul(columns).and_then(|count| count.checked_mul(descr.element.size_bytes()));
    if claimed != Some(held) {
        let expected =
            format!("{} bytes of data", claimed.map_or("2^64 or more".into(), |claim| claim.to_string()));
        return Err(malformed(path, expected, format!("{held} bytes after the header")));
    }
    let (storage, start) =
        if descr.is_bool { truths(path, storage, start, cancel)? } else { (storage, start) };
    let mut layout = Layout::row_major(descr.element, start, rows, columns);
    layout.reversed = descr.reversed;
    if header.fortran_order {
        (layout.row_stride, layout.column_stride) = (1, rows);
    }
    let table = Table::new(path, storage, layout, cancel)?;
    Ok(Opened { table, is_vector: header.shape.len() == 1 })
}

/// Bytes from `start` on as 0 and 1, and where they begin: whatever is not 0 is true, as in NumPy.
fn truths(path: &Path, storage: Storage, start: usize, cancel: &Cancel) -> Result<(Storage, usize)> {
    let bytes = &storage.bytes()[start..];
    let mut are_plain = true;
    for piece in bytes.chunks(PIECE_BYTES) {
        cancel.check()?;
        are_plain &= piece.iter().all(|&byte| byte <= 1);
    }
    if are_plain {
        return Ok((storage, start));
    }
    let mut copy = AlignedBytes::copy_of(bytes, 1, false, path, cancel)?;
    for piece in copy.bytes_mut().chunks_mut(PIECE_BYTES) {
        cancel.check()?;
        piece.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
    }
    Ok((Storage::Memory(copy), 0))
}

/// The header's text and the byte where the data begins; otherwise what was expected and what came.
fn header_text(bytes: &[u8]) -> std::result::Result<(&[u8], usize), (String, String)> {
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err((".npy magic bytes".into(), "another kind of file".into()));
    };
    let truncated = || ("a complete .npy header".to_string(), "a truncated file".to_string());
    let (length, prefix_bytes) = match *rest {
        [1, 0, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), MAGIC.len() + 4),
        [2 | 3, 0, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, MAGIC.len() + 6),
        [1..=3, 0, ..] | [] | [_] => return Err(truncated()),
        [major, minor, ..] => {
            return Err((".npy version 1.0, 2.0 or 3.0".into(), format!("{major}.{minor}")));
        }
    };
    if length > LONGEST_HEADER {
        return Err((format!("a header of at most {LONGEST_HEADER} bytes"), format!("{length}")));
    }
    let text = bytes[prefix_bytes..].get(..length).ok_or_else(truncated)?;
    Ok((text, prefix_bytes + length))
}

fn parse_descr(descr: &str) -> std::result::Result<Descr, String> {
    let mut characters = descr.chars();
    let order = characters.next();
    let kind = characters.as_str();
    if kind.starts_with('O') {
        return Err("objects (a pickle), which are never loaded".into());
    }
    let element = match kind {
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        "u1" | "b1" => ElementType::U8,
        "i1" => ElementType::I8,
        "u2" => ElementType::U16,
        "i2" => ElementType::I16,
        "u4" => ElementType::U32,
        "i4" => ElementType::I32,
        "u8" => ElementType::U64,
        "i8" => ElementType::I64,
        _ => return Err(format!("dtype '{descr}'")),
    };
    let single_byte = element.size_bytes() == 1;
    let reversed = match order {
        Some('<') => cfg!(target_endian = "big"),
        Some('>') => cfg!(target_endian = "little"),
        Some('=') => false,
        Some('|') if single_byte => false,
        _ => return Err(format!("dtype '{descr}' without a byte order")),
    };
    Ok(Descr { element, reversed: reversed && !single_byte, is_bool: kind == "b1" })
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, each key once, in any order.
fn parse_header(text: &[u8]) -> std::result::Result<Header, String> {
    let mut cursor = Cursor { text, position: 0 };
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    cursor.expect(b'{')?;
    while !cursor.accept(b'}') {
        let key = cursor.string()?;
        cursor.expect(b':')?;
        let is_new = match key.as_str() {
            "descr" => descr.replace(cursor.string()?).is_none(),
            "fortran_order" => fortran_order.replace(cursor.boolean()?).is_none(),
            "shape" => shape.replace(cursor.shape()?).is_none(),
            _ => return Err(format!("the unknown key '{key}'")),
        };
        if !is_new {
            return Err(format!("the key '{key}' twice"));
        }
        if !cursor.accept(b',') {
            cursor.expect(b'}')?;
            break;
        }
    }
    if cursor.peek().is_some() {
        return Err(format!("more text after the dictionary, at byte {}", cursor.position));
    }
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => Ok(Header { descr, fortran_order, shape }),
        _ => Err("a dictionary without descr, fortran_order or shape".into()),
    }
}

/// A place in the header's text. Every method skips the blanks before what it reads.
struct Cursor<'a> {
    text: &'a [u8],
    position: usize,
}

impl Cursor<'_> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.position).is_some_and(u8::is_ascii_whitespace) {
            self.position += 1;
        }
        self.text.get(self.position).copied()
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.position += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> std::result::Result<(), String> {
        if self.accept(byte) { Ok(()) } else { Err(self.unexpected(&format!("'{}'", char::from(byte)))) }
    }

    fn unexpected(&mut self, wanted: &str) -> String {
        let got = self.peek().map_or("its end".into(), |byte| format!("'{}'", byte.escape_ascii()));
        format!("{got} instead of {wanted} at byte {}", self.position)
    }

    /// The bytes from here on that fit.
    fn run(&mut self, fits: impl Fn(u8) -> bool) -> &[u8] {
        let rest = &self.text[self.position..];
        let length = rest.iter().position(|&byte| !fits(byte)).unwrap_or(rest.len());
        self.position += length;
        &rest[..length]
    }

    fn string(&mut self) -> std::result::Result<String, String> {
        let Some(quote @ (b'\'' | b'"')) = self.peek() else { return Err(self.unexpected("a string")) };
        self.position += 1;
        let text = String::from_utf8_lossy(self.run(|byte| byte != quote)).into_owned();
        if self.text.get(self.position) != Some(&quote) {
            return Err("a string without its closing quote".into());
        }
        self.position += 1;
        Ok(text)
    }

    fn boolean(&mut self) -> std::result::Result<bool, String> {
        self.peek();
        match self.run(|byte| byte.is_ascii_alphabetic()) {
            b"True" => Ok(true),
            b"False" => Ok(false),
            _ => Err("a fortran_order that is neither True nor False".into()),
        }
    }

    fn shape(&mut self) -> std::result::Result<Vec<usize>, String> {
        const MOST_DIMENSIONS: usize = 32;
        self.expect(b'(')?;
        let mut lengths = Vec::new();
        while !self.accept(b')') {
            self.peek();
            let digits = self.run(|byte| byte.is_ascii_digit());
            let length = str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            let Some(length) = length else { return Err(self.unexpected("a length below 2^64 in shape")) };
            lengths.push(length);
            if lengths.len() > MOST_DIMENSIONS {
                return Err(format!("a shape of more than {MOST_DIMENSIONS} dimensions"));
            }
            // Python 2 wrote long integers with a suffix.
            self.accept(b'L');
            if !self.accept(b',') {
                self.expect(b')')?;
                break;
            }
        }
        Ok(lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<Header, String> {
        parse_header(text.as_bytes())
    }

    #[test]
    fn reads_the_spellings_of_a_header() {
        let expected = Header { descr: "<f4".into(), fortran_order: false, shape: vec![3, 4] };
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n",
            "{\"shape\":(3,4),\"descr\":\"<f4\",\"fortran_order\":False}",
            "  { 'shape' : ( 3L , 4L , ) , 'fortran_order' : False , 'descr' : '<f4' }",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(parse("{'descr': '|u1', 'fortran_order': True, 'shape': (5,)}").unwrap().shape, [5]);
        assert!(parse("{'descr': '|u1', 'fortran_order': True, 'shape': ()}").unwrap().shape.is_empty());
    }

    #[test]
    fn refuses_broken_headers() {
        for text in [
            "",
            "{",
            "{}",
            "[[[[",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} x",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'x': 'y'}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3,,4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4)}",
            "{'descr': '<f4, 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 4)}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_headers_it_can_read() {
        for shape in [vec![7], vec![3, 4], vec![usize::MAX, usize::MAX]] {
            let bytes = header_bytes("<i8", &shape);
            let (text, start) = header_text(&bytes).unwrap();
            assert_eq!((start, start % ALIGNMENT), (bytes.len(), 0));
            let header = Header { descr: "<i8".into(), fortran_order: false, shape };
            assert_eq!(parse_header(text), Ok(header));
        }
    }
}
