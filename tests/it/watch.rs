//! `status --watch` goes on, whatever happens to what it watches.

use rustix::process::Signal;

use crate::support::{Process, Server, Stack, eventually};

async fn blocks(watch: &Process, at_least: usize) {
    eventually(&format!("{at_least} tables"), async || {
        let shown = watch.output();
        let rows = shown
            .lines()
            .filter(|line| line.starts_with("user-service"));
        (rows.count() >= at_least).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watch_outlives_an_outage_and_ends_at_ctrl_c() {
    let nats = Server::start().await;
    let (port, url) = (nats.port(), nats.url());
    let mut stack = Stack::empty(nats, &[]);
    stack.add("user-service", "user-service");
    stack.ready("user-service").await;
    let arguments = ["status", "--watch=100ms"];
    let mut watch = Process::start(stack.folder(), &arguments, &[("NATS_URL", &url)]);
    blocks(&watch, 2).await;

    stack.nats.take().unwrap().kill();
    watch
        .says(&format!("NATS does not answer at {url}; trying on"))
        .await;
    let seen = watch.output().matches("SERVICE").count();
    stack.nats = Some(Server::start_on(port).await);
    blocks(&watch, seen + 2).await;

    watch.signal(Signal::INT);
    assert!(watch.ended().await.success());
    let shown = watch.output();
    assert!(shown.contains("0/256"), "{shown}");
    assert!(
        !shown.contains('\u{1b}'),
        "no terminal, no control characters: {shown}"
    );
}

#[tokio::test]
async fn a_watch_without_a_system_to_watch_ends_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = [("NATS_URL", "nats://127.0.0.1:1")];
    let mut watch = Process::start(folder.path(), &["status", "--watch"], &nobody);
    assert!(!watch.ended().await.success());
    watch
        .says("NATS can't be reached at nats://127.0.0.1:1")
        .await;
}
