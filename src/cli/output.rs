//! Where results go: files that appear together at the end, and stdout.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use ndarray::{ArrayView, Dimension};

use super::failure::{Failure, WORK};
use super::process;
use crate::data::together::commit_all;
use crate::data::{AtomicFile, NpyElement, write_csv_to, write_npy_to};

/// Prints to stdout. A reader that went away has seen enough: that is no failure.
pub(super) fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure { message: format!("stdout: writing failed: {error}"), code: WORK })
        }
        _ => Ok(()),
    }
}

/// Whether a path means stdout.
pub(super) fn is_stdout(path: Option<&PathBuf>) -> bool {
    path.is_some_and(|path| path == Path::new("-"))
}

/// A file that will hold one array, `.npy` or `.csv`.
pub(super) struct ArrayFile {
    file: AtomicFile,
    argument: &'static str,
    is_csv: bool,
}

impl ArrayFile {
    /// Creates the file, under a temporary name, where a path was given.
    pub fn create(argument: &'static str, path: Option<&PathBuf>) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let is_csv = match extension(path).as_str() {
            "npy" => false,
            "csv" => true,
            _ => return Err(Failure::usage(argument, "a name that ends in .npy or .csv", path.display())),
        };
        let file = create_any(argument, path)?;
        Ok(Some(Self { file, argument, is_csv }))
    }

    /// Writes the array; the file still waits for its name.
    pub fn write<T: NpyElement, D: Dimension>(
        mut self,
        array: ArrayView<'_, T, D>,
    ) -> Result<AtomicFile, Failure> {
        let write = if self.is_csv { write_csv_to } else { write_npy_to };
        write(&mut self.file, array).map_err(Failure::about(self.argument))?;
        Ok(self.file)
    }
}

/// Creates a file whose name has to have this extension, under a temporary name.
pub(super) fn create(argument: &'static str, path: &Path, ending: &str) -> Result<AtomicFile, Failure> {
    if extension(path) != ending {
        return Err(Failure::usage(argument, &format!("a name that ends in .{ending}"), path.display()));
    }
    create_any(argument, path)
}

/// Creates a file of any name, under a temporary name.
pub(super) fn create_any(argument: &'static str, path: &Path) -> Result<AtomicFile, Failure> {
    let file = AtomicFile::create(path).map_err(Failure::about(argument))?;
    Ok(file.cancel(process::interrupt()))
}

/// Finds out before the work whether a file can be written at `path`.
pub(super) fn probe(argument: &'static str, path: Option<&PathBuf>) -> Result<(), Failure> {
    match path {
        Some(path) => AtomicFile::create(path).map(drop).map_err(Failure::about(argument)),
        None => Ok(()),
    }
}

/// Writes what is buffered, so that a full disk is found while no file has its name yet.
pub(super) fn flush(files: &mut [AtomicFile]) -> Result<(), Failure> {
    for file in files {
        file.flush().map_err(|error| Failure {
            message: format!("{}: writing failed: {error}", file.path().display()),
            code: WORK,
        })?;
    }
    Ok(())
}

/// Writes bytes to a file that [`create`] made for `argument`; the file still waits for its name.
pub(super) fn write(argument: &str, mut file: AtomicFile, bytes: &[u8]) -> Result<AtomicFile, Failure> {
    file.write_all(bytes).map_err(|source| Failure {
        message: format!("{argument} {}: writing failed: {source}", file.path().display()),
        code: WORK,
    })?;
    Ok(file)
}

/// Writes `text` to a file that [`create`] made for `argument`, and gives it its name.
pub(super) fn finish_text(argument: &str, file: AtomicFile, text: &str) -> Result<(), Failure> {
    commit(vec![write(argument, file, text.as_bytes())?])
}

/// Gives all files their names, or none.
pub(super) fn commit(files: Vec<AtomicFile>) -> Result<(), Failure> {
    Ok(commit_all(files)?)
}

/// Refuses an output that is an input or another output: one would destroy the other.
pub(super) fn check_distinct(
    inputs: &[(&str, Option<&PathBuf>)],
    outputs: &[(&str, Option<&PathBuf>)],
) -> Result<(), Failure> {
    let given = |files: &[(&str, Option<&PathBuf>)]| -> Vec<(String, PathBuf)> {
        let paths = files.iter().filter_map(|(name, path)| Some((*name, (*path)?)));
        paths.map(|(name, path)| (name.to_owned(), resolved(path))).collect()
    };
    let mut taken = given(inputs);
    for (argument, path) in given(outputs) {
        if let Some((other, _)) = taken.iter().find(|(_, taken)| *taken == path) {
            let expected = format!("another file than {other}");
            return Err(Failure::usage(&argument, &expected, path.display()));
        }
        taken.push((argument, path));
    }
    Ok(())
}

/// The file that a path leads to, also if it does not exist yet.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

fn extension(path: &Path) -> String {
    path.extension().map(|text| text.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}
