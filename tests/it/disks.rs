//! Disks that are full, take nothing or hang, and people who clean up: requests go on, and so do the spans afterwards.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    metrics::value,
    support::{Stack, eventually, process::run},
};

/// The file of a service's one process.
fn span_file(stack: &Stack, service: &str) -> PathBuf {
    let mut files = fs::read_dir(stack.spans())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let of_service = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(service) && name.ends_with(".jsonl")
    };
    files.find(of_service).expect("a span file")
}

async fn count(stack: &Stack, series: &str) -> f64 {
    let text = stack.metrics("gateway").await;
    value(&text, series).unwrap_or_else(|| panic!("no {series} in {text}"))
}

async fn dropped(stack: &Stack) -> f64 {
    count(stack, "nats_serve_spans_dropped_total{at=\"files\"}").await
}

async fn exported(stack: &Stack) -> f64 {
    count(stack, "nats_serve_spans_exported_total{exporter=\"files\"}").await
}

/// Sends requests as long as something else takes; all of them are answered.
async fn while_requests_run<T>(stack: &Stack, work: impl Future<Output = T>) -> T {
    let requests = async {
        loop {
            let reply = stack.get("/user/1").await;
            assert_eq!(200, reply.status, "{}", reply.body);
        }
    };
    tokio::select! {
        done = work => done,
        () = requests => unreachable!("they go on"),
    }
}

/// Waits until spans are lost, and then until more are.
async fn lost_more_and_more(stack: &Stack) {
    for _ in 0..3 {
        let before = dropped(stack).await;
        eventually("more lost spans", async || {
            (dropped(stack).await > before).then_some(())
        })
        .await;
    }
}

/// Sees that spans are lost, and nothing else, as long as something is in the way of the gateway's.
async fn costs_spans_alone_until_it_is_removed(stack: &mut Stack, obstacle: &Path) {
    let before = while_requests_run(stack, async {
        lost_more_and_more(stack).await;
        let before = exported(stack).await;
        fs::remove_file(obstacle).unwrap();
        eventually("spans that are written", async || {
            (exported(stack).await > before).then_some(())
        })
        .await;
        before
    })
    .await;
    is_well_again(stack, before).await;
}

/// Checks that spans are written and found again, of which one warning and one good word tell.
async fn is_well_again(stack: &mut Stack, before: f64) {
    stack
        .processes
        .get_mut("gateway")
        .unwrap()
        .says("works again")
        .await;
    let reply = stack.get("/user/2").await;
    assert_eq!(200, reply.status, "{}", reply.body);
    stack.trace(&reply, 7).await;
    let (good, shown) = run(stack.folder(), &["trace", "last"], &[]);
    assert!(good && shown.contains(&reply.trace_id()), "{shown}");
    assert!(exported(stack).await > before);
    let said = stack.processes["gateway"].output();
    assert_eq!(
        1,
        said.matches("requests are not affected").count(),
        "{said}"
    );
    assert_eq!(2, said.matches("writing spans").count(), "{said}");
    let last = dropped(stack).await;
    let said = stack.leave("gateway").await.output();
    let at_the_end = format!("\"dropped_for_the_files\":{last}");
    assert!(
        said.contains("not all spans of this process have arrived"),
        "{said}"
    );
    assert!(said.contains(&at_the_end), "{said}");
}

/// Puts something in the place of a file, at once.
fn replace(file: &Path, make: impl FnOnce(&Path)) {
    let other = file.with_extension("other");
    make(&other);
    fs::rename(other, file).unwrap();
}

#[tokio::test]
async fn a_full_disk_costs_spans_and_one_warning_until_there_is_room() {
    let mut stack = Stack::start().await;
    let reply = stack.get("/user/1").await;
    stack.trace(&reply, 7).await;
    let file = span_file(&stack, "gateway");
    replace(&file, |other| symlink("/dev/full", other).unwrap());
    costs_spans_alone_until_it_is_removed(&mut stack, &file).await;
}

/// A folder that can't be written to binds not everybody, and root is one of those; a file in its place binds all.
#[tokio::test]
async fn a_folder_that_takes_nothing_any_more_costs_spans_and_one_warning_until_it_does() {
    let mut stack = Stack::start().await;
    let reply = stack.get("/user/1").await;
    stack.trace(&reply, 7).await;
    let (folder, aside) = (stack.spans(), stack.folder().join("aside"));
    fs::rename(&folder, &aside).unwrap();
    // The processes may have made another one meanwhile.
    eventually("a file in the folder's place", async || {
        let _ = fs::remove_dir_all(&folder);
        fs::File::create_new(&folder).ok()
    })
    .await;
    costs_spans_alone_until_it_is_removed(&mut stack, &folder).await;
}

#[tokio::test]
async fn a_file_or_an_index_that_was_deleted_costs_what_was_in_it() {
    let stack = Stack::start().await;
    let first = stack.get("/user/1").await;
    stack.trace(&first, 7).await;
    let file = span_file(&stack, "gateway");
    fs::remove_file(&file).unwrap();
    let second = stack.get("/user/1").await;
    stack.trace(&second, 7).await;
    assert_eq!(3, stack.trace(&first, 3).await.rows().len());
    fs::remove_file(file.with_extension("index")).unwrap();
    let third = stack.get("/user/1").await;
    stack.trace(&third, 7).await;
    let (good, listed) = run(stack.folder(), &["trace", "list", "--json"], &[]);
    assert!(good, "{listed}");
    assert_eq!(2, listed.lines().count(), "{listed}");
    for reply in [second, third] {
        assert!(listed.contains(&reply.trace_id()), "{listed}");
    }
    assert_eq!(0.0, dropped(&stack).await);
}

/// A pipe that nobody reads from is opened for ever, like a file on a disk that does not answer.
#[tokio::test]
async fn a_disk_that_hangs_costs_no_request_and_delays_no_exit() {
    let mut stack = Stack::start().await;
    let reply = stack.get("/user/1").await;
    stack.trace(&reply, 7).await;
    let written = exported(&stack).await;
    replace(&span_file(&stack, "gateway"), |other| {
        assert!(
            Command::new("mkfifo")
                .arg(other)
                .status()
                .unwrap()
                .success()
        );
    });
    for _ in 0..20 {
        let reply = stack.get("/user/1").await;
        assert_eq!(200, reply.status, "{}", reply.body);
    }
    assert_eq!(written, exported(&stack).await);
    let said = stack.leave("gateway").await.output();
    let mut last = said
        .lines()
        .filter(|line| line.contains("not all spans of this process"));
    let last: serde_json::Value = serde_json::from_str(last.next().expect(&said)).unwrap();
    assert_eq!(Some(84), last["recorded"].as_u64(), "{last}");
    assert_eq!(Some(4), last["written"].as_u64(), "{last}");
}
