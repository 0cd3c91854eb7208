//! `.fvecs`, `.bvecs` and `.ivecs`: each row is a little-endian `i32` dimension followed by its values.
//! Format: <http://corpus-texmex.irisa.fr>.

use std::path::Path;

use super::ElementType;
use super::storage::{Storage, malformed};
use super::table::{Layout, Table};
use crate::cancel::Cancel;
use crate::error::Result;

/// Bytes of the dimension before each row.
const PREFIX_BYTES: usize = 4;
const LARGEST_DIMENSION: usize = 1_000_000;
/// Rows between two looks at the cancel token.
const ROWS_PER_LOOK: usize = 1024;

/// The element type of a file with this extension, if it is one of these kinds.
pub(super) fn element_type(extension: &str) -> Option<ElementType> {
    match extension {
        "fvecs" => Some(ElementType::F32),
        "bvecs" => Some(ElementType::U8),
        "ivecs" => Some(ElementType::I32),
        _ => None,
    }
}

/// A strided table over the bytes of such a file: the dimensions stay where they are and are stepped over.
pub(super) fn read(path: &Path, storage: Storage, element: ElementType, cancel: &Cancel) -> Result<Table> {
    let bytes = storage.bytes();
    let columns = bytes.first_chunk().map(|&prefix| i32::from_le_bytes(prefix)).unwrap_or_default();
    let columns = usize::try_from(columns).unwrap_or(0);
    if !(1..=LARGEST_DIMENSION).contains(&columns) {
        let expected = format!("a first dimension of 1 to {LARGEST_DIMENSION}");
        let got = format!("the bytes {:?}", &bytes[..bytes.len().min(PREFIX_BYTES)]);
        return Err(malformed(path, expected, got));
    }
    let element_bytes = element.size_bytes();
    let record_bytes = PREFIX_BYTES + columns * element_bytes;
    if !bytes.len().is_multiple_of(record_bytes) {
        let expected = format!("a multiple of {record_bytes} bytes (dimension {columns})");
        return Err(malformed(path, expected, format!("{} bytes", bytes.len())));
    }
    for (row, record) in bytes.chunks_exact(record_bytes).enumerate() {
        if row % ROWS_PER_LOOK == 0 {
            cancel.check()?;
        }
        if record[..PREFIX_BYTES] != bytes[..PREFIX_BYTES] {
            let got = format!("the bytes {:?} in row {row}", &record[..PREFIX_BYTES]);
            return Err(malformed(path, format!("dimension {columns} in every row"), got));
        }
    }
    let mut layout = Layout::row_major(element, PREFIX_BYTES, bytes.len() / record_bytes, columns);
    layout.row_stride = record_bytes / element_bytes;
    layout.reversed = cfg!(target_endian = "big") && element_bytes > 1;
    Table::new(path, storage, layout, cancel)
}
