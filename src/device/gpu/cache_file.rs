//! Files in the user's cache folder: whole or not used, replaced in one step.
//!
//! A file is a line that says what it is, a checksum, and data. Whatever goes wrong costs time only, so callers log
//! failures and go on.

use std::io::Write;
use std::path::{Path, PathBuf};

/// What a file held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// There is no such file, or it cannot be read.
    Absent,
    /// It is cut, changed, too large or something else.
    Damaged,
    /// The data.
    Whole(Vec<u8>),
}

/// One kind of file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheFile {
    /// First bytes: the kind and its version, a line. The checksum of the data follows, 4 bytes little endian.
    pub(crate) magic: &'static [u8],
    /// Nothing larger is read.
    pub(crate) max_bytes: u64,
}

/// The folder for one kind of file: below the platform's cache folder of this user.
pub(crate) fn folder(kind: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_vendor = "apple") {
        absolute("HOME").map(|home| home.join("Library").join("Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    Some(base?.join("tilefold").join(kind))
}

impl CacheFile {
    /// The data in `file`, where it is whole.
    pub(crate) fn load(&self, file: &Path) -> Loaded {
        let Ok(about) = std::fs::metadata(file) else { return Loaded::Absent };
        if about.len() > self.max_bytes + (self.magic.len() + 4) as u64 {
            return Loaded::Damaged;
        }
        let Ok(bytes) = std::fs::read(file) else { return Loaded::Absent };
        let data = bytes.strip_prefix(self.magic).and_then(|rest| rest.split_first_chunk::<4>());
        match data {
            Some((checksum, data)) if u32::from_le_bytes(*checksum) == crc32fast::hash(data) => {
                Loaded::Whole(data.to_vec())
            }
            _ => Loaded::Damaged,
        }
    }

    /// Replaces `file` in one step, so that a reader sees the old data or the new.
    pub(crate) fn store(&self, file: &Path, data: &[u8]) -> std::io::Result<()> {
        let folder = file.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
        std::fs::create_dir_all(folder)?;
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(self.magic)?;
        temporary.write_all(&crc32fast::hash(data).to_le_bytes())?;
        temporary.write_all(data)?;
        temporary.persist(file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: CacheFile = CacheFile { magic: b"a test 1\n", max_bytes: 1 << 20 };

    #[test]
    fn a_file_is_read_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper").join("cache");
        assert_eq!(KIND.load(&file), Loaded::Absent, "no file yet");
        let data: Vec<u8> = (0..=255).collect();
        KIND.store(&file, &data).unwrap();
        assert_eq!(KIND.load(&file), Loaded::Whole(data));
        let whole = std::fs::read(&file).unwrap();
        for at in [0, KIND.magic.len(), whole.len() - 1] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(KIND.load(&file), Loaded::Damaged, "bit flipped in byte {at}");
        }
        for length in [0, KIND.magic.len() + 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(KIND.load(&file), Loaded::Damaged, "cut to {length} bytes");
        }
        let small = CacheFile { max_bytes: 100, ..KIND };
        std::fs::write(&file, &whole).unwrap();
        assert_eq!(small.load(&file), Loaded::Damaged, "larger than it may be");
    }

    /// Readers beside writers see one writer's data, never a mixture.
    #[test]
    fn writers_at_the_same_time_leave_one_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache");
        let data = |writer: u8| vec![writer; 10_000 + usize::from(writer)];
        KIND.store(&file, &data(0)).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4_u8 {
                let file = &file;
                scope.spawn(move || {
                    for _ in 0..20 {
                        KIND.store(file, &data(writer)).unwrap();
                        let Loaded::Whole(found) = KIND.load(file) else { panic!("not whole") };
                        assert_eq!(found, data(found[0]));
                    }
                });
            }
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }
}
