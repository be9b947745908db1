//! Requests at a glance: the root of each trace, without what is below it.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    path::Path,
};

use serde::Serialize;

use super::{
    Error, TraceId,
    files::{SpanFile, owner, span_files, unreadable},
    index::{Batch, Root, batches},
    lines::{forward, within},
    otlp::{Spans, trace_ids},
};

/// One request at an edge, as its root tells of it; or what else began a trace.
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
    /// `GET`; empty for what is no HTTP request.
    pub method: String,
    /// What was asked for: `/user/1`. For what is no HTTP request the operation, `user/get`, or the root's name.
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
    fn wants(&self, root: &Root<'_>) -> bool {
        let is_route = |route: &String| root.route == *route || root.path == *route;
        self.since.is_none_or(|since| root.start >= since)
            && self.over.is_none_or(|over| root.duration > over)
            && self.route.as_ref().is_none_or(is_route)
            && (!self.errors || root.error)
    }
}

/// What was found in the span files of a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Requests {
    /// The oldest first.
    pub requests: Vec<Request>,
    /// Counts the lines that could not be read, damaged or half-written, and of which no index tells.
    pub skipped_lines: usize,
}

/// Reads the requests that a filter wants from the span files in `dir`.
///
/// Lines that can't be read are left out, and counted.
///
/// # Errors
///
/// [`Error`] where the directory isn't there or holds nothing, and where a file can't be read.
pub fn requests(dir: &Path, filter: &Filter) -> Result<Requests, Error> {
    let mut files = span_files(dir)?;
    if files.is_empty() {
        return Err(Error::NoSpans { dir: dir.into() });
    }
    files.retain(|file| filter.since.is_none_or(|since| file.may_hold(since)));
    let mut found = Requests::default();
    for file in &files {
        roots_of(file, filter, &mut found).map_err(unreadable(&file.path))?;
    }
    if let Some(service) = &filter.service {
        let took_part = traces_of(&files, service)?;
        (found.requests).retain(|request| took_part.contains(&request.trace_id));
    }
    (found.requests).sort_by_key(|request| (request.start, request.trace_id));
    Ok(found)
}

/// Lists the services that have written spans into `dir`, by name.
///
/// # Errors
///
/// [`Error`] where the directory isn't there or can't be read.
pub fn services(dir: &Path) -> Result<BTreeSet<String>, Error> {
    let files = span_files(dir)?;
    let names = files.iter().map(|file| owner(&file.path).0.to_owned());
    Ok(names.collect())
}

/// Takes the wanted roots of a file from its index, and from the lines that this leaves out.
fn roots_of(file: &SpanFile, filter: &Filter, found: &mut Requests) -> io::Result<()> {
    let left_out = batches(&file.path, file.length, |batch| {
        (found.requests).extend(wanted(&file.path, batch, filter));
    })?;
    for part in left_out {
        within(&file.path, part, |line, _| {
            match roots(&file.path, line, filter) {
                Ok(roots) => found.requests.extend(roots),
                Err(_) => found.skipped_lines += usize::from(!line.is_empty()),
            }
        })?;
    }
    Ok(())
}

/// The traces in which a service took part.
fn traces_of(files: &[SpanFile], service: &str) -> Result<HashSet<TraceId>, Error> {
    let mut traces = HashSet::new();
    for file in files.iter().filter(|file| owner(&file.path).0 == service) {
        forward(&file.path, 0, |line, _| traces.extend(trace_ids(line)))
            .map_err(unreadable(&file.path))?;
    }
    Ok(traces)
}

/// The wanted roots of a batch.
pub(super) fn wanted(
    path: &Path,
    batch: Batch<'_>,
    filter: &Filter,
) -> impl Iterator<Item = Request> {
    let roots = batch.roots.into_iter().filter(|root| filter.wants(root));
    roots.map(|root| Request::of(root, path))
}

/// The wanted roots in a line of a span file.
pub(super) fn roots(path: &Path, line: &[u8], filter: &Filter) -> serde_json::Result<Vec<Request>> {
    let spans = serde_json::from_slice::<Spans>(line)?;
    let spans = spans.into_spans(owner(path), |_| true);
    let roots = spans.iter().filter(|span| span.is_root()).map(Root::of);
    let wanted = roots.filter(|root| filter.wants(root));
    Ok(wanted.map(|root| Request::of(root, path)).collect())
}

impl Request {
    fn of(root: Root<'_>, span_file: &Path) -> Self {
        let (service, instance) = owner(span_file);
        Self {
            trace_id: root.trace_id,
            start: root.start,
            duration: root.duration,
            method: root.method.into_owned(),
            path: root.path.into_owned(),
            route: (!root.route.is_empty()).then(|| root.route.into_owned()),
            status: root.status,
            error: root.error,
            service: service.to_owned(),
            instance: instance.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::fixtures::{GET_USER, REGISTER, append, get_user, ids, register, write};

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
        let found = |filter: &Filter| ids(&requests(dir.path(), filter).unwrap().requests);
        let all = requests(dir.path(), &Filter::default()).unwrap();
        assert_eq!(1, all.skipped_lines);
        let all = all.requests;
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
}
