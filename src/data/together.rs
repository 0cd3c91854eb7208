//! Several files that appear together: all of them or, where one is refused, what was there before.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use super::storage::file_error;
use super::write::{AtomicFile, existing_target, folder_of, sync_folder};
use crate::error::Result;

/// A file on its way to its name.
struct Arriving {
    file: NamedTempFile,
    target: std::path::PathBuf,
    /// What was there before, under another name; it goes with this value.
    before: Option<NamedTempFile<()>>,
}

/// Gives all files their names, as the last step: first each is written to the disk, each name is looked at, and what is
/// there is kept under another name. Where a rename is refused those before it are taken back.
///
/// # Errors
/// [`Error::File`](crate::Error::File) if the disk is full or a rename is refused,
/// [`Error::Format`](crate::Error::Format) if something that is no file has taken a name meanwhile. Everything is then as
/// it was.
pub(crate) fn commit_all(files: Vec<AtomicFile>) -> Result<()> {
    let several = files.len() > 1;
    let mut arriving = Vec::with_capacity(files.len());
    for file in files {
        let (file, target) = file.onto_disk()?;
        arriving.push(Arriving { file, target, before: None });
    }
    for one in &mut arriving {
        let is_there = existing_target(&one.target)?.is_some();
        // One file alone takes its place at once.
        if several && is_there {
            one.before = Some(kept(&one.target)?);
        }
    }
    let mut placed = Vec::with_capacity(arriving.len());
    for Arriving { file, target, before } in arriving {
        if let Err(error) = file.persist(&target) {
            take_back(placed);
            return Err(file_error(&target, "renaming", error.error));
        }
        placed.push((target, before));
    }
    placed.iter().for_each(|(target, _)| sync_folder(target));
    Ok(())
}

/// A file under a second name beside its own.
fn kept(target: &Path) -> Result<NamedTempFile<()>> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".before").suffix(".partial");
    let folder = folder_of(target);
    let linked = builder.make_in(folder, |path| fs::hard_link(target, path));
    // Where a file cannot have two names it is copied.
    let kept = linked.or_else(|_| builder.make_in(folder, |path| copy(target, path)));
    kept.map_err(|source| file_error(target, "keeping what is there", source))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map(drop)
}

/// Puts back what was there, the last first. What cannot be put back keeps its other name.
fn take_back(placed: Vec<(std::path::PathBuf, Option<NamedTempFile<()>>)>) {
    for (target, before) in placed.into_iter().rev() {
        match before {
            Some(before) => {
                if let Err(error) = before.persist(&target) {
                    let _kept = error.file.keep();
                }
            }
            None => {
                let _removed = fs::remove_file(&target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn written(path: &Path, text: &str) -> AtomicFile {
        let mut file = AtomicFile::create(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_appear_or_none_and_what_was_there_stays() {
        for victim in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
            fs::write(&paths[0], "old").unwrap();
            let files = paths.iter().map(|path| written(path, "new")).collect();
            if victim == 0 {
                fs::remove_file(&paths[0]).unwrap();
            }
            fs::create_dir(&paths[victim]).unwrap();
            let error = commit_all(files).unwrap_err().to_string();
            assert!(error.contains("a folder"), "{error}");
            let old = if victim == 0 {
                vec!["a".to_owned()]
            } else {
                vec!["a".into(), ["b", "c"][victim - 1].into()]
            };
            assert_eq!(names(folder.path()), old);
            assert!(victim == 0 || fs::read_to_string(&paths[0]).unwrap() == "old");
        }
    }

    #[test]
    fn a_refused_rename_takes_the_others_back() {
        let folder = tempfile::tempdir().unwrap();
        let [old, fresh, last] = ["old", "fresh", "last"].map(|name| folder.path().join(name));
        fs::write(&old, "before").unwrap();
        let lost = folder.path().join("lost");
        fs::create_dir(&lost).unwrap();
        let (gone, target) = written(&lost.join("last"), "new").onto_disk().unwrap();
        let placed: Vec<_> = [&old, &fresh]
            .into_iter()
            .map(|path| {
                let before = path.exists().then(|| kept(path).unwrap());
                let (file, target) = written(path, "new").onto_disk().unwrap();
                file.persist(&target).unwrap();
                (target, before)
            })
            .collect();
        assert_eq!(fs::read_to_string(&old).unwrap(), "new");
        fs::remove_dir_all(&lost).unwrap();
        assert!(gone.persist(&target).is_err() && !last.exists());
        take_back(placed);
        assert_eq!(
            (names(folder.path()), fs::read_to_string(&old).unwrap()),
            (vec!["old".into()], "before".into())
        );
    }

    #[test]
    fn files_without_a_second_name_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, "text").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "text");
    }

    #[test]
    fn what_is_replaced_is_gone_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&paths[1], "old").unwrap();
        commit_all(paths.iter().map(|path| written(path, "new")).collect()).unwrap();
        assert_eq!(names(folder.path()), ["a", "b"]);
        assert!(paths.iter().all(|path| fs::read_to_string(path).unwrap() == "new"));
    }
}
