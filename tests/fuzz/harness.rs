//! One parser, its corpus, and how long it is tried.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use tilefold::Error;

use crate::memory::most_held;
use crate::mutate::{Chance, changed};

/// Files that each parser is given where no time is asked for.
const FILES: usize = 300;

/// A parser under test.
pub struct Parser<'p> {
    /// Names it in messages.
    pub name: &'static str,
    /// Files that it takes, by name.
    pub corpus: Vec<(&'static str, Vec<u8>)>,
    /// Words of its format.
    pub words: &'p [&'p str],
    /// Most bytes that it may hold: this many for each of the file's, and these beside them.
    pub bytes_per_byte: u64,
    pub more_bytes: u64,
    /// Makes a changed file look right again, where a checksum would end the test at once.
    pub mend: fn(&mut [u8]),
}

impl Parser<'_> {
    /// Gives `parse` the path of every file of the corpus, which it has to accept, and of changed ones; an error has to be
    /// about the file. `check` looks at what was read, and is not part of what is measured.
    pub fn run<T>(&self, parse: impl Fn(&Path) -> Result<T, Error>, check: impl Fn(&Path, T)) {
        let folder = tempfile::Builder::new().prefix("tilefold-fuzz-").tempdir().unwrap();
        let mut refused = 0_u64;
        // Why a file was refused, if it was.
        let give = |name: &str, bytes: &[u8], number: u64| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let most = self.bytes_per_byte * bytes.len() as u64 + self.more_bytes;
            let attempt = catch_unwind(AssertUnwindSafe(|| {
                let (result, held) = most_held(|| parse(&path));
                assert!(held <= most, "{}: {held} bytes held for a file of {}", self.name, bytes.len());
                match result {
                    Ok(read) => {
                        check(&path, read);
                        None
                    }
                    Err(error @ (Error::Format { .. } | Error::TooLarge { .. } | Error::Value { .. })) => {
                        Some(error.to_string())
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }));
            attempt.unwrap_or_else(|panic| {
                let kept = std::env::temp_dir().join(format!("tilefold-fuzz-{}-{number}-{name}", self.name));
                std::fs::write(&kept, bytes).unwrap();
                eprintln!("{}: file {number} failed and is {}", self.name, kept.display());
                resume_unwind(panic)
            })
        };
        for (name, bytes) in &self.corpus {
            assert_eq!(give(name, bytes, 0), None, "{}: {name} of the corpus", self.name);
        }
        let others: Vec<Vec<u8>> = self.corpus.iter().map(|(_, bytes)| bytes.clone()).collect();
        let asked = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let time = asked("TILEFOLD_FUZZ_SECONDS").map(Duration::from_secs);
        let mut chance = Chance::new(asked("TILEFOLD_FUZZ_SEED").unwrap_or(1));
        let (begin, mut number) = (Instant::now(), 0_u64);
        while time.map_or(number < FILES as u64, |time| begin.elapsed() < time) {
            let (name, seed) = &self.corpus[chance.below(self.corpus.len())];
            let mut bytes = changed(seed, &others, self.words, &mut chance);
            if chance.below(8) > 0 {
                (self.mend)(&mut bytes);
            }
            number += 1;
            refused += u64::from(give(name, &bytes, number).is_some());
        }
        println!("{}: {number} files, {refused} refused", self.name);
    }
}

/// For formats without a checksum.
pub fn as_it_is(_: &mut [u8]) {}

/// Sets the length and the checksum of our own binary files.
pub fn framed(bytes: &mut [u8]) {
    const HEADER: usize = 24;
    const CHECKSUM: usize = 4;
    if bytes.len() < HEADER + CHECKSUM {
        return;
    }
    let content = bytes.len() - CHECKSUM;
    bytes[16..HEADER].copy_from_slice(&((content - HEADER) as u64).to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..content]);
    bytes[content..].copy_from_slice(&checksum.to_le_bytes());
}
