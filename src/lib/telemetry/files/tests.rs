//! What is written is found again, also when files come and go.

use std::{
    borrow::Cow,
    fs,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceFlags, TraceId, TraceState},
};

use super::*;
use crate::{
    Service,
    telemetry::names,
    traces::{Filter, Selector, Tail, read, requests},
};

fn span(trace: u128, name: &'static str, parent: u64) -> SpanData {
    let ended = SystemTime::now();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from(trace),
            SpanId::from(parent + 1),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: SpanId::from(parent),
        parent_span_is_remote: false,
        span_kind: SpanKind::Server,
        name: Cow::Borrowed(name),
        start_time: ended - Duration::from_millis(7),
        end_time: ended,
        attributes: vec![
            KeyValue::new(names::URL_PATH, format!("/user/{trace}")),
            KeyValue::new(names::HTTP_REQUEST_METHOD, "GET"),
            KeyValue::new(names::HTTP_ROUTE, "/user/{user_id}"),
            KeyValue::new(names::HTTP_RESPONSE_STATUS_CODE, 503_i64),
            KeyValue::new("odd", f64::NAN),
        ],
        dropped_attributes_count: 0,
        events: Default::default(),
        links: Default::default(),
        status: SpanStatus::error("unavailable"),
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn files(dir: &Path, max_bytes: u64) -> SpanFiles {
    let config = Config {
        spans_max_bytes: max_bytes,
        ..Config::default()
    };
    let instance = Instance::new(Service::new("gateway"));
    let mut files = SpanFiles::new(dir, &config, &instance, &Resource::builder_empty().build());
    files.max_bytes = max_bytes;
    files
}

fn request(trace: u128) -> Vec<SpanData> {
    let inner = span(trace, "replica_handle_request", 1);
    vec![inner, span(trace, names::PROXY_HTTP_REQUEST, 0)]
}

fn paths(dir: &Path) -> Vec<String> {
    let found = requests(dir, &Filter::default()).unwrap();
    found
        .requests
        .into_iter()
        .map(|request| request.path)
        .collect()
}

/// What all files have together.
fn bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap();
    files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum()
}

#[test]
fn a_request_is_listed_as_it_was_recorded_with_the_index_and_without() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    files(dir, 1 << 20).write(&request(1));
    let indexed = requests(dir, &Filter::default()).unwrap();
    assert_eq!(1, indexed.requests.len());
    let index = fs::read_dir(dir).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.extension()
            .is_some_and(|extension| extension == "index")
            .then_some(path)
    });
    fs::remove_file(index.expect("an index")).unwrap();
    assert_eq!(indexed, requests(dir, &Filter::default()).unwrap());
    let one = &indexed.requests[0];
    assert_eq!(("GET", "/user/1"), (one.method.as_str(), one.path.as_str()));
    assert_eq!(Some("/user/{user_id}"), one.route.as_deref());
    assert_eq!(
        (Some(503), true, "gateway"),
        (one.status, one.error, one.service.as_str())
    );
    assert_eq!(7_000_000, one.duration);
}

#[test]
fn the_files_of_all_stay_within_their_bytes_and_the_last_traces_are_whole() {
    const MAX: u64 = 64 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut processes = [files(dir, MAX), files(dir, MAX), files(dir, MAX)];
    let mut tail = Tail::new(dir).unwrap();
    for trace in 1..=300 {
        for (nth, process) in processes.iter_mut().enumerate() {
            process.write(&request(trace * 3 + nth as u128));
        }
        let bytes = bytes(dir);
        assert!(bytes <= MAX, "{bytes} bytes after {trace}");
        assert_eq!(3, tail.next(&Filter::default()).unwrap().len(), "{trace}");
    }
    let last = read(dir, &Selector::Last).unwrap();
    assert_eq!(
        (902, 2),
        (
            u128::from_str_radix(&last.id().to_string(), 16).unwrap(),
            last.rows().len()
        )
    );
    let left = paths(dir);
    assert!(left.len() > 10 && left.len() < 100, "{}", left.len());
    for path in left {
        let id = path.trim_start_matches("/user/").parse::<u128>().unwrap();
        let trace = read(dir, &format!("{id:032x}").parse().unwrap()).unwrap();
        assert_eq!(2, trace.rows().len(), "{id}");
    }
}

#[test]
fn the_files_of_all_stay_within_their_bytes_also_where_some_come_later() {
    const MAX: u64 = 64 * 1024;
    // However far the first one has come with its file by then, and comes before the others write on.
    for (before, since) in (0..5).flat_map(|before| (4..8).map(move |since| (before, since))) {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let write = |process: &mut SpanFiles, requests: u128| {
            for nth in 0..requests {
                process.write(&request(nth + 1));
                let bytes = bytes(dir);
                assert!(
                    bytes <= MAX,
                    "{bytes} bytes, {before} before, {since} since"
                );
            }
        };
        let mut first = files(dir, MAX);
        write(&mut first, 40 + before);
        let mut others = [files(dir, MAX), files(dir, MAX), files(dir, MAX)];
        others.iter_mut().for_each(|process| write(process, 1));
        write(&mut first, since);
        others.iter_mut().for_each(|process| write(process, 4));
    }
}

#[test]
fn a_file_that_was_cut_costs_what_was_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut files = files(dir, 1 << 20);
    files.write(&request(1));
    files.write(&request(2));
    let path = path(dir, &files.stem, 0);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 10).unwrap();
    files.write(&request(3));
    assert_eq!(vec!["/user/1", "/user/3"], paths(dir));
    file.set_len(0).unwrap();
    files.write(&request(4));
    files.write(&request(5));
    assert_eq!(vec!["/user/4", "/user/5"], paths(dir));
    let index = fs::read(path.with_extension("index")).unwrap();
    assert_eq!(2, index.iter().filter(|byte| **byte == b'\n').count());
    assert!(index.starts_with(b"{"));
}

#[test]
fn a_file_that_was_removed_or_replaced_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut files = files(dir, 1 << 20);
    files.write(&request(1));
    let path = path(dir, &files.stem, 0);
    fs::remove_file(&path).unwrap();
    files.write(&request(2));
    assert_eq!(vec!["/user/2"], paths(dir));
    // Another file of the same name is not ours to know, and is appended to.
    let copy = dir.join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(copy, &path).unwrap();
    files.write(&request(3));
    assert_eq!(vec!["/user/2", "/user/3"], paths(dir));
    fs::remove_dir_all(dir).unwrap();
    files.write(&request(4));
    assert_eq!(vec!["/user/4"], paths(dir));
}

#[test]
fn a_full_disk_costs_what_is_written_then_and_no_line_later() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut files = files(dir, 1 << 20);
    files.write(&request(1));
    let path = path(dir, &files.stem, 0);
    let aside = dir.join("aside");
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let before = crate::telemetry::counters::read().files;
    files.write(&request(2));
    fs::rename(&aside, &path).unwrap();
    files.write(&request(3));
    let after = crate::telemetry::counters::read().files;
    assert!(after.dropped >= before.dropped + 2);
    let mut left = paths(dir);
    left.sort();
    assert_eq!(vec!["/user/1", "/user/3"], left);
}
