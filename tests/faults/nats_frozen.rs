//! nats-server freezes: calls end by their deadlines, and what lay in the frozen server is not done.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use nats_serve::{Client, Replica, Shutdown};
use rustix::process::Signal;

use crate::{
    bench::shared_turn,
    settings::{figure, lasting},
    stopwatch::percentile,
    support::{
        Server,
        echo::{CALLER, ECHO, Say, connect, connect_with},
        eventually,
    },
};

const DEADLINE: Duration = Duration::from_millis(500);
/// The promise is 16 s; the freeze is as long as it takes, up to this.
const NOTICED: Duration = Duration::from_secs(60);

/// Milliseconds since 1970.
fn now() -> u128 {
    UNIX_EPOCH.elapsed().unwrap().as_millis()
}

/// A replica that counts what it begins, and what of that after the deadline in the request.
async fn watch(nats: &Server) -> (tokio::task::JoinHandle<()>, Arc<[AtomicUsize; 2]>) {
    let begun = Arc::<[AtomicUsize; 2]>::default();
    let counters = Arc::clone(&begun);
    let service = connect(ECHO, nats).await;
    let replica = Replica::new(&service).handle::<Say>(move |_ctx, deadline: String| {
        let late = now() > deadline.parse::<u128>().unwrap() + 20;
        counters[0].fetch_add(1, Relaxed);
        counters[1].fetch_add(usize::from(late), Relaxed);
        async { Ok(deadline) }
    });
    let running = replica.start().await.unwrap();
    let serving = tokio::spawn(async move { running.until(&Shutdown::new()).await });
    (serving, begun)
}

async fn call(client: Client) -> (bool, Duration) {
    let started = Instant::now();
    let deadline = (now() + DEADLINE.as_millis()).to_string();
    let result = client.call::<Say>(&deadline).await;
    (result.is_ok(), started.elapsed())
}

/// Calls 100 times a second for some time, and returns how long the slowest took.
async fn calls(client: &Client, lasting: Duration) -> Duration {
    let mut due = tokio::time::interval(Duration::from_millis(10));
    let mut calls = Vec::new();
    let until = Instant::now() + lasting;
    while Instant::now() < until {
        due.tick().await;
        calls.push(tokio::spawn(call(client.clone())));
    }
    let ended = futures_util::future::join_all(calls).await;
    percentile(ended.into_iter().map(|one| one.unwrap().1).collect(), 100)
}

#[tokio::test]
async fn what_lay_in_a_frozen_server_is_not_done_when_it_thaws() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let (serving, begun) = watch(&nats).await;
    let client = connect_with(CALLER, &nats, DEADLINE).await;
    // From here the replica knows the sender, and how its clock goes.
    calls(&client, Duration::from_secs(1)).await;
    nats.signal(Signal::STOP);
    let slowest = calls(&client, Duration::from_secs(3)).await;
    tokio::time::sleep(DEADLINE * 2).await;
    nats.signal(Signal::CONT);
    eventually("an answer", async || {
        call(client.clone()).await.0.then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = begun[1].load(Relaxed);
    figure(
        "server frozen for 4 s, slowest of the calls of 500 ms",
        format!("{slowest:.1?}"),
    );
    figure(
        "server frozen for 4 s, requests begun after their deadline",
        late,
    );
    assert!(slowest < DEADLINE * 10, "{slowest:?}");
    assert_eq!(0, late);
    serving.abort();
}

#[tokio::test]
async fn a_frozen_server_is_noticed_and_heals() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let (serving, begun) = watch(&nats).await;
    let client = connect_with(CALLER, &nats, DEADLINE).await;
    assert!(call(client.clone()).await.0);
    let frozen = Instant::now();
    nats.signal(Signal::STOP);
    let mut slowest = Duration::ZERO;
    while client.is_connected() && frozen.elapsed() < NOTICED {
        slowest = slowest.max(calls(&client, Duration::from_millis(200)).await);
    }
    let noticed = frozen.elapsed();
    assert!(!client.is_connected(), "noticed within {NOTICED:?}");
    while frozen.elapsed() < lasting(20) {
        slowest = slowest.max(calls(&client, Duration::from_millis(200)).await);
    }
    nats.signal(Signal::CONT);
    let thawed = Instant::now();
    eventually("an answer", async || {
        call(client.clone()).await.0.then_some(())
    })
    .await;
    figure("frozen server noticed after", format!("{noticed:.1?}"));
    figure(
        "frozen server, slowest of the calls of 500 ms",
        format!("{slowest:.1?}"),
    );
    figure(
        "frozen server, first success after it thawed",
        format!("{:.1?}", thawed.elapsed()),
    );
    figure(
        "frozen server, requests begun after their deadline",
        begun[1].load(Relaxed),
    );
    assert!(slowest < DEADLINE * 10, "{slowest:?}");
    assert_eq!(0, begun[1].load(Relaxed));
    serving.abort();
}
