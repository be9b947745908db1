//! Hundreds of replicas on a cluster of three: what they cost the servers, how soon all are found, and whether calls
//! notice that they come and go. Each has a connection of its own, as a process has; all are in this one.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use nats_serve::{
    Client, Instance, Operation, Replica, Service, Shutdown, Status,
    client::{Nkey, Options},
    replica::Limits,
};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    bench::turn,
    nodes::Cluster,
    settings::{figure, number},
    stopwatch::percentile,
    support::eventually,
};

/// Names that nats/nats-server.conf has keys for.
const CALLER: Service = Service::new("gateway");
const CALLEE: Service = Service::new("user-service").with_subject("user");
const TOOLS: Service = Service::new("tools");
/// Unless `NATS_SERVE_FAULTS_CROWD` asks for more.
const CROWD: usize = 150;
/// Who come, and who go, at a time.
const CHURN: usize = 10;
const CALLS: usize = 1_000;

/// Tells who answers. It may be repeated or not: of what may not, what is lost shows.
struct Asked<const REPEATABLE: bool>;

impl<const REPEATABLE: bool> Operation for Asked<REPEATABLE> {
    const SERVICE: Service = CALLEE;
    const NAME: &'static str = if REPEATABLE { "anybody" } else { "who" };
    const IDEMPOTENT: bool = REPEATABLE;
    type Request = ();
    type Reply = String;
}

type Who = Asked<false>;
type Anybody = Asked<true>;

struct Member {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Member {
    async fn join(cluster: &Cluster) -> Self {
        let client = connect(cluster, CALLEE).await;
        let id = client.instance().id().to_owned();
        let same = id.clone();
        let replica = Replica::new(&client)
            .with_limits(Limits::default())
            .handle::<Who>(move |_ctx, ()| {
                let id = id.clone();
                async move { Ok(id) }
            })
            .handle::<Anybody>(move |_ctx, ()| {
                let id = same.clone();
                async move { Ok(id) }
            });
        let running = replica.start().await.unwrap();
        let shutdown = Shutdown::new();
        let until = shutdown.clone();
        let task = tokio::spawn(async move { running.until(&until).await });
        Self { shutdown, task }
    }

