//! Lines of a span file, from either end, while its process goes on writing or it is deleted.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom},
    ops::{ControlFlow, Range},
    path::Path,
};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Opens a file; one that was deleted since the directory was listed has no lines.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Visits every line from a position on, without its newline; `false` marks a last line that has none.
pub(super) fn forward(path: &Path, from: u64, visit: impl FnMut(&[u8], bool)) -> io::Result<()> {
    within(path, from..u64::MAX, visit)
}

/// Visits the lines of a part of a file.
pub(super) fn within(
    path: &Path,
    part: Range<u64>,
    mut visit: impl FnMut(&[u8], bool),
) -> io::Result<()> {
    let Some(mut file) = open(path)? else {
        return Ok(());
    };
    file.seek(SeekFrom::Start(part.start))?;
    let part = file.take(part.end.saturating_sub(part.start));
    let mut reader = BufReader::with_capacity(CHUNK, part);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        match line.strip_suffix(b"\n") {
            Some(line) => visit(line, true),
            None => visit(&line, false),
        }
        line.clear();
    }
    Ok(())
}

/// Visits the lines from the last to the first until the visitor breaks.
pub(super) fn backward(path: &Path, visit: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    backward_by(CHUNK, path, visit)
}

fn backward_by(
    chunk: usize,
    path: &Path,
    mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let Some(mut file) = open(path)? else {
        return Ok(());
    };
    let mut end = file.seek(SeekFrom::End(0))?;
    // Holds the front of the part read so far: a line whose beginning wasn't read yet.
    let mut rest = Vec::new();
    while end > 0 {
        // At least as much as is held, so that a very long line isn't copied too often.
        let size = end.min(chunk.max(rest.len()) as u64);
        end -= size;
        file.seek(SeekFrom::Start(end))?;
        let mut part = Vec::new();
        (&mut file).take(size).read_to_end(&mut part)?;
        if part.len() as u64 != size {
            // The file was truncated meanwhile, so nothing held fits together.
            return Ok(());
        }
        part.append(&mut rest);
        while let Some(newline) = part.iter().rposition(|byte| *byte == b'\n') {
            if visit(&part[newline + 1..]).is_break() {
                return Ok(());
            }
            part.truncate(newline);
        }
        rest = part;
    }
    let _: ControlFlow<()> = visit(&rest);
    Ok(())
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    fn write(content: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jsonl");
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn both_directions_see_the_same_lines_at_every_chunk_size() {
        for content in [
            "",
            "\n",
            "a",
            "a\nbb\n\nccccccccccc\ndd",
            "one\ntwo\n",
            "\nx\n",
        ] {
            let (_dir, path) = write(content);
            let mut forth = Vec::new();
            forward(&path, 0, |line, _| forth.push(line.to_vec())).unwrap();
            for chunk in 1..16 {
                let mut back = Vec::new();
                backward_by(chunk, &path, |line| {
                    back.push(line.to_vec());
                    ControlFlow::Continue(())
                })
                .unwrap();
                back.reverse();
                // What follows the last newline is one more, empty line from behind.
                if back.last().is_some_and(Vec::is_empty) {
                    back.pop();
                }
                assert_eq!(forth, back, "{content:?} by {chunk}");
            }
        }
    }

    #[test]
    fn only_a_last_line_without_newline_is_unfinished() {
        let (_dir, path) = write("a\nb");
        let mut seen = Vec::new();
        forward(&path, 0, |line, finished| {
            seen.push((line.to_vec(), finished));
        })
        .unwrap();
        assert_eq!(vec![(b"a".to_vec(), true), (b"b".to_vec(), false)], seen);
    }

    #[test]
    fn a_deleted_file_has_no_lines() {
        let gone = Path::new("/nonexistent/gone.jsonl");
        forward(gone, 0, |_, _| panic!("no line")).unwrap();
        backward(gone, |_| panic!("no line")).unwrap();
    }
}
