//! Keeps the span files of all processes within what they may have together.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    instance::is_id,
    traces::{
        files::{EXTENSION, nanos, owner},
        index,
    },
};

/// Files that a folder may have: a listing stays quick, also where thousands of short processes have run.
const MAX_FILES: usize = 2_048;

/// A span file with its index.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    process: String,
    bytes: u64,
    modified: u64,
}

/// What there is room for after a sweep.
#[derive(Debug)]
pub(super) struct Swept {
    /// How large a new file may become.
    pub(super) share: u64,
    /// Why not all that is too much has been removed.
    pub(super) failed: Option<io::Error>,
}

/// Removes the oldest files beyond three quarters of the bytes. The last quarter is enough for a new file of each
/// process.
///
/// Only what has a span file's name is counted, and removed: somebody may keep other things there.
pub(super) fn sweep(dir: &Path, max_bytes: u64, own: &str) -> Swept {
    let (mut found, mut failed) = match list(dir) {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let processes: HashSet<&str> = (found.iter().map(|file| file.process.as_str()))
        .chain([own])
        .collect();
    let share = max_bytes / 4 / processes.len() as u64;
    found.sort_by_key(|file| file.modified);
    let mut bytes: u64 = found.iter().map(|file| file.bytes).sum();
    let mut left = found.len();
    for file in found {
        if bytes <= max_bytes / 4 * 3 && left < MAX_FILES {
            break;
        }
        // What can't be removed, somebody else's for example, is no reason to keep the others.
        match remove(&file.path) {
            Ok(()) => {
                bytes -= file.bytes;
                left -= 1;
            }
            Err(error) => failed = Some(error),
        }
    }
    Swept { share, failed }
}

fn list(dir: &Path) -> io::Result<Vec<Found>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let (service, Some(instance)) = owner(&path) else {
            continue;
        };
        if !is_id(instance)
            || path
                .extension()
                .is_none_or(|extension| extension != EXTENSION)
        {
            continue;
        }
        // One that another process has removed meanwhile is none.
        let Ok(spans) = fs::metadata(&path) else {
            continue;
        };
        let index = fs::metadata(path.with_extension(index::EXTENSION));
        found.push(Found {
            process: format!("{service}-{instance}"),
            bytes: spans.len() + index.map_or(0, |index| index.len()),
            modified: spans.modified().map_or(0, nanos),
            path,
        });
    }
    Ok(found)
}

fn remove(path: &Path) -> io::Result<()> {
    for path in [path, &path.with_extension(index::EXTENSION)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, bytes: usize, age: u64) {
        let path = dir.join(name);
        fs::write(&path, vec![b' '; bytes]).unwrap();
        let modified = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn share(dir: &Path, own: &str) -> u64 {
        let swept = sweep(dir, 1_000, own);
        assert!(swept.failed.is_none(), "{swept:?}");
        swept.share
    }

    #[test]
    fn the_oldest_go_with_their_indexes_until_there_is_room_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, "gateway-aaaaaaaaaa.jsonl", 400, 50);
        write(dir, "gateway-aaaaaaaaaa.index", 100, 50);
        write(dir, "gateway-aaaaaaaaaa.1.jsonl", 300, 40);
        write(dir, "user-service-bbbbbbbbbb.jsonl", 300, 60);
        write(dir, "user-service-bbbbbbbbbb.1.jsonl", 200, 30);
        // Somebody else's.
        write(dir, "notes.jsonl", 5_000, 99);
        write(dir, "gateway-of-mine.jsonl", 5_000, 99);
        // 800 and more are too many for 750.
        assert_eq!(125, share(dir, "gateway-aaaaaaaaaa"));
        let left = [
            "gateway-aaaaaaaaaa.1.jsonl",
            "gateway-of-mine.jsonl",
            "notes.jsonl",
            "user-service-bbbbbbbbbb.1.jsonl",
        ];
        assert_eq!(left.as_slice(), names(dir));
        // A process that has none yet needs room as well.
        assert_eq!(83, share(dir, "gateway-cccccccccc"));
        assert_eq!(4, names(dir).len());
    }

    #[test]
    fn there_are_not_too_many_files() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_FILES + 10 {
            fs::write(dir.path().join(format!("a-aaaaaaaaaa.{number}.jsonl")), "").unwrap();
        }
        share(dir.path(), "a-aaaaaaaaaa");
        assert_eq!(MAX_FILES - 1, names(dir.path()).len());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_files() {
        let none = Path::new("/nonexistent/spans");
        assert_eq!(250, share(none, "a-aaaaaaaaaa"));
    }

    #[test]
    fn what_cannot_be_removed_keeps_no_other_file_and_takes_nobodys_share() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        // A folder is not removed like a file; permissions would not stop everybody.
        fs::create_dir(dir.join("gateway-aaaaaaaaaa.jsonl")).unwrap();
        write(dir, "gateway-bbbbbbbbbb.jsonl", 400, 0);
        write(dir, "gateway-bbbbbbbbbb.1.jsonl", 500, 0);
        let swept = sweep(dir, 1_000, "gateway-bbbbbbbbbb");
        assert!(swept.failed.is_some());
        assert_eq!(125, swept.share);
        assert_eq!(["gateway-aaaaaaaaaa.jsonl"].as_slice(), names(dir));
    }
}
