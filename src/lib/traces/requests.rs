//! Requests at a glance: the root of each trace, without what is below it.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{
    Error, Span, TraceId,
    lines::forward,
    otlp::{Endings, Spans},
    read::{owner, span_files, unreadable},
    span::Value,
};
use crate::telemetry::names;

/// One request at an edge, as its root tells of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// The trace that shows it.
    pub trace_id: TraceId,
    /// When it came, in nanoseconds since 1970.
    #[serde(rename = "start_unix_nano")]
    pub start: u64,
    /// How long it took, in nanoseconds.
    #[serde(rename = "duration_nano")]
    pub duration: u64,
    /// `GET`.
    pub method: String,
    /// What was asked for: `/user/1`.
    pub path: String,
    /// The template of that, if there is one: `/user/{user_id}`.
    pub route: Option<String>,
    /// What was answered: 200. `None` if the root does not tell.
    pub status: Option<i64>,
    /// Whether the server's side was at fault.
    pub error: bool,
    /// Who answered: `gateway`.
    pub service: String,
    /// Which process of it.
    pub instance: Option<String>,
}

/// Which requests are wanted; an empty one wants all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those that came at this moment or later, in nanoseconds since 1970.
    pub since: Option<u64>,
    /// Those that took longer, in nanoseconds.
    pub over: Option<u64>,
    /// Those of one route template, or path.
    pub route: Option<String>,
    /// Those in which a service took part.
    pub service: Option<String>,
    /// Those that failed.
    pub errors: bool,
}

impl Filter {
    fn wants(&self, request: &Request) -> bool {
        let is_route =
            |route: &String| request.route.as_ref() == Some(route) || request.path == *route;
        self.since.is_none_or(|since| request.start >= since)
            && self.over.is_none_or(|over| request.duration > over)
            && self.route.as_ref().is_none_or(is_route)
            && (!self.errors || request.error)
    }
}

/// Reads the requests that a filter wants from the span files in `dir`, the oldest first.
///
/// Lines that can't be read are left out.
///
/// # Errors
///
/// [`Error`] where the directory isn't there or holds nothing, and where a file can't be read.
pub fn requests(dir: &Path, filter: &Filter) -> Result<Vec<Request>, Error> {
    let files = span_files(dir)?;
    if files.is_empty() {
        return Err(Error::NoSpans { dir: dir.into() });
    }
    let mut found = Vec::new();
    let mut took_part = HashSet::new();
    for file in &files {
        let (service, _) = owner(&file.path);
        let is_of_service = filter.service.as_deref() == Some(service);
        let read = forward(&file.path, |line, _| {
            found.extend(roots(&file.path, line).filter(|request| filter.wants(request)));
            if is_of_service && let Ok(endings) = serde_json::from_slice::<Endings>(line) {
                took_part.extend(endings.into_endings().map(|ending| ending.trace_id));
            }
        });
        read.map_err(unreadable(&file.path))?;
    }
    if filter.service.is_some() {
        found.retain(|request| took_part.contains(&request.trace_id));
    }
    found.sort_by_key(|request| (request.start, request.trace_id));
    Ok(found)
}

/// Reads on in span files that grow.
#[derive(Debug)]
pub struct Tail {
    dir: PathBuf,
    /// How far each file has been read.
    read: BTreeMap<PathBuf, u64>,
}

impl Tail {
    /// Begins at the end of what is there now.
    ///
    /// # Errors
    ///
    /// [`Error`] where the directory can't be read; one that isn't there yet is none.
    pub fn new(dir: &Path) -> Result<Self, Error> {
        let mut tail = Self {
            dir: dir.into(),
            read: BTreeMap::new(),
        };
        tail.next(&Filter::default())?;
        Ok(tail)
    }

