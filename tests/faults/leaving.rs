//! What leaves loses nothing: measured by calls that can't be repeated, so that nothing hides a loss.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nats_serve::{Client, Instance, Replica, Shutdown, client::Options};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    bench::turn,
    proxy::Proxy,
    settings::{figure, rate},
    support::{
        Server,
        echo::{CALLER, ECHO, Running, Say, Sleep, connect},
        eventually,
    },
};

const LEAVES: usize = 6;
const LONG_MS: u64 = 1_200;
/// What a replica has had before it is cut off.
const BEFORE: usize = 400;
/// A replica that is asked at this rate has surely something on its way when it leaves.
const SETTLING: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_leaves_loses_no_call_that_cant_be_repeated() {
    let _turn = turn().await;
    let (lost, sent) = leave_under_load(false).await;
    figure(
        &format!("{LEAVES} leaves over 3 ms each way, calls that can't be repeated, lost"),
        format!("{lost} of {sent}"),
    );
    assert_eq!(0, lost);
}

/// The server counts a subscription's messages anew on each connection, the library doesn't.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_leaves_after_a_reconnect_loses_no_call_either() {
    let _turn = turn().await;
    let (lost, sent) = leave_under_load(true).await;
    figure(
        &format!("the same after a reconnect, {LEAVES} leaves, lost"),
        format!("{lost} of {sent}"),
    );
    assert_eq!(0, lost);
}

/// Has replicas leave one after the other, and returns how many calls were lost while they did, of how many.
async fn leave_under_load(reconnected: bool) -> (usize, usize) {
    let nats = Server::start().await;
    let _stays = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    let (mut lost, mut sent) = (0, 0);
    for _ in 0..LEAVES {
        let network = Proxy::slow(&nats, Duration::from_millis(3)).await;
        let (instance, shutdown, running) = replica(&network).await;
        let knows = async |instance: &str| {
            let found = client.survey(Duration::from_millis(300)).await;
            found.iter().any(|one| one.id == instance).then_some(())
        };
        for _ in 0..BEFORE {
            client.call::<Say>(&"hello".to_owned()).await.unwrap();
        }
        if reconnected {
            // While nothing is under way: callers who heard silence would avoid the group.
            network.cut();
            tokio::time::sleep(Duration::from_millis(100)).await;
            network.heal();
            eventually("the replica again", async || knows(&instance).await).await;
        }
        let calls = Calls::start(client.clone(), 2 * rate());
        tokio::time::sleep(SETTLING).await;
        // It stays connected for the rest of its work, and whatever still comes is seen to be lost.
        let long = (0..8).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<Sleep>(&LONG_MS).await.is_ok() })
        });
        let long = futures_util::future::join_all(long.collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let told = Instant::now();
        shutdown.request();
        assert!(long.await.into_iter().all(|good| good.unwrap()));
        running.await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (lost_now, sent_now) = calls.between(told, Instant::now()).await;
        lost += lost_now;
        sent += sent_now;
    }
    (lost, sent)
}

async fn replica(network: &Proxy) -> (String, Shutdown, JoinHandle<()>) {
    let instance = Instance::new(ECHO);
    let options = Options {
        url: network.url(),
        ..Options::default()
    };
    let client = Client::connect(&instance, options).await.unwrap();
    let replica = Replica::new(&client)
        .handle::<Say>(async |_ctx, words| Ok(words))
        .handle::<Sleep>(async |_ctx, ms| {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(ms)
        });
    let running = replica.start().await.unwrap();
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let running = tokio::spawn(async move { running.until(&until).await });
    (instance.id().to_owned(), shutdown, running)
}

/// When a call was sent, and, at last, whether it was answered.
type Call = (Instant, Option<bool>);

/// Calls at a constant rate.
struct Calls {
    sent: Arc<Mutex<Vec<Call>>>,
    _sending: AbortOnDropHandle<()>,
}

impl Calls {
    fn start(client: Client, rate: u32) -> Self {
        let sent = Arc::<Mutex<Vec<Call>>>::default();
        let outcomes = Arc::clone(&sent);
        let sending = tokio::spawn(async move {
            let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
            let mut calls = JoinSet::new();
            loop {
                due.tick().await;
                let at = {
                    let mut outcomes = outcomes.lock().unwrap();
                    outcomes.push((Instant::now(), None));
                    outcomes.len() - 1
                };
                let (client, outcomes) = (client.clone(), Arc::clone(&outcomes));
                calls.spawn(async move {
                    let called = client.call::<Say>(&"once".to_owned()).await;
                    outcomes.lock().unwrap()[at].1 = Some(called.is_ok());
                });
                while calls.try_join_next().is_some() {}
            }
        });
        Self {
            sent,
            _sending: AbortOnDropHandle::new(sending),
        }
    }

    /// Waits for the outcomes of what was sent between two moments; returns how many failed, of how many.
    async fn between(&self, from: Instant, to: Instant) -> (usize, usize) {
        let outcomes = eventually("the outcome of every call", async || {
            let sent = self.sent.lock().unwrap();
            let within = sent.iter().filter(|(at, _)| *at >= from && *at < to);
            within
                .map(|(_, outcome)| *outcome)
                .collect::<Option<Vec<bool>>>()
        });
        let outcomes = outcomes.await;
        (
            outcomes.iter().filter(|good| !**good).count(),
            outcomes.len(),
        )
    }
}
