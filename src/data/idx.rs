//! IDX, the format of MNIST: `00 00 type dimensions`, the lengths as big-endian `u32`, then big-endian elements.
//! Gzipped files are unpacked into memory. Format: <http://yann.lecun.com/exdb/mnist>.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::ElementType;
use super::storage::{AlignedBytes, PIECE_BYTES, Storage, decode_error, malformed};
use super::table::{Layout, Table};
use crate::cancel::Cancel;
use crate::error::Result;

/// Deflate packs at most 1032 to 1; a header that claims more than this lies.
const LARGEST_RATIO: u64 = 1100;
const MOST_DIMENSIONS: u8 = 4;

/// What the header says; the dimensions after the first are columns.
struct Header {
    element: ElementType,
    rows: usize,
    columns: usize,
    header_bytes: usize,
    data_bytes: u64,
}

fn element_type(code: u8) -> Option<ElementType> {
    match code {
        0x08 => Some(ElementType::U8),
        0x09 => Some(ElementType::I8),
        0x0b => Some(ElementType::I16),
        0x0c => Some(ElementType::I32),
        0x0d => Some(ElementType::F32),
        0x0e => Some(ElementType::F64),
        _ => None,
    }
}

/// Whether these can be the first bytes of an IDX file.
pub(super) fn is_header(mark: &[u8]) -> bool {
    matches!(*mark, [0, 0, code, 1..=MOST_DIMENSIONS, ..] if element_type(code).is_some())
}

fn read_header(path: &Path, reader: &mut impl Read) -> Result<Header> {
    let expected = "an IDX header";
    let mut mark = [0; 4];
    reader.read_exact(&mut mark).map_err(|source| decode_error(path, expected, source))?;
    let [0, 0, code, dimensions @ 1..=MOST_DIMENSIONS] = mark else {
        let expected = format!("an IDX header: 00 00, a type, 1 to {MOST_DIMENSIONS} dimensions");
        return Err(malformed(path, expected, format!("the bytes {mark:?}")));
    };
    let Some(element) = element_type(code) else {
        return Err(malformed(path, "the IDX type 8, 9, 11, 12, 13 or 14", code.to_string()));
    };
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        let mut length = [0; 4];
        reader.read_exact(&mut length).map_err(|source| decode_error(path, expected, source))?;
        lengths.push(u32::from_be_bytes(length));
    }
    let (rows, rest) = (u64::from(lengths[0]), &lengths[1..]);
    let columns = rest.iter().try_fold(1_u64, |product, &length| product.checked_mul(length.into()));
    let measured = columns.and_then(|columns| {
        let data_bytes = rows.checked_mul(columns)?.checked_mul(element.size_bytes() as u64)?;
        Some((usize::try_from(rows).ok()?, usize::try_from(columns).ok()?, data_bytes))
    });
    let Some((rows, columns, data_bytes)) = measured else {
        return Err(malformed(path, "fewer than 2^64 bytes", format!("lengths {lengths:?}")));
    };
    Ok(Header { element, rows, columns, header_bytes: 4 + 4 * usize::from(dimensions), data_bytes })
}

impl Header {
    fn layout(&self, start: usize) -> Layout {
        let mut layout = Layout::row_major(self.element, start, self.rows, self.columns);
        layout.reversed = cfg!(target_endian = "little") && self.element.size_bytes() > 1;
        layout
    }

    fn wrong_length(&self, path: &Path, got: impl AsRef<str>) -> crate::error::Error {
        malformed(path, format!("{} bytes of data after the IDX header", self.data_bytes), got)
    }
}

/// A table over the bytes of an IDX file.
pub(super) fn read(path: &Path, storage: Storage, cancel: &Cancel) -> Result<Table> {
    let header = read_header(path, &mut storage.bytes())?;
    let held = storage.bytes().len() - header.header_bytes;
    if header.data_bytes != held as u64 {
        return Err(header.wrong_length(path, held.to_string()));
    }
    let layout = header.layout(header.header_bytes);
    Table::new(path, storage, layout, cancel)
}

/// Unpacks a gzipped IDX file into memory.
pub(super) fn read_gzip(path: &Path, file: File, packed_bytes: u64, cancel: &Cancel) -> Result<Table> {
    let mut unpacked = MultiGzDecoder::new(BufReader::new(file));
    let header = read_header(path, &mut unpacked)?;
    if header.data_bytes > packed_bytes.saturating_mul(LARGEST_RATIO) {
        return Err(
            header.wrong_length(path, format!("a gzip file of {packed_bytes} bytes, too short for it"))
        );
    }
    let mut values = AlignedBytes::zeroed(header.data_bytes, path)?;
    let expected = format!("{} bytes of data in a whole gzip file", header.data_bytes);
    for piece in values.bytes_mut().chunks_mut(PIECE_BYTES) {
        cancel.check()?;
        unpacked.read_exact(piece).map_err(|source| decode_error(path, &expected, source))?;
    }
    // Reading past the end also makes the decoder compare its checksum.
    let excess = unpacked.read(&mut [0]).map_err(|source| decode_error(path, &expected, source))?;
    if excess != 0 {
        return Err(header.wrong_length(path, "more"));
    }
    let layout = header.layout(0);
    Table::new(path, Storage::Memory(values), layout, cancel)
}
