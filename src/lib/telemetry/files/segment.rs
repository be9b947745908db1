//! One span file and the index beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::traces::{
    files::nanos,
    index::{self, Batch, Root},
};

/// A file that is made when it is first written to, and anew where it has gone.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    spans: File,
    /// A help that may be missing.
    index: Option<File>,
    /// Where its last line ends.
    length: u64,
}

impl Segment {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    /// Tells whether some bytes more leave it within a share; an empty one takes a line of any length.
    pub(super) fn has_room_for(&self, bytes: usize, share: u64) -> bool {
        let length = self.open.as_ref().map_or(0, |open| open.length);
        length == 0 || length + bytes as u64 <= share
    }

    /// Tells whether its file is there: somebody may have cleaned up, or put another in its place.
    pub(super) fn is_in_place(&self) -> bool {
        let identity = |file: &fs::Metadata| (file.dev(), file.ino());
        let Some(Ok(open)) = self.open.as_ref().map(|open| open.spans.metadata()) else {
            return false;
        };
        fs::metadata(&self.path).is_ok_and(|there| identity(&there) == identity(&open))
    }

    /// Writes a line, and where it is. What was written of one that failed is taken back.
    pub(super) fn append(&mut self, line: &[u8], roots: Vec<Root<'static>>) -> io::Result<()> {
        if !self.is_in_place() {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(Open::create(&self.path)?),
        };
        let offset = open.begin()?;
        append_whole(&mut open.spans, offset, line)?;
        let length = line.len() as u64;
        open.length = offset + length;
        let batch = Batch {
            written: nanos(SystemTime::now()),
            offset,
            length,
            roots,
        };
        // What the index leaves out is looked for in the spans.
        let _ = open.note(&batch);
        Ok(())
    }
}

impl Open {
    fn create(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        // First, so that no reader takes the spans for some without an index; and empty, where its spans have gone.
        let index = open(&path.with_extension(index::EXTENSION));
        let index = index.and_then(|index| index.set_len(0).map(|()| index));
        Ok(Self {
            spans: open(path)?,
            index: index.ok(),
            length: 0,
        })
    }

    /// Returns where the next line begins. Where that is not the end of the last one, somebody has cut the file, or added
    /// to it: half a line may be there, and the index tells of what is there no more.
    fn begin(&mut self) -> io::Result<u64> {
        let end = self.spans.metadata()?.len();
        if end == self.length {
            return Ok(end);
        }
        if let Some(index) = &self.index {
            let _ = index.set_len(0);
        }
        if end == 0 {
            return Ok(end);
        }
        append_whole(&mut self.spans, end, b"\n")?;
        Ok(end + 1)
    }

    fn note(&mut self, batch: &Batch<'_>) -> io::Result<()> {
        let Some(index) = &mut self.index else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(batch)?;
        line.push(b'\n');
        let offset = index.metadata()?.len();
        append_whole(index, offset, &line)
    }
}

/// Opens a file to write at its end, wherever that is after a failure.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Writes at the end, at once, so that other processes read whole lines; or nothing.
fn append_whole(file: &mut File, length: u64, line: &[u8]) -> io::Result<()> {
    file.write_all(line).inspect_err(|_| {
        let _ = file.set_len(length);
    })
}
