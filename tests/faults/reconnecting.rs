//! What meets a lost connection in the middle of something: a replica that leaves, calls that wait for room.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all};
use nats_serve::{
    Client, Ctx, Instance, Replica, Shutdown,
    client::{Options, Unanswered},
};
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::{
    bench::turn,
    proxy::Proxy,
    settings::figure,
    support::{
        PATIENCE, Server,
        echo::{CALLER, ECHO, Nap, Running, Say, Sleep, connect, connect_with},
        eventually,
    },
};

/// A replica that reaches NATS by a proxy, and the task that serves until it is told to leave.
async fn replica(network: &Proxy) -> (Client, Shutdown, JoinHandle<()>) {
    let options = Options {
        url: network.url(),
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(ECHO), options)
        .await
        .unwrap();
    let replica = Replica::new(&client)
        .handle::<Say>(async |_ctx, words: String| Ok(words))
        .handle::<Sleep>(async |_ctx, ms| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(ms)
        })
        .handle::<Nap>(async |ctx: Ctx, ms: u64| {
            // Work that keeps the process there while it leaves.
            ctx.spawn(async move { tokio::time::sleep(Duration::from_millis(ms)).await });
            Ok(ms)
        });
    let running = replica.start().await.unwrap();
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let serving = tokio::spawn(async move { running.until(&until).await });
    (client, shutdown, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_while_a_replica_leaves_swallows_no_calls() {
    let _turn = turn().await;
    let nats = Server::start().await;
    let _stays = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    let network = Proxy::start(&nats).await;
    let (own, shutdown, serving) = replica(&network).await;
    // The library's count of its messages is far from what the server counts on the next connection.
    for _ in 0..2_000 {
        client.call::<Say>(&"hello".to_owned()).await.unwrap();
    }
    let raw = async_nats::connect(nats.url()).await.unwrap();
    // This very replica's: of some calls to the group it may get none.
    let nap = format!("inst.echo.{}.nap", own.instance().id());
    raw.request(nap, "4000".into()).await.unwrap();
    let load = tokio::spawn({
        async move {
            let mut due = tokio::time::interval(Duration::from_millis(4));
            loop {
                due.tick().await;
                let say = "\"load\"".into();
                let _ = raw
                    .publish_with_reply("svc.echo.say", "_INBOX.load", say)
                    .await;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    shutdown.request();
    tokio::time::sleep(Duration::from_millis(5)).await;
    network.cut();
    tokio::time::sleep(Duration::from_millis(5)).await;
    network.heal();
    eventually("a connection", async || own.is_connected().then_some(())).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(
        !serving.is_finished(),
        "it is still there, and out of its groups"
    );
    // Callers that know nothing yet, and so steer nowhere.
    let calls = (0..40).map(|_| async {
        let caller = connect_with(CALLER, &nats, Duration::from_secs(1)).await;
        caller.call::<Say>(&"once".to_owned()).await.is_err()
    });
    let lost = join_all(calls)
        .await
        .into_iter()
        .filter(|lost| *lost)
        .count();
    figure(
        "calls lost by a replica that reconnects while it leaves",
        lost,
    );
    assert_eq!(0, lost);
    serving.await.unwrap();
    load.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_in_the_middle_of_a_reconnect_answers_what_was_accepted() {
    let _turn = turn().await;
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let (own, shutdown, serving) = replica(&network).await;
    let ended = tokio::spawn(async move {
        serving.await.unwrap();
        // As the process ends then, and its connection.
        drop(own);
    });
    // A caller who asks nobody whether it is still there.
    let caller = async_nats::connect(nats.url()).await.unwrap();
    let mut answers = caller.subscribe("_INBOX.raw").await.unwrap();
    let asked = caller.publish_with_reply("svc.echo.sleep", "_INBOX.raw", "700".into());
    asked.await.unwrap();
    caller.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    network.cut();
    tokio::time::sleep(Duration::from_millis(50)).await;
    shutdown.request();
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    network.heal();
    let accepted = tokio::time::timeout(PATIENCE, answers.next()).await;
    assert!(accepted.unwrap().unwrap().payload.is_empty());
    let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
    assert_eq!("700", answer.unwrap().unwrap().payload);
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_room_end_with_the_connection() {
    const CALLS: usize = 5_000;
    let _turn = turn().await;
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect_with(CALLER, &nats, Duration::from_secs(20)).await;
    client.call::<Say>(&"hello".to_owned()).await.unwrap();
    // Nobody takes anything any more, so the socket and the library's channel fill up.
    nats.signal(Signal::STOP);
    let words = "x".repeat(4_000);
    let mut calls = Vec::new();
    for n in 0..CALLS {
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (client, words) = (client.clone(), words.clone());
        calls.push(tokio::spawn(async move {
            let failed = client.call::<Say>(&words).await.err();
            (
                failed.and_then(|status| status.unanswered()),
                Instant::now(),
            )
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let killed = Instant::now();
    let _gone = nats.kill();
    let mut slowest = Duration::ZERO;
    let mut kinds = BTreeMap::<String, usize>::new();
    for call in calls {
        let (how, ended) = call.await.unwrap();
        slowest = slowest.max(ended.saturating_duration_since(killed));
        *kinds.entry(format!("{how:?}")).or_default() += 1;
    }
    figure(
        "5,000 calls under way when NATS dies, the last ended after",
        format!("{slowest:.1?}; {kinds:?}"),
    );
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    let lost = format!("{:?}", Some(Unanswered::Disconnected));
    assert!(kinds[&lost] > CALLS / 2, "{kinds:?}");
}

#[tokio::test]
async fn replies_that_come_in_a_burst_reach_their_calls() {
    const CALLS: usize = 80_000;
    let _turn = turn().await;
    let nats = Server::start().await;
    let url = nats.url();
    let (up, is_up) = tokio::sync::oneshot::channel();
    // Somebody who answers nothing until all is there, on threads of his own.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let options = async_nats::ConnectOptions::new().subscription_capacity(2 * CALLS);
            let nats = options.connect(url).await.unwrap();
            let requests = nats.queue_subscribe("svc.echo.say", "echo".into()).await;
            let mut requests = requests.unwrap();
            nats.flush().await.unwrap();
            up.send(()).unwrap();
            let mut all = Vec::new();
            while all.len() < CALLS {
                let request = tokio::time::timeout(PATIENCE, requests.next()).await;
                all.push(request.unwrap().unwrap().reply.unwrap());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            for reply in all {
                nats.publish(reply, "\"x\"".into()).await.unwrap();
            }
            nats.flush().await.unwrap();
            tokio::time::sleep(PATIENCE).await;
        });
    });
    is_up.await.unwrap();
    let client = connect_with(CALLER, &nats, Duration::from_secs(30)).await;
    let mut calls = Vec::new();
    for n in 0..CALLS {
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            client.call::<Say>(&String::new()).await.is_err()
        }));
        if n % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    let mut lost = 0;
    for call in calls {
        lost += usize::from(call.await.unwrap());
    }
    figure("of 80,000 replies in a burst, lost", lost);
    assert_eq!(0, lost);
}