    /// Returns the wanted requests that were written since the last time, the oldest first. A service is not looked at:
    /// others may not have written their part yet.
    ///
    /// # Errors
    ///
    /// [`Error`] where a file can't be read.
    pub fn next(&mut self, filter: &Filter) -> Result<Vec<Request>, Error> {
        let files = match span_files(&self.dir) {
            Err(Error::NoDirectory { .. }) => Vec::new(),
            files => files?,
        };
        let mut found = Vec::new();
        for file in files {
            let read = self.read.entry(file.path.clone()).or_default();
            let lines = lines_since(&file.path, read).map_err(unreadable(&file.path))?;
            for line in lines {
                found.extend(roots(&file.path, &line).filter(|request| filter.wants(request)));
            }
        }
        found.sort_by_key(|request| (request.start, request.trace_id));
        Ok(found)
    }
}

/// Reads the whole lines from a place on, and moves the place behind them. A file that is shorter is another one.
fn lines_since(path: &Path, read: &mut u64) -> io::Result<Vec<Vec<u8>>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    if file.metadata()?.len() < *read {
        *read = 0;
    }
    file.seek(SeekFrom::Start(*read))?;
    let mut reader = BufReader::new(file);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        let size = reader.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok(lines);
        }
        *read += size as u64;
        lines.push(line);
    }
}

/// The requests whose roots are in a line.
fn roots(path: &Path, line: &[u8]) -> impl Iterator<Item = Request> {
    // Parsing is what costs, and most lines have none.
    let may_have =
        std::str::from_utf8(line).is_ok_and(|text| text.contains(names::PROXY_HTTP_REQUEST));
    let spans = may_have
        .then(|| serde_json::from_slice::<Spans>(line).ok())
        .flatten();
    let spans = spans.map_or_else(Vec::new, |spans| spans.into_spans(owner(path), |_| true));
    let roots = spans
        .into_iter()
        .filter(|span| span.name == names::PROXY_HTTP_REQUEST);
    roots.map(Request::of)
}

impl Request {
    fn of(root: Span) -> Self {
        let text = |key: &str| root.text(key).map(str::to_owned);
        Self {
            trace_id: root.trace_id,
            start: root.start,
            duration: root.duration(),
            method: text(names::HTTP_REQUEST_METHOD).unwrap_or_default(),
            path: text(names::URL_PATH).unwrap_or_default(),
            route: text(names::HTTP_ROUTE),
            status: match root.attributes.get(names::HTTP_RESPONSE_STATUS_CODE) {
                Some(Value::Int(status)) => Some(*status),
                _ => None,
            },
            error: root.is_error(),
            service: root.service,
            instance: root.instance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::fixtures::{GET_USER, REGISTER, append, get_user, line, register, write};

    fn ids(requests: &[Request]) -> Vec<String> {
        requests
            .iter()
            .map(|one| one.trace_id.to_string())
            .collect()
    }

    #[test]
    fn requests_are_found_by_what_their_roots_and_services_say() {
        let dir = tempfile::tempdir().unwrap();
        let mut failed = register();
        failed[0].error = Some("");
        write(dir.path(), REGISTER, &failed);
        write(dir.path(), GET_USER, &get_user());
        append(
            dir.path(),
            "gateway-k3x9q0v7ab.jsonl",
            "damaged proxy_http_request\n",
        );
        let found = |filter: &Filter| ids(&requests(dir.path(), filter).unwrap());
        let all = requests(dir.path(), &Filter::default()).unwrap();
        assert_eq!(2, all.len());
        let first = all.iter().find(|one| one.path == "/register").unwrap();
        assert_eq!(
            ("POST", Some(201), true),
            (first.method.as_str(), first.status, first.error)
        );
        assert_eq!(485_200_000, first.duration);
        for (filter, expected) in [
            (
                Filter {
                    errors: true,
                    ..Filter::default()
                },
                REGISTER,
            ),
            (
                Filter {
                    over: Some(100_000_000),
                    ..Filter::default()
                },
                REGISTER,
            ),
            (
                Filter {
                    route: Some("/user/1".to_owned()),
                    ..Filter::default()
                },
                GET_USER,
            ),
            (
                Filter {
                    service: Some("notification-service".to_owned()),
                    ..Filter::default()
                },
                REGISTER,
            ),
        ] {
            assert_eq!(vec![expected.to_owned()], found(&filter), "{filter:?}");
        }
        let none = Filter {
            since: Some(u64::MAX),
            ..Filter::default()
        };
        assert!(found(&none).is_empty());
    }

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
