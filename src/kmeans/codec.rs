//! The frame of our small binary files: magic, kind, version, length, payload, checksum. Little-endian throughout.

use std::io::Write;
use std::path::Path;

use crate::cancel::Cancel;
use crate::data::AtomicFile;
use crate::data::frame::Frame;
use crate::data::whole::Whole;
use crate::error::{Error, Result};
use crate::memory;
use crate::memory::free_bytes;

const MAGIC: &[u8; 8] = b"TILEFOLD";
const HEADER_BYTES: usize = 8 + 4 + 4 + 8;
const CHECKSUM_BYTES: usize = 4;
/// Most bytes of a file where the system does not say what is free.
const USUAL_BYTES: u64 = 16 << 30;
/// Largest magnitude of a centroid in its frame: what first centroids are held to, and means stay within.
pub(super) const LARGEST_CENTROID: f64 = (1_u64 << 40) as f64;

/// What a file holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// Four letters.
    pub tag: &'static [u8; 4],
    /// For messages.
    pub name: &'static str,
    /// The newest version this code writes; it reads that version only.
    pub version: u32,
    /// What to do about a file of another version, or a damaged one.
    pub cure: &'static str,
}

/// Builds a payload.
#[derive(Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub fn u128(&mut self, value: u128) {
        self.0.extend(value.to_le_bytes());
    }

    pub fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    pub fn f64s(&mut self, values: &[f64]) {
        self.u64(values.len() as u64);
        values.iter().for_each(|&value| self.f64(value));
    }

    /// Writes the file: to a temporary name first, renamed once it is whole.
    pub fn write(self, path: &Path, kind: Kind) -> Result<()> {
        let bytes = self.finish(kind);
        let mut file = AtomicFile::create(path)?;
        let failed = |source| Error::File { path: path.to_owned(), action: "writing", source };
        file.write_all(&bytes).map_err(failed)?;
        file.commit()
    }

    /// The bytes of the file.
    pub fn finish(self, kind: Kind) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.0.len() + CHECKSUM_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(kind.tag);
        bytes.extend(kind.version.to_le_bytes());
        bytes.extend((self.0.len() as u64).to_le_bytes());
        bytes.extend(self.0);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }
}

/// Reads a payload back.
pub(super) struct Decoder<'a> {
    path: &'a Path,
    kind: Kind,
    bytes: Vec<u8>,
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Reads and verifies a file, unless `cancel` is set meanwhile.
    pub fn open(path: &'a Path, kind: Kind, cancel: &Cancel) -> Result<Self> {
        let most_bytes = free_bytes().unwrap_or(USUAL_BYTES);
        let whole = Whole { what: kind.name, mark: MAGIC, most_bytes };
        Self::of(path, whole.read(path, cancel)?, kind)
    }

    /// Verifies what a file held; `path` names it in errors.
    pub fn of(path: &'a Path, bytes: Vec<u8>, kind: Kind) -> Result<Self> {
        let decoder = Self { path, kind, at: HEADER_BYTES, bytes };
        decoder.verify()?;
        Ok(decoder)
    }

    fn verify(&self) -> Result<()> {
        let bytes = &self.bytes;
        if bytes.len() < HEADER_BYTES + CHECKSUM_BYTES
            || &bytes[..8] != MAGIC
            || &bytes[8..12] != self.kind.tag
        {
            return Err(self.malformed("another kind of file"));
        }
        let version = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if version != self.kind.version {
            return Err(self.malformed(&format!("version {version}; {}", self.kind.cure)));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if crc32fast::hash(content).to_le_bytes() != checksum {
            let damage = "a wrong checksum: the file is truncated or damaged";
            return Err(self.malformed(&format!("{damage}; {}", self.kind.cure)));
        }
        Ok(())
    }

    /// An error about this file.
    pub fn malformed(&self, got: &str) -> Error {
        let expected = format!("a tilefold {} of version {}", self.kind.name, self.kind.version);
        Error::Format { path: self.path.to_owned(), expected, got: got.to_owned() }
    }

    pub fn u64(&mut self) -> Result<u64> {
        let end = self.at + 8;
        let content = self.bytes.len() - CHECKSUM_BYTES;
        let Some(bytes) = self.bytes[..content].get(self.at..end) else {
            return Err(self.malformed("fewer values than it claims"));
        };
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        self.at = end;
        Ok(u64::from_le_bytes(word))
    }

    pub fn u128(&mut self) -> Result<u128> {
        Ok(u128::from(self.u64()?) | u128::from(self.u64()?) << 64)
    }

    pub fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.u64()?))
    }

    pub fn f64s(&mut self) -> Result<Vec<f64>> {
        let count = self.u64()?;
        if count > (self.bytes.len() / 8) as u64 {
            return Err(self.malformed("fewer values than it claims"));
        }
        let mut values = memory::room("the values of a file", count as usize)?;
        for _ in 0..count {
            values.push(self.f64()?);
        }
        Ok(values)
    }
}

impl Encoder {
    pub fn frame(&mut self, frame: &Frame) {
        self.f64s(&frame.offset);
        self.f64(frame.scale);
        self.u64(u64::from(frame.unit_rows));
    }
}

impl Decoder<'_> {
    pub fn frame(&mut self) -> Result<Frame> {
        Ok(Frame { offset: self.f64s()?, scale: self.f64()?, unit_rows: self.u64()? != 0 })
    }
}