    async fn leave(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }
}

async fn connect(cluster: &Cluster, service: Service) -> Client {
    let file = cluster.nkeys().join(format!("{}.nk", service.subject()));
    let nkey: Nkey = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let options = Options {
        url: cluster.urls(),
        nkey: Some(nkey),
        // As docker-compose.cluster.yml has it.
        reconnect_wait: Duration::from_millis(250),
        ping_interval: Duration::from_secs(1),
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(service), options)
        .await
        .unwrap();
    client.ready().await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_replicas_are_found_and_used_and_come_and_go_without_a_loss() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let (caller, tools) = (
        connect(&cluster, CALLER).await,
        connect(&cluster, TOOLS).await,
    );
    let mut members: Vec<Member> = Vec::new();
    let most = number("NATS_SERVE_FAULTS_CROWD").map_or(CROWD, |most| most as usize);
    for size in [10, 100, most] {
        let started = Instant::now();
        while members.len() < size {
            let missing = (size - members.len()).min(CHURN);
            members.extend(join_all((0..missing).map(|_| Member::join(&cluster))).await);
        }
        figure(
            &format!("{size} replicas, all ready after"),
            format!("{:.1?}", started.elapsed()),
        );
        figure(
            &format!("{size} replicas, at the nodes"),
            cluster.usage().await,
        );
        all_are_found(&tools, size).await;
        are_called(&caller, size).await;
    }
    come_and_go(&cluster, &caller, &mut members).await;
    all_are_found(&tools, members.len()).await;
    a_node_dies(&mut cluster, &caller, members.len() + 2).await;
    all_are_found(&tools, members.len()).await;
    let left = Instant::now();
    let count = members.len();
    join_all(members.into_iter().map(Member::leave)).await;
    figure(
        &format!("{count} replicas, all left after"),
        format!("{:.1?}", left.elapsed()),
    );
}

async fn all_are_found(tools: &Client, size: usize) {
    let mut asked = 0;
    let took = eventually("everybody in discovery", async || {
        asked += 1;
        let began = Instant::now();
        let found = tools.survey(Duration::from_secs(10)).await;
        (found.len() == size).then(|| began.elapsed())
    })
    .await;
    figure(
        &format!("{size} replicas, all listed within"),
        format!("{took:.1?}, asked {asked} times"),
    );
}

/// One call after the other: what it takes to reach any of them, and how many had one.
async fn are_called(caller: &Client, size: usize) {
    let mut took = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..CALLS {
        let asked = Instant::now();
        seen.insert(caller.call::<Who>(&()).await.unwrap());
        took.push(asked.elapsed());
    }
    figure(
        &format!("{size} replicas, {CALLS} calls"),
        format!(
            "p50 {:.2?}, p99 {:.1?}, answered by {} of them",
            percentile(took.clone(), 50),
            percentile(took, 99),
            seen.len()
        ),
    );
    // Of a thousand draws each of ten has some; of more replicas most have one.
    assert!(seen.len() * 2 > size.min(CALLS), "{} of {size}", seen.len());
}

/// A third of them is replaced while calls go on that can't be repeated. Each call is waited for.
async fn come_and_go(cluster: &Cluster, caller: &Client, members: &mut Vec<Member>) {
    let stopping = CancellationToken::new();
    let calling = tokio::spawn(call_until::<Who>(stopping.clone(), caller.clone()));
    let began = Instant::now();
    let batches = members.len() / 3 / CHURN;
    for _ in 0..batches {
        let next = join_all((0..CHURN).map(|_| Member::join(cluster))).await;
        let old: Vec<Member> = members.drain(..CHURN).collect();
        members.extend(next);
        join_all(old.into_iter().map(Member::leave)).await;
    }
    let took = began.elapsed();
    stopping.cancel();
    let outcomes = calling.await.unwrap();
    let lost: Vec<_> = outcomes
        .iter()
        .filter_map(|one| one.as_ref().err())
        .collect();
    figure(
        "replicas replaced under 200 calls a second",
        format!(
            "{} of {} in {took:.1?}, {} of {} calls lost",
            batches * CHURN,
            members.len(),
            lost.len(),
            outcomes.len()
        ),
    );
    assert!(!outcomes.is_empty() && lost.is_empty(), "{lost:?}");
}

/// The node that has the most connections dies under calls that may be repeated, and all of them go elsewhere at once.
async fn a_node_dies(cluster: &mut Cluster, caller: &Client, connections: usize) {
    let before = cluster.connections().await;
    let node = (0..3).max_by_key(|node| before[*node]).unwrap();
    let stopping = CancellationToken::new();
    let calling = tokio::spawn(call_until::<Anybody>(stopping.clone(), caller.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let died = Instant::now();
    cluster.kill(node);
    let took = eventually("all of them elsewhere", async || {
        let now: u64 = cluster.connections().await.iter().sum();
        (now == connections as u64).then(|| died.elapsed())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stopping.cancel();
    let outcomes = calling.await.unwrap();
    let lost: Vec<_> = outcomes
        .iter()
        .filter_map(|one| one.as_ref().err())
        .collect();
    figure(
        "a node dies under 200 calls a second",
        format!(
            "{} of {connections} connections elsewhere after {took:.2?}, {} of {} calls lost",
            before[node],
            lost.len(),
            outcomes.len()
        ),
    );
    assert!(!outcomes.is_empty() && lost.is_empty(), "{lost:?}");
}

/// Calls 200 times a second, and returns what came of each call.
async fn call_until<O: Operation<Request = (), Reply = String>>(
    stopping: CancellationToken,
    caller: Client,
) -> Vec<Result<String, Status>> {
    let mut due = tokio::time::interval(Duration::from_millis(5));
    let mut calls = JoinSet::new();
    while !stopping.is_cancelled() {
        due.tick().await;
        let caller = caller.clone();
        calls.spawn(async move { caller.call::<O>(&()).await });
    }
    calls.join_all().await
}
