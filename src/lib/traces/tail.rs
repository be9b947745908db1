//! Requests as they are written: the index of each span file, read on from where it ended.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    Error, Filter, Request, TraceId,
    files::{SpanFile, owner, span_files, unreadable},
    index::{self, Batch},
    otlp::trace_ids,
    requests::{roots, wanted},
};

/// Looks for which it is remembered who took part in a trace.
const REMEMBERED: usize = 64;

/// Reads on in span files that grow.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    /// The traces of one service, of the last looks; and how far each file of its was read for that.
    service: Option<String>,
    took_part: VecDeque<HashSet<TraceId>>,
    of_service: BTreeMap<PathBuf, Position>,
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
        Self::begin(span_file).at_end()
    }

    /// The same in the span file itself.
    fn in_spans(span_file: &Path) -> Self {
        Self {
            file: span_file.into(),
            bytes: 0,
        }
    }

    fn at_end(self) -> Self {
        let bytes = fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
        Self { bytes, ..self }
    }
}

impl Tail {
    /// Begins at the end of what is there now.
    ///
    /// # Errors
    ///
    /// [`Error`] where the directory can't be read; one that isn't there yet is none.
    pub fn new(dir: &Path) -> Result<Self, Error> {
        Self::of(dir, None)
    }

    /// The same, and remembers in which traces a service takes part.
    ///
    /// # Errors
    ///
    /// As [`Tail::new`].
    pub fn of(dir: &Path, service: Option<&str>) -> Result<Self, Error> {
        let (mut read, mut of_service) = (BTreeMap::new(), BTreeMap::new());
        for SpanFile { path, .. } in files_if_any(dir)? {
            if Some(owner(&path).0) == service {
                of_service.insert(path.clone(), Position::in_spans(&path).at_end());
            }
            let end = Position::end(&path);
            read.insert(path, end);
        }
        Ok(Self {
            dir: dir.into(),
            service: service.map(str::to_owned),
            took_part: VecDeque::new(),
            of_service,
            read,
        })
    }

    /// Tells whether the service took part in a trace, as far as was written by the last look. It is remembered for
    /// some sixty looks.
    #[must_use]
    pub fn took_part(&self, trace: TraceId) -> bool {
        self.took_part.iter().any(|look| look.contains(&trace))
    }

    fn look_at_service(&mut self, files: &[SpanFile]) -> Result<(), Error> {
        let mut traces = HashSet::new();
        let own = |file: &&SpanFile| Some(owner(&file.path).0) == self.service.as_deref();
        for SpanFile { path, .. } in files.iter().filter(own) {
            let position = self.of_service.entry(path.clone());
            let position = position.or_insert_with(|| Position::in_spans(path));
            for line in lines_since(position).map_err(unreadable(path))? {
                traces.extend(trace_ids(&line));
            }
        }
        self.took_part.push_back(traces);
        if self.took_part.len() > REMEMBERED {
            self.took_part.pop_front();
        }
        Ok(())
    }

    /// Returns the wanted requests that were written since the last time, the oldest first. A service is not looked at:
    /// others may not have written their part yet.
    ///
    /// # Errors
    ///
    /// [`Error`] where a file can't be read.
    pub fn next(&mut self, filter: &Filter) -> Result<Vec<Request>, Error> {
        let files = files_if_any(&self.dir)?;
        if self.service.is_some() {
            self.look_at_service(&files)?;
        }
        let (mut found, mut read) = (Vec::new(), BTreeMap::new());
        for SpanFile { path, .. } in files {
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
                    // What is damaged was never told of.
                    Err(_) => found.extend(roots(&path, &line, filter).into_iter().flatten()),
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
