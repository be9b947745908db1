//! Requests as they are written: the index of each span file, read on from where it ended.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    Error, Filter, Request,
    files::{SpanFile, span_files, unreadable},
    index::{self, Batch},
    requests::{roots, wanted},
};

/// Reads on in span files that grow.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    /// How far each span file has been told of.
    read: BTreeMap<PathBuf, Position>,
}

/// A place in the file that tells of new requests: the index, where there is one.
#[derive(Debug)]
struct Position {
    file: PathBuf,
    bytes: u64,
}

impl Position {
    fn begin(span_file: &Path) -> Self {
        let index = span_file.with_extension(index::EXTENSION);
        let has_index = index.exists();
        Self {
            file: if has_index { index } else { span_file.into() },
            bytes: 0,
        }
    }

    fn end(span_file: &Path) -> Self {
        let begin = Self::begin(span_file);
        let bytes = fs::metadata(&begin.file).map_or(0, |metadata| metadata.len());
        Self { bytes, ..begin }
    }
}

impl Tail {
    /// Begins at the end of what is there now.
    ///
    /// # Errors
    ///
    /// [`Error`] where the directory can't be read; one that isn't there yet is none.
    pub fn new(dir: &Path) -> Result<Self, Error> {
        let files = files_if_any(dir)?.into_iter();
        let ends = files.map(|file| (Position::end(&file.path), file.path));
        Ok(Self {
            dir: dir.into(),
            read: ends.map(|(end, path)| (path, end)).collect(),
        })
    }

    /// Returns the wanted requests that were written since the last time, the oldest first. A service is not looked at:
    /// others may not have written their part yet.
    ///
    /// # Errors
    ///
    /// [`Error`] where a file can't be read.
    pub fn next(&mut self, filter: &Filter) -> Result<Vec<Request>, Error> {
        let (mut found, mut read) = (Vec::new(), BTreeMap::new());
        for SpanFile { path, .. } in files_if_any(&self.dir)? {
            let mut position = match self.read.remove(&path) {
                None => Position::begin(&path),
                Some(known) if known.file.exists() => known,
                // Somebody has removed the index, of which all was told.
                Some(_) => Position::end(&path),
            };
            let lines = lines_since(&mut position).map_err(unreadable(&path))?;
            for line in lines {
                match serde_json::from_slice::<Batch<'_>>(&line) {
                    Ok(batch) => found.extend(wanted(&path, batch, filter)),
                    Err(_) => found.extend(roots(&path, &line, filter)),
                }
            }
            read.insert(path, position);
        }
        // What is no longer there is forgotten.
        self.read = read;
        found.sort_by_key(|request| (request.start, request.trace_id));
        Ok(found)
    }
}

fn files_if_any(dir: &Path) -> Result<Vec<SpanFile>, Error> {
    match span_files(dir) {
        Err(Error::NoDirectory { .. }) => Ok(Vec::new()),
        files => files,
    }
}

/// Reads the whole lines from a place on, and moves the place behind them. A file that is shorter is another one.
fn lines_since(position: &mut Position) -> io::Result<Vec<Vec<u8>>> {
    let mut file = match File::open(&position.file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    if file.metadata()?.len() < position.bytes {
        position.bytes = 0;
    }
    file.seek(SeekFrom::Start(position.bytes))?;
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let size = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(lines);
        }
        position.bytes += size as u64;
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::fixtures::{
        GET_USER, REGISTER, append, get_user, ids, line, register, write,
    };

    #[test]
    fn what_is_appended_is_told_once_and_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = "gateway-k3x9q0v7ab.jsonl";
        let mut tail = Tail::new(&dir.path().join("later")).unwrap();
        assert!(tail.next(&Filter::default()).unwrap().is_empty());
        write(dir.path(), REGISTER, &register());
        let mut tail = Tail::new(dir.path()).unwrap();
        let (begin, end) = (line(GET_USER, &get_user()[0]), Filter::default());
        append(dir.path(), file, &begin[..40]);
        assert!(tail.next(&end).unwrap().is_empty());
        append(dir.path(), file, &format!("{}\n", &begin[40..]));
        assert_eq!(vec![GET_USER.to_owned()], ids(&tail.next(&end).unwrap()));
        assert!(tail.next(&end).unwrap().is_empty());
        // Somebody has cleaned up, and the process has begun anew.
        std::fs::remove_file(dir.path().join(file)).unwrap();
        append(dir.path(), file, &format!("{begin}\n"));
        assert_eq!(1, tail.next(&end).unwrap().len());
    }
}
