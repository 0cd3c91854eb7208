//! The files of a folder: small ones as text, and how errors about them are worded.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::data::json::Demand;
use crate::data::storage::{excerpt_of, file_error, open_file};
use crate::error::{Error, Result};

/// Largest JSON file that is read. The largest that PEFT writes, a rank for each module, are below 1 MiB.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Longest `expected` and longest `got` of a message: tensor names alone take 80 characters.
const LONGEST_PART: usize = 138;

/// An [`Error::Format`]; the texts are cut so that no file can make a message long.
pub(super) fn malformed(path: &Path, expected: impl AsRef<str>, got: impl AsRef<str>) -> Error {
    let [expected, got] = [expected.as_ref(), got.as_ref()].map(|text| excerpt_of(text, LONGEST_PART));
    Error::Format { path: path.into(), expected, got }
}

/// The folder `directory`, or why it is none.
pub(super) fn folder(directory: &Path) -> Result<PathBuf> {
    let attributes =
        std::fs::metadata(directory).map_err(|source| file_error(directory, "opening", source))?;
    if !attributes.is_dir() {
        return Err(malformed(directory, "the folder of an adapter", "a file"));
    }
    Ok(directory.into())
}

/// The text of a small JSON file.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let (file, length) = open_file(path)?;
    if length > MAX_TEXT_BYTES {
        let expected = format!("at most {MAX_TEXT_BYTES} bytes of JSON");
        return Err(malformed(path, expected, format!("{length} bytes")));
    }
    let mut bytes = Vec::new();
    // What another process appends meanwhile is not read.
    file.take(MAX_TEXT_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| file_error(path, "reading", source))?;
    // Whoever reads the text makes values of it.
    Demand::of(&bytes).ask(&format!("the values of {}", path.display()))?;
    String::from_utf8(bytes).map_err(|error| malformed(path, "JSON in UTF-8", error.to_string()))
}
