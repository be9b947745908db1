//! nats-server dies and comes back: answers are fast all the while, and nothing is done late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nats_serve::Replica;

use crate::{
    bench::{Bench, ONE_EACH, turn},
    calls::Hops,
    load::Load,
    settings::{figure, lasting, rate, strict},
    stopwatch::percentile,
    support::{
        Server,
        echo::{CALLER, ECHO, Say, connect, connect_with},
        eventually,
    },
};

/// How long a call waits for a connection.
const RECONNECT_WAIT: Duration = Duration::from_millis(40);

#[tokio::test]
async fn while_nats_is_gone_answers_are_fast_and_then_all_is_well() {
    let _turn = turn().await;
    let mut bench = Bench::start(&ONE_EACH, &[]).await;
    let load = Load::start(bench.get_user("gateway-1"), rate());
    tokio::time::sleep(Duration::from_secs(1)).await;

    let nats = bench.stack.nats.take().unwrap();
    let killed = Instant::now();
    let gone = nats.kill();
    tokio::time::sleep(lasting(3)).await;
    let back = Instant::now();
    bench.stack.nats = Some(gone.start_again().await);
    let first = eventually("a success", async || load.success_since(back)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let healed = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let report = load.stop().await;
    let during = report.between(killed, back);
    figure("NATS gone, meanwhile", &during);
    figure(
        "NATS back, first success after",
        format!("{:.1?}", first - back),
    );
    // A request that is on its way when NATS comes back may be answered.
    let surely = report.between(killed, back - Duration::from_millis(200));
    surely.assert_all(503, 10 * RECONNECT_WAIT);
    let limit = if strict() {
        10 * RECONNECT_WAIT
    } else {
        Duration::from_secs(2)
    };
    during.assert_within(limit);
    report.between(healed, Instant::now()).assert_no_failure();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = Hops::read(&bench.stack.spans()).begun_too_late();
    figure("NATS gone, requests begun after their deadline", late);
    assert_eq!(0, late);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_without_nats_end_by_their_deadline_and_are_never_done_later() {
    const CALLS: usize = 3_000;
    const DEADLINE: Duration = Duration::from_millis(200);
    let _turn = turn().await;
    let nats = Server::start().await;
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&begun);
    let service = connect(ECHO, &nats).await;
    let replica = Replica::new(&service).handle::<Say>(move |_ctx, words: String| {
        counter.fetch_add(1, Relaxed);
        async { Ok(words) }
    });
    let running = replica.start().await.unwrap();
    let serving = tokio::spawn(async move { running.until(&nats_serve::Shutdown::new()).await });
    let client = connect_with(CALLER, &nats, DEADLINE).await;
    assert!(client.call::<Say>(&"hello".to_owned()).await.is_ok());

    let gone = nats.kill();
    let calls = (0..CALLS).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let result = client.call::<Say>(&"too late".to_owned()).await;
            (result.is_ok(), started.elapsed())
        })
    });
    let ended = futures_util::future::join_all(calls.collect::<Vec<_>>()).await;
    let took: Vec<Duration> = ended.into_iter().map(|one| one.unwrap().1).collect();
    let slowest = percentile(took, 100);
    figure(
        "3,000 calls of 200 ms without NATS, slowest beyond its deadline",
        format!("{:.1?}", slowest.saturating_sub(DEADLINE)),
    );
    let beyond = Duration::from_millis(if strict() { 100 } else { 1_000 });
    assert!(slowest < DEADLINE + beyond, "{slowest:?}");

    let _back = gone.start_again().await;
    eventually("an answer", async || {
        client.call::<Say>(&"again".to_owned()).await.ok()
    })
    .await;
    // What was kept anywhere would have come by now: it was sent before.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = begun.load(Relaxed) - 2;
    figure("of those begun after NATS was back", late);
    assert_eq!(0, late);
    serving.abort();
}
