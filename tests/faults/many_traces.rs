//! A hundred thousand traces on disk: the last, the slow and the failed ones are found at once.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    bench::turn,
    settings::figure,
    stopwatch::percentile,
    support::{Stack, process::run},
};

const TRACES: usize = 100_000;
/// Real ones, of which the others are copies at other times.
const REAL: usize = 100;
const COPIES: usize = TRACES / REAL;
/// Time between a copy and the next, in nanoseconds.
const PERIOD: u64 = 1_000_000_000;
/// How large a file of 2 GiB for four processes may become.
const FILE: u64 = 128 << 20;
/// Ten times what is promised, for the machine is shared.
const SLACK: u32 = 10;

#[tokio::test]
async fn of_a_hundred_thousand_traces_the_last_the_slow_and_the_failed_are_found_at_once() {
    let _turn = turn().await;
    let mut stack = Stack::start().await;
    for nth in 0..REAL - 1 {
        let _ = stack.get(&format!("/user/{}", nth % 3)).await;
    }
    stack.leave("user-service").await;
    let failed = stack.get("/user/1").await;
    failed.problem(503);
    stack.trace(&failed, 3).await;
    for service in ["gateway", "database-service", "notification-service"] {
        stack.leave(service).await;
    }
    let folder = tempfile::tempdir().unwrap();
    multiply(&stack.spans(), &folder.path().join("spans"));

    let ask = |arguments: &[&str]| {
        let spans = folder.path().join("spans");
        let arguments = [&["trace"], arguments, &["--json"]].concat();
        let mut times = Vec::new();
        let mut said = String::new();
        for _ in 0..9 {
            let began = Instant::now();
            let (good, text) = run(
                folder.path(),
                &arguments,
                &[("SPANS_DIR", spans.to_str().unwrap())],
            );
            times.push(began.elapsed());
            assert!(good, "{text}");
            said = text;
        }
        let median = percentile(times, 50);
        figure(
            &format!("`{}` of {TRACES} traces", arguments.join(" ")),
            format!("{median:.0?}"),
        );
        (said, median)
    };
    let (last, took) = ask(&["last"]);
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(true, last["complete"], "{last}");
    assert_eq!(
        original(&failed.trace_id()),
        original(last["trace_id"].as_str().unwrap())
    );
    assert!(took < Duration::from_millis(100) * SLACK, "{took:?}");

    let (errors, took) = ask(&["errors", "--limit", "1000000"]);
    assert_eq!(COPIES, errors.lines().count());
    assert!(took < Duration::from_secs(1) * SLACK, "{took:?}");
    let (slow, took) = ask(&["slow", "--limit", "1000000"]);
    let slow: Vec<u64> = (slow.lines())
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["duration_nano"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(TRACES, slow.len());
    assert!(slow.is_sorted_by(|one, other| one >= other));
    assert!(took < Duration::from_secs(1) * SLACK, "{took:?}");
    ask(&["slow"]);
    ask(&["errors"]);
    ask(&["list", "--service", "database-service"]);
    let old = format!("{:08x}{}", COPIES / 2, &original(&failed.trace_id())[..12]);
    let (old, _) = ask(&[&old]);
    let old: Value = serde_json::from_str(&old).unwrap();
    assert_eq!(true, old["complete"], "{old}");
    let (one, _) = ask(&[last["trace_id"].as_str().unwrap()]);
    assert_eq!(last, serde_json::from_str::<Value>(&one).unwrap());
}

/// What the id of a copy has in common with that of its original.
fn original(trace_id: &str) -> &str {
    &trace_id[8..]
}

/// Writes each file many times over, as if the same had happened each second until now.
fn multiply(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            let spans = fs::read_to_string(&path).unwrap();
            let index = fs::read_to_string(path.with_extension("index")).unwrap();
            let lines: Vec<Value> = index
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            copy(&spans, &lines, to, stem);
        }
    }
}

fn copy(spans: &str, index: &[Value], to: &Path, stem: &str) {
    let lines: Vec<Template> = spans.lines().map(Template::of).collect();
    assert_eq!(lines.len(), index.len());
    let mut copy = 0;
    for number in 0.. {
        if copy == COPIES {
            return;
        }
        let path = to.join(format!("{stem}.{number}.jsonl"));
        let mut spans = BufWriter::new(File::create(&path).unwrap());
        let mut indexed = BufWriter::new(File::create(path.with_extension("index")).unwrap());
        let (mut offset, mut written) = (0, 0);
        while copy < COPIES && offset < FILE {
            let earlier = (COPIES - 1 - copy) as u64 * PERIOD;
            for (line, batch) in lines.iter().zip(index) {
                let line = line.at(copy, earlier);
                let mut batch = batch.clone();
                written = batch["written"].as_u64().unwrap() - earlier;
                batch["written"] = written.into();
                batch["offset"] = offset.into();
                batch["length"] = (line.len() as u64).into();
                for root in batch["roots"].as_array_mut().unwrap() {
                    root["start"] = (root["start"].as_u64().unwrap() - earlier).into();
                    root["trace_id"] = (format!("{copy:08x}")
                        + original(root["trace_id"].as_str().unwrap()))
                    .into();
                }
                spans.write_all(line.as_bytes()).unwrap();
                writeln!(indexed, "{batch}").unwrap();
                offset += line.len() as u64;
            }
            copy += 1;
        }
        indexed.into_inner().unwrap();
        let spans = spans.into_inner().unwrap();
        spans
            .set_modified(UNIX_EPOCH + Duration::from_nanos(written))
            .unwrap();
        assert!(UNIX_EPOCH + Duration::from_nanos(written) < SystemTime::now());
    }
}

/// A line, cut at what differs from copy to copy.
struct Template(Vec<Part>);

enum Part {
    Text(String),
    TraceId,
    Moment(u64),
}

impl Template {
    fn of(line: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut pieces = line.split('"');
        let mut before = ["", ""];
        text.push_str(pieces.next().unwrap());
        for piece in pieces {
            text.push('"');
            let moment = before[0]
                .ends_with("imeUnixNano")
                .then(|| piece.parse().ok())
                .flatten();
            if before[0] == "traceId" && piece.len() == 32 {
                parts.extend([Part::Text(std::mem::take(&mut text)), Part::TraceId]);
                text.push_str(original(piece));
            } else if let Some(moment) = moment {
                parts.extend([Part::Text(std::mem::take(&mut text)), Part::Moment(moment)]);
            } else {
                text.push_str(piece);
            }
            before = [before[1], piece];
        }
        text.push('\n');
        parts.push(Part::Text(text));
        Self(parts)
    }

    fn at(&self, copy: usize, earlier: u64) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::TraceId => format!("{copy:08x}"),
            Part::Moment(moment) => (moment - earlier).to_string(),
        });
        parts.collect()
    }
}
