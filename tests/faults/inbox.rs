//! Calls that nobody ever answers: they leave nothing behind.

use std::time::{Duration, Instant};

use futures_util::StreamExt;

use crate::{
    bench::turn,
    settings::figure,
    stopwatch::resident_kb,
    support::{
        Server,
        echo::{CALLER, Say, connect_with},
    },
};

/// As many again before them, after which buffers and the allocator have what they need.
const CALLS: usize = 100_000;
const AT_A_TIME: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_unanswered_calls_leave_no_memory_behind() {
    let _turn = turn().await;
    let nats = Server::start().await;
    let silent = async_nats::connect(nats.url()).await.unwrap();
    let mut requests = silent
        .queue_subscribe("svc.echo.say", "echo".into())
        .await
        .unwrap();
    silent.flush().await.unwrap();
    let listening = tokio::spawn(async move { while requests.next().await.is_some() {} });
    let client = connect_with(CALLER, &nats, Duration::from_millis(50)).await;

    let started = Instant::now();
    let mut sizes = Vec::new();
    for _ in 0..2 * CALLS / AT_A_TIME {
        let calls = (0..AT_A_TIME).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<Say>(&String::new()).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert!(call.await.unwrap().is_err());
        }
        sizes.push(resident_kb());
    }
    let warm = sizes[CALLS / AT_A_TIME - 1];
    let grown = sizes.last().unwrap().saturating_sub(warm);
    figure(
        "100,000 unanswered calls, memory grew",
        format!(
            "{grown} KB over the second 100,000; all in {:.1?}",
            started.elapsed()
        ),
    );
    assert_eq!(0, client.late_replies());
    // An entry left behind by each would be 36 MB.
    assert!(grown < 15_000, "{sizes:?} KB");
    listening.abort();
}
