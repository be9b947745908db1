//! A handler that blocks its thread: nothing on that thread hears a signal, and the process ends all the same.

use std::time::{Duration, Instant};

use nats_serve::Shutdown;
use rustix::process::Signal;

use crate::support::Process;

/// Names the test that is the program, too.
const CHILD: &str = "blocked::a_blocked_thread_keeps_no_process_from_leaving";
/// Ten times what it takes.
const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_blocked_thread_keeps_no_process_from_leaving() {
    if let Some(grace) = std::env::var_os("NATS_SERVE_TEST_BLOCKED") {
        return block(Duration::from_secs(
            grace.to_str().unwrap().parse().unwrap(),
        ));
    }
    // By its grace, and by a second signal.
    for (grace, signals) in [("1", 1), ("600", 2)] {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let mut blocked = Process::start_program(
            &program,
            folder.path(),
            &["--exact", CHILD, "--nocapture"],
            &[("NATS_SERVE_TEST_BLOCKED", grace)],
        );
        blocked.says("blocked").await;
        let told = Instant::now();
        for _ in 0..signals {
            blocked.signal(Signal::TERM);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let status = blocked.ended().await;
        assert_eq!(Some(1), status.code());
        blocked.says("last words").await;
        assert!(told.elapsed() < BOUND, "{:?}", told.elapsed());
    }
}

/// What a service does that must not: it waits where it should have awaited.
fn block(grace: Duration) {
    let shutdown = Shutdown::on_signals().unwrap();
    let beyond = Duration::from_millis(500);
    shutdown
        .exit_when_late(grace, beyond, || println!("last words"))
        .unwrap();
    println!("blocked");
    std::thread::sleep(BOUND * 2);
}
