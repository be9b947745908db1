//! Span files that come and go within their bytes, and what is damaged: what can be found is found.

use std::{
    collections::HashSet,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, stream};
use pretty_assertions::assert_eq;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Process, Stack, eventually,
    process::run,
    stack::{Reply, SERVICES},
};

/// The least that span files may have.
const MAX: u64 = 16 << 20;
/// Requests that make some 2 MB of spans.
const REQUESTS: usize = 400;
/// Few, for the commands that look on want the processor too.
const CONNECTIONS: usize = 4;

#[test]
fn too_few_bytes_for_span_files_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in ["16777215", "0", "-1", "256MB"] {
        let variables = [("SPANS_MAX_BYTES", bytes)];
        let (good, said) = run(folder.path(), &["gateway"], &variables);
        assert!(!good, "{bytes}: {said}");
        for words in [
            "--spans-max-bytes <BYTES>",
            bytes,
            "16777216 (16 MiB) at least",
        ] {
            assert!(said.contains(words), "{said}");
        }
    }
}

/// What all files of a folder have together; those that go away meanwhile have nothing.
fn bytes(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).unwrap().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

fn paths(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

/// Fills a folder with what earlier processes might have written, up to so many bytes.
fn fill(dir: &Path, bytes_in_all: u64) {
    let models = paths(dir, "jsonl");
    let mut number = 0_u32;
    while bytes(dir) < bytes_in_all {
        number += 1;
        let yesterday = SystemTime::now() - Duration::from_hours(24);
        for model in &models {
            let name = model.file_name().unwrap().to_str().unwrap();
            let (service, _) = name.rsplit_once('-').unwrap();
            let copy = dir.join(format!("{service}-earlier{number:03}.jsonl"));
            for extension in ["jsonl", "index"] {
                let copy = copy.with_extension(extension);
                fs::copy(model.with_extension(extension), &copy).unwrap();
                let copy = OpenOptions::new().write(true).open(copy).unwrap();
                copy.set_modified(yesterday + Duration::from_secs(number.into()))
                    .unwrap();
            }
        }
    }
}

/// Sends many requests, and keeps the ids of those that were answered well; on a machine that is busy otherwise some
/// may be late.
async fn request_many(stack: &Stack, ids: &Mutex<Vec<String>>) {
    let requests = stream::iter(0..REQUESTS).map(|_| async {
        let reply = stack.get("/user/1").await;
        if reply.status == 200 {
            ids.lock().unwrap().push(reply.trace_id());
        }
    });
    requests.buffer_unordered(CONNECTIONS).collect::<()>().await;
}

/// Asks the command, while everything else goes on.
async fn ask(stack: &Stack, arguments: &[&str]) -> String {
    let folder = stack.folder().to_owned();
    let owned: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    let asking = tokio::task::spawn_blocking(move || {
        let arguments: Vec<&str> = owned.iter().map(String::as_str).collect();
        run(&folder, &arguments, &[])
    });
    let (good, said) = asking.await.unwrap();
    assert!(good, "{arguments:?}: {said}");
    said
}

#[tokio::test]
async fn files_come_and_go_within_their_bytes_while_requests_are_looked_at() {
    let variables = [("SPANS_MAX_BYTES", &*MAX.to_string())];
    let mut stack = Stack::with(&variables).await;
    let ids = Mutex::new(Vec::<String>::new());
    for _ in 0..100 {
        assert_eq!(200, stack.get("/user/1").await.status);
    }
    let spans = stack.spans();
    eventually("all spans", async || {
        let listed = ask(&stack, &["trace", "list", "--json", "--limit", "1000"]).await;
        (listed.lines().count() == 100).then_some(())
    })
    .await;
    fill(&spans, MAX / 4 * 3);
    let before: HashSet<PathBuf> = paths(&spans, "jsonl").into_iter().collect();
    let mut follow = Process::start(stack.folder(), &["trace", "--follow", "--json"], &[]);
    // It says nothing until there is something to tell.
    eventually("the first line", async || {
        let _ = stack.get("/user/1").await;
        follow.output().contains("trace_id").then_some(())
    })
    .await;

    let looks = AtomicUsize::new(0);
    let look = async {
        loop {
            let length = bytes(&spans);
            assert!(length <= MAX, "{length} bytes");
            looks.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let read = async {
        loop {
            assert!(
                ask(&stack, &["trace", "last"])
                    .await
                    .contains("GET /user/1 -> 200")
            );
            let listed = ask(&stack, &["trace", "list", "--limit", "5"]).await;
            assert_eq!(6, listed.lines().count(), "{listed}");
            let Some(id) = ids.lock().unwrap().last().cloned() else {
                continue;
            };
            let shown = ask(&stack, &["trace", &id]).await;
            assert!(
                shown.contains(" 7. ") && !shown.contains("incomplete"),
                "{shown}"
            );
        }
    };
    tokio::select! {
        () = request_many(&stack, &ids) => {}
        () = look => {}
        () = read => {}
    }
    assert!(looks.load(Relaxed) > 10);
    let after: HashSet<PathBuf> = paths(&spans, "jsonl").into_iter().collect();
    let removed = before.difference(&after).count();
    let own = after
        .iter()
        .filter(|path| path.to_string_lossy().contains("gateway-"));
    assert!(
        removed > 5 && own.count() > 3,
        "{removed} removed of {before:?}, {after:?}"
    );

    let ids = ids.into_inner().unwrap();
    assert!(ids.len() > REQUESTS / 2, "{} were answered", ids.len());
    eventually("a line for each request", async || {
        let told = follow.output();
        ids.iter().all(|id| told.contains(id)).then_some(())
    })
    .await;
    follow.signal(Signal::INT);
    follow.ended().await;
    for service in SERVICES {
        let said = stack.leave(service).await.output();
        for line in said.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let is_about_spans = line["target"].as_str().unwrap().contains("telemetry");
            assert!(!is_about_spans || line["level"] == "INFO", "{line}");
        }
    }
}

/// A system that has answered two requests, and has left.
struct Left {
    stack: Stack,
    replies: [Reply; 2],
}

impl Left {
    async fn new() -> Self {
        let mut stack = Stack::start().await;
        let replies = [
            stack.register("David", "david@example.com").await,
            stack.get("/user/1").await,
        ];
        for service in SERVICES {
            stack.leave(service).await;
        }
        Self { stack, replies }
    }

    /// What the command has to say of both requests.
    fn shown(&self) -> Vec<String> {
        let ids = [0, 1].map(|nth| self.replies[nth].trace_id());
        let questions = [&ids[0], &ids[1], &ids[0][..8], "last", "list", "slow"];
        let shown = questions.map(|what| {
            let (good, shown) = run(self.stack.folder(), &["trace", what], &[]);
            assert!(good, "{what}: {shown}");
            shown
        });
        assert!(
            shown[0].contains(" 9. ") && shown[1].contains(" 7. "),
            "{shown:?}"
        );
        shown.into()
    }

    fn append(&self, extension: &str, content: &[u8]) {
        for path in paths(&self.stack.spans(), extension) {
            let mut file = OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(content).unwrap();
        }
    }
}

#[tokio::test]
async fn an_index_that_is_half_garbage_or_missing_is_not_missed() {
    let left = Left::new().await;
    let whole = left.shown();
    left.append("index", br#"{"written":169331040"#);
    assert_eq!(whole, left.shown());
    let indexes = paths(&left.stack.spans(), "index");
    for path in &indexes {
        let lines = fs::read(path).unwrap();
        let second = &lines[lines.len() / 3..];
        fs::write(path, second).unwrap();
    }
    assert_eq!(whole, left.shown());
    for path in &indexes {
        fs::write(
            path,
            b"\xff\x00\n{}\n[1,2\n{\"written\":1,\"offset\":\"x\"}\n\n",
        )
        .unwrap();
    }
    assert_eq!(whole, left.shown());
    for path in indexes {
        fs::write(&path, "").unwrap();
        assert_eq!(whole, left.shown());
        fs::remove_file(path).unwrap();
        assert_eq!(whole, left.shown());
    }
}

#[tokio::test]
async fn a_span_file_that_ends_with_half_a_line_costs_that_line() {
    let left = Left::new().await;
    let mut whole = left.shown();
    left.append("jsonl", br#"{"resourceSpans":[{"resource":{"attrib"#);
    let with_halves = left.shown();
    for trace in &mut whole[..4] {
        trace.push_str("skipped: 4 half-written lines\n");
    }
    for list in &mut whole[4..] {
        list.push_str("skipped: 4 lines that can't be read\n");
    }
    assert_eq!(whole, with_halves);
}
