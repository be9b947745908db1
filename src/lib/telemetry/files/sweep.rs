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

/// Removes the oldest files beyond three quarters of the bytes. Returns how large a new file may become, so that the
/// last quarter is enough for one of each process.
///
/// Only what has a span file's name is counted, and removed: somebody may keep other things there.
pub(super) fn sweep(dir: &Path, max_bytes: u64, own: &str) -> io::Result<u64> {
    let mut found = list(dir)?;
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
        remove(&file.path)?;
        bytes -= file.bytes;
        left -= 1;
    }
    Ok(share)
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
        assert_eq!(125, sweep(dir, 1_000, "gateway-aaaaaaaaaa").unwrap());
        let left = [
            "gateway-aaaaaaaaaa.1.jsonl",
            "gateway-of-mine.jsonl",
            "notes.jsonl",
            "user-service-bbbbbbbbbb.1.jsonl",
        ];
        assert_eq!(left.as_slice(), names(dir));
        // A process that has none yet needs room as well.
        assert_eq!(83, sweep(dir, 1_000, "gateway-cccccccccc").unwrap());
        assert_eq!(4, names(dir).len());
    }

    #[test]
    fn there_are_not_too_many_files() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_FILES + 10 {
            fs::write(dir.path().join(format!("a-aaaaaaaaaa.{number}.jsonl")), "").unwrap();
        }
        sweep(dir.path(), 1_000, "a-aaaaaaaaaa").unwrap();
        assert_eq!(MAX_FILES - 1, names(dir.path()).len());
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_files() {
        let none = Path::new("/nonexistent/spans");
        assert_eq!(250, sweep(none, 1_000, "a-aaaaaaaaaa").unwrap());
    }
}
