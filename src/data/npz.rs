//! Sparse matrices as `.npz`, the archive of arrays that `scipy.sparse.load_npz` reads.

use super::npy::header_bytes;
use super::write::{AtomicFile, NpyElement};
use crate::error::{Error, Result};
use crate::memory::{self, area};

/// Bytes that the 32-bit fields of an archive can count.
const MOST_BYTES: u64 = u32::MAX as u64;
/// The first day that an archive can name: the same content gives the same bytes.
const DATE: u16 = 0x21;

/// A matrix in compressed rows.
#[derive(Debug, Clone, Copy)]
pub struct CompressedRows<'a, T> {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// Where the entries of each row begin, and the end of the last.
    pub offsets: &'a [u64],
    /// The column of each entry.
    pub indices: &'a [u32],
    /// The value of each entry.
    pub values: &'a [T],
}

/// Writes a matrix in compressed rows as SciPy's `.npz`, without compression, into a file that the caller commits. Indices
/// are `i32` where all of them fit, else `i64`.
///
/// # Errors
/// [`Error::File`] if the disk is full or fails; [`Error::TooLarge`] for arrays of more than 4 GiB.
pub fn write_csr_npz_to<T: NpyElement>(file: &mut AtomicFile, matrix: CompressedRows<'_, T>) -> Result<()> {
    let CompressedRows { rows, columns, offsets, indices, values } = matrix;
    // Indices in another type, and all arrays as bytes.
    let parts = [area::<[u64; 3]>(indices.len(), 1), area::<[u64; 2]>(offsets.len(), 1)];
    memory::ask("the arrays of a sparse matrix", &parts)?;
    let last = offsets.last().copied().unwrap_or(0).max(columns as u64);
    let (index, offset) = if last <= i32::MAX as u64 {
        let indices: Vec<i32> = indices.iter().map(|&index| index as i32).collect();
        let offsets: Vec<i32> = offsets.iter().map(|&offset| offset as i32).collect();
        (array(&indices), array(&offsets))
    } else {
        let indices: Vec<i64> = indices.iter().map(|&index| i64::from(index)).collect();
        let offsets: Vec<i64> = offsets.iter().map(|&offset| offset as i64).collect();
        (array(&indices), array(&offsets))
    };
    let mut format = header_bytes("|S3", &[]);
    format.extend(b"csr");
    let members = [
        ("indices.npy", index),
        ("indptr.npy", offset),
        ("format.npy", format),
        ("shape.npy", array(&[rows as i64, columns as i64])),
        ("data.npy", array(values)),
    ];
    write_archive(file, &members)
}

fn array<T: NpyElement>(values: &[T]) -> Vec<u8> {
    let mut bytes = header_bytes(T::DESCR, &[values.len()]);
    bytes.extend_from_slice(bytemuck::cast_slice(values));
    bytes
}

/// A zip archive of stored members: a header before each, a directory, its end.
fn write_archive(file: &mut AtomicFile, members: &[(&str, Vec<u8>)]) -> Result<()> {
    let needed_bytes: u64 =
        members.iter().map(|(name, bytes)| (bytes.len() + 2 * name.len() + 76) as u64).sum();
    if needed_bytes > MOST_BYTES {
        let what = "a sparse matrix in one archive".into();
        return Err(Error::TooLarge { what, needed_bytes, limit_bytes: MOST_BYTES });
    }
    let mut directory = Vec::new();
    let mut at = 0_u32;
    for (name, bytes) in members {
        let common = common_fields(name, bytes);
        let mut header = 0x0403_4b50_u32.to_le_bytes().to_vec();
        header.extend_from_slice(&common);
        header.extend_from_slice(name.as_bytes());
        directory.extend_from_slice(&0x0201_4b50_u32.to_le_bytes());
        // Made by a system without attributes, by the version that is needed to read it.
        directory.extend_from_slice(&20_u16.to_le_bytes());
        directory.extend_from_slice(&common);
        // No comment, disk 0, no attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&at.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
        file.put(&header)?;
        file.put(bytes)?;
        at += (header.len() + bytes.len()) as u32;
    }
    let mut end = 0x0605_4b50_u32.to_le_bytes().to_vec();
    end.extend_from_slice(&[0; 4]);
    let count = (members.len() as u16).to_le_bytes();
    end.extend_from_slice(&count);
    end.extend_from_slice(&count);
    end.extend_from_slice(&(directory.len() as u32).to_le_bytes());
    end.extend_from_slice(&at.to_le_bytes());
    end.extend_from_slice(&[0; 2]);
    file.put(&directory)?;
    file.put(&end)
}

/// What a member's header and its entry in the directory share: version, flags, method, time, date, checksum, sizes.
fn common_fields(name: &str, bytes: &[u8]) -> Vec<u8> {
    let size = (bytes.len() as u32).to_le_bytes();
    let mut fields = Vec::with_capacity(26);
    for field in [20_u16, 0, 0, 0, DATE] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    fields.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    fields.extend_from_slice(&size);
    fields.extend_from_slice(&size);
    fields.extend_from_slice(&(name.len() as u16).to_le_bytes());
    fields.extend_from_slice(&0_u16.to_le_bytes());
    fields
}
