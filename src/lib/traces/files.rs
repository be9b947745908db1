//! The span files of a directory: one process writes one or more of them, each with an index beside it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Error, index};

/// Extension of the span files.
pub(crate) const EXTENSION: &str = "jsonl";

/// How far clocks may differ, or be set back, in nanoseconds.
pub(super) const CLOCK_SLACK: u64 = 3_000_000_000;

/// A part of one process's spans.
pub(super) struct SpanFile {
    pub(super) path: PathBuf,
    pub(super) length: u64,
    /// When it was written to for the last time, in nanoseconds since 1970.
    pub(super) modified: u64,
}

impl SpanFile {
    /// Tells whether spans that ended at a moment or later may be in it.
    pub(super) fn may_hold(&self, moment: u64) -> bool {
        self.modified >= moment.saturating_sub(CLOCK_SLACK)
    }

    /// Returns from where on such spans may be in it, if they may.
    pub(super) fn position_at(&self, moment: u64) -> Result<Option<u64>, Error> {
        if !self.may_hold(moment) {
            return Ok(None);
        }
        let moment = moment.saturating_sub(CLOCK_SLACK);
        let position = index::position_at(&self.path, self.length, moment);
        position.map(Some).map_err(unreadable(&self.path))
    }
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Unreadable {
        path: path.into(),
        source,
    }
}

/// Reads service and instance from a file's name: `user-service-k3x9q0v7ab.jsonl`, `user-service-k3x9q0v7ab.2.jsonl`.
pub(crate) fn owner(path: &Path) -> (&str, Option<&str>) {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or("unknown");
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    let parts = stem.rsplit_once('-');
    parts.map_or((stem, None), |(service, instance)| {
        (service, Some(instance))
    })
}

/// Lists the files that hold anything, in the order of their names.
pub(super) fn span_files(dir: &Path) -> Result<Vec<SpanFile>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NoDirectory { dir: dir.into() });
        }
        Err(error) => return Err(unreadable(dir)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable(dir))?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != EXTENSION)
        {
            continue;
        }
        // A file that went away since it was listed is none.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_file() && metadata.len() > 0 {
            files.push(SpanFile {
                path,
                length: metadata.len(),
                modified: metadata.modified().map_or(0, nanos),
            });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// A moment in nanoseconds since 1970.
pub(crate) fn nanos(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
