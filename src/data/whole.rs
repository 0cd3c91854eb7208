//! Files that are read whole: not only regular ones, up to a limit, and given up at once where the caller is stopped.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::storage::{PIECE_BYTES, file_error, malformed, too_large};
use crate::cancel::Cancel;
use crate::error::Result;

const LEAST_PIECE_BYTES: usize = 4096;
/// How often the token is looked at while a pipe is silent.
const POLL: Duration = Duration::from_millis(20);

/// What is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole {
    /// What the file holds, for messages.
    pub what: &'static str,
    /// Its first bytes: what begins otherwise is not read on, and the caller says what is wrong with it.
    pub mark: &'static [u8],
    /// Most bytes that it may have.
    pub most_bytes: u64,
}

impl Whole {
    /// All bytes of `path`.
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) once `cancel` is set, [`Error::File`](crate::Error::File) if the
    /// system refuses, [`Error::Format`](crate::Error::Format) for more bytes than the most,
    /// [`Error::TooLarge`](crate::Error::TooLarge) if they do not fit the memory.
    pub(crate) fn read(&self, path: &Path, cancel: &Cancel) -> Result<Vec<u8>> {
        let attributes = std::fs::metadata(path).map_err(|source| file_error(path, "opening", source))?;
        if attributes.is_file() || attributes.is_dir() {
            if attributes.is_file() && attributes.len() > self.most_bytes {
                return Err(self.too_long(path, format!("{} bytes", attributes.len())));
            }
            return self.read_here(path, cancel);
        }
        // Opening a pipe and reading from it wait for its writer: another thread does, and is left to itself at a stop.
        let (sender, receiver) = mpsc::sync_channel(1);
        let (wanted, source, token) = (*self, path.to_owned(), cancel.clone());
        let reader = thread::Builder::new().name("tilefold-reader".into());
        reader
            .spawn(move || {
                // Nobody waits any more after a stop.
                let _ = sender.send(wanted.read_here(&source, &token));
            })
            .map_err(|source| file_error(path, "reading", source))?;
        loop {
            cancel.check()?;
            match receiver.recv_timeout(POLL) {
                Ok(outcome) => return outcome,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(file_error(path, "reading", ErrorKind::BrokenPipe.into()));
                }
            }
        }
    }

    fn read_here(&self, path: &Path, cancel: &Cancel) -> Result<Vec<u8>> {
        let mut file = File::open(path).map_err(|source| file_error(path, "opening", source))?;
        let mut bytes = Vec::new();
        loop {
            cancel.check()?;
            // As much again as is there: small files take little memory.
            let size = bytes.len().clamp(LEAST_PIECE_BYTES, PIECE_BYTES);
            let room = bytes.len() + size;
            bytes.try_reserve(size).map_err(|_| too_large(path, room as u64))?;
            let piece = (&mut file).take(size as u64).read_to_end(&mut bytes);
            let count = piece.map_err(|source| file_error(path, "reading", source))?;
            if bytes.len() as u64 > self.most_bytes {
                return Err(self.too_long(path, "more".into()));
            }
            let known = self.mark.len().min(bytes.len());
            if count == 0 || bytes[..known] != self.mark[..known] {
                return Ok(bytes);
            }
        }
    }

    fn too_long(&self, path: &Path, got: String) -> crate::Error {
        malformed(path, format!("{} of at most {} bytes", self.what, self.most_bytes), got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Whole = Whole { what: "a list", mark: b"ab", most_bytes: 8 };

    #[test]
    fn files_are_read_whole_up_to_the_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for text in ["", "a", "abcdefgh"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(SMALL.read(&path, &Cancel::new()).unwrap(), text.as_bytes());
        }
        std::fs::write(&path, "abcdefghi").unwrap();
        let message = SMALL.read(&path, &Cancel::new()).unwrap_err().to_string();
        assert!(message.ends_with("expected a list of at most 8 bytes, got 9 bytes"), "{message}");
        assert!(SMALL.read(folder.path(), &Cancel::new()).is_err());
        std::fs::write(&path, "ab").unwrap();
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(matches!(SMALL.read(&path, &cancel), Err(crate::Error::Cancelled)));
    }

    #[cfg(unix)]
    #[test]
    fn endless_devices_are_refused_and_what_has_another_mark_is_not_read_on() {
        let zeros = Path::new("/dev/zero");
        let message = Whole { mark: b"", ..SMALL }.read(zeros, &Cancel::new()).unwrap_err().to_string();
        assert!(message.ends_with("expected a list of at most 8 bytes, got more"), "{message}");
        let endless = Whole { most_bytes: u64::MAX, ..SMALL };
        assert_eq!(endless.read(zeros, &Cancel::new()).unwrap().len(), LEAST_PIECE_BYTES);
    }
}
