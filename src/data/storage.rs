//! Where the bytes of a table live, and the rules that every reader keeps: regular files only, nothing allocated on a
//! file's word alone, allocations that can fail without ending the process, short messages.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;

use memmap2::Mmap;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::memory;

/// Bytes that are read, copied or looked at between two looks at the cancel token.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// The bytes behind a table.
pub(crate) enum Storage {
    /// The file itself, mapped read-only.
    Mapped(Mmap),
    /// A copy, aligned for every element type.
    Memory(AlignedBytes),
    /// Numbers parsed from text.
    F64(Vec<f64>),
    /// Numbers parsed from text, in single precision.
    F32(Vec<f32>),
}

impl Storage {
    /// Maps the whole file, or reads it where the caller does not want a map.
    pub(crate) fn open(
        path: &Path,
        mut file: File,
        length: u64,
        in_memory: bool,
        cancel: &Cancel,
    ) -> Result<Self> {
        if !in_memory {
            // SAFETY: the map is read-only and private to its reader. Another process could still change the file
            // under it; `Table::open` and the readers of adapters document that the file must stay as it is, and
            // `in_memory` avoids the map.
            let map = unsafe { Mmap::map(&file) }.map_err(|source| match source.kind() {
                ErrorKind::OutOfMemory => too_large(path, length),
                _ => file_error(path, "mapping", source),
            })?;
            return Ok(Self::Mapped(map));
        }
        let mut copy = AlignedBytes::zeroed(length, path)?;
        for piece in copy.bytes_mut().chunks_mut(PIECE_BYTES) {
            cancel.check()?;
            file.read_exact(piece).map_err(|source| file_error(path, "reading", source))?;
        }
        Ok(Self::Memory(copy))
    }

    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Memory(copy) => copy.bytes(),
            Self::F64(values) => bytemuck::cast_slice(values),
            Self::F32(values) => bytemuck::cast_slice(values),
        }
    }
}

/// Bytes that start at a multiple of 8, the largest alignment of an element type.
pub(crate) struct AlignedBytes {
    words: Vec<u64>,
    length: usize,
}

impl AlignedBytes {
    /// `length` zero bytes, or [`Error::TooLarge`].
    pub(super) fn zeroed(length: u64, path: &Path) -> Result<Self> {
        let bytes = usize::try_from(length).map_err(|_| too_large(path, length))?;
        let word_count = bytes.div_ceil(size_of::<u64>());
        let words = memory::zeroed(&rows_of(path), word_count, 1)?;
        Ok(Self { words, length: bytes })
    }

    /// A copy of `source`; elements of `element_bytes` bytes are reversed where the file's byte order is not the host's.
    pub(super) fn copy_of(
        source: &[u8],
        element_bytes: usize,
        reverse: bool,
        path: &Path,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut copy = Self::zeroed(source.len() as u64, path)?;
        // Pieces are whole elements.
        for (to, from) in copy.bytes_mut().chunks_mut(PIECE_BYTES).zip(source.chunks(PIECE_BYTES)) {
            cancel.check()?;
            to.copy_from_slice(from);
            if reverse {
                to.chunks_exact_mut(element_bytes).for_each(<[u8]>::reverse);
            }
        }
        Ok(copy)
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    /// The bytes, to be filled.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.length]
    }
}

/// Opens a table and returns its length; an empty file is refused.
pub(super) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let (file, length) = open_file(path)?;
    if length == 0 {
        return Err(malformed(path, "at least 1 row", "an empty file"));
    }
    Ok((file, length))
}

/// Opens a regular file and returns its length. Folders, pipes and devices are refused before they are opened, since
/// opening a pipe waits for its writer.
pub(crate) fn open_file(path: &Path) -> Result<(File, u64)> {
    let attributes = std::fs::metadata(path).map_err(|source| file_error(path, "opening", source))?;
    if !attributes.is_file() {
        let got = if attributes.is_dir() { "a folder" } else { "a pipe, socket or device" };
        return Err(malformed(path, "a regular file", got));
    }
    let file = File::open(path).map_err(|source| file_error(path, "opening", source))?;
    let length = file.metadata().map_err(|source| file_error(path, "opening", source))?.len();
    Ok((file, length))
}

/// Room for `additional` more elements, or [`Error::TooLarge`].
pub(super) fn reserve<T>(values: &mut Vec<T>, additional: usize, path: &Path) -> Result<()> {
    values.try_reserve(additional).map_err(|_| {
        let elements = values.len().saturating_add(additional) as u64;
        too_large(path, elements.saturating_mul(size_of::<T>() as u64))
    })
}

fn rows_of(path: &Path) -> String {
    format!("rows of {}", path.display())
}

/// The allocator refused `needed_bytes`: all that is known of the limit is that it lies below.
pub(crate) fn too_large(path: &Path, needed_bytes: u64) -> Error {
    memory::refused(&rows_of(path), needed_bytes)
}

/// An [`Error::Format`]; the texts are cut so that no file can make a message long.
pub(super) fn malformed(path: &Path, expected: impl AsRef<str>, got: impl AsRef<str>) -> Error {
    let (expected, got) = (excerpt(expected.as_ref()), excerpt(got.as_ref()));
    Error::Format { path: path.into(), expected, got }
}

/// An [`Error::File`].
pub(crate) fn file_error(path: &Path, action: &'static str, source: std::io::Error) -> Error {
    Error::File { path: path.into(), action, source }
}

/// What a decoder reports about a file's content is [`Error::Format`]; what the system reports is [`Error::File`].
pub(super) fn decode_error(path: &Path, expected: &str, source: std::io::Error) -> Error {
    match source.kind() {
        ErrorKind::InvalidData | ErrorKind::InvalidInput => malformed(path, expected, source.to_string()),
        ErrorKind::UnexpectedEof => malformed(path, expected, "the end of the file"),
        _ => file_error(path, "reading", source),
    }
}

/// At most 100 characters, control characters escaped.
pub(super) fn excerpt(text: &str) -> String {
    excerpt_of(text, 100)
}

/// At most `longest` characters, control characters escaped, and `...` where there were more.
pub(crate) fn excerpt_of(text: &str, longest: usize) -> String {
    let mut short = String::new();
    // Escapes lengthen: count what is written, not what is read.
    for character in text.chars() {
        let escaped =
            if character.is_control() { character.escape_default().to_string() } else { character.into() };
        if short.chars().count() + escaped.len() > longest {
            short.push_str("...");
            break;
        }
        short.push_str(&escaped);
    }
    short
}

/// The first bytes of a file, up to 8; the next read starts at the beginning again.
pub(super) fn first_bytes(path: &Path, mut file: &File) -> Result<Vec<u8>> {
    let mut mark = Vec::with_capacity(8);
    file.take(8).read_to_end(&mut mark).map_err(|source| file_error(path, "reading", source))?;
    file.rewind().map_err(|source| file_error(path, "reading", source))?;
    Ok(mark)
}
