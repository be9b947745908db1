//! A cluster of three NATS servers under load: each node dies, or leaves, and no `GET` and no keyed registration fails.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::time::sleep;

use crate::{
    bench::{Bench, shared_turn},
    load::Load,
    nodes::{Cluster, neighbours},
    registered::assert_each_once,
    settings::{figure, rate},
    support::{Stack, certificates, eventually},
};

const SERVICES: [(&str, usize); 4] = [
    ("database-service", 2),
    ("notification-service", 2),
    ("user-service", 2),
    ("gateway", 2),
];
/// Between two faults.
const CALM: Duration = Duration::from_secs(2);

/// Three pings without an answer, a second apart, and as long again. With one of the defaults, 5 s for who connects and 4 s
/// for the nodes, it would be 12 s at least.
const NOTICED: Duration = Duration::from_secs(9);

async fn bench(cluster: &Cluster) -> Bench {
    bench_with(cluster, &[]).await
}

async fn bench_with(cluster: &Cluster, more: &[(&str, &str)]) -> Bench {
    let (urls, nkeys) = (cluster.urls(), cluster.nkeys());
    let variables = [
        ("NATS_URL", urls.as_str()),
        ("NATS_NKEY_FILE", nkeys.to_str().unwrap()),
        // As docker-compose.cluster.yml has it.
        ("RECONNECT_WAIT", "250ms"),
        ("PING_INTERVAL", "1s"),
    ];
    let variables = [&variables, more].concat();
    Bench::of(Stack::at(&variables), &SERVICES).await
}

/// How often a process has lost its connection.
async fn disconnects(bench: &Bench, name: &str) -> u64 {
    let metrics = bench.stack.metrics(name).await;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("nats_serve_nats_disconnects_total "));
    line.unwrap().parse().unwrap()
}

/// Reads at one gateway and registers at the other, while each node is dealt with in turn.
async fn under_load(how: &str, mut fault: impl AsyncFnMut(&mut Cluster, usize)) {
    let mut cluster = Cluster::of_three().await;
    let bench = bench(&cluster).await;
    let reads = Load::start(bench.get_user("gateway-1"), rate());
    let writes = Load::registering(bench.register("gateway-2"), rate() / 2);
    sleep(CALM).await;
    for node in 0..3 {
        fault(&mut cluster, node).await;
        sleep(CALM).await;
    }
    let (reads, writes) = (reads.stop().await, writes.stop().await);
    figure(&format!("cluster, each node {how}: GET"), &reads);
    figure(&format!("cluster, each node {how}: POST"), &writes);
    // Nobody has kept a connection, for there was no node that stayed.
    let mut lost = Vec::new();
    for (service, _) in SERVICES {
        for name in bench.replicas(service) {
            lost.push(disconnects(&bench, &name).await);
        }
    }
    figure("connections that each process lost", format!("{lost:?}"));
    assert!(lost.iter().all(|count| *count >= 1), "{lost:?}");
    reads.assert_no_failure();
    writes.assert_no_failure();
    assert_each_once(&bench, &writes, 0).await;
}

#[tokio::test]
async fn a_node_that_dies_and_then_the_next_cost_no_get_and_no_keyed_registration() {
    let _turn = shared_turn().await;
    under_load("killed", async |cluster, node| {
        cluster.kill(node);
        sleep(CALM).await;
        cluster.bring_back(&[node]).await;
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_node_by_node_costs_no_get_and_no_keyed_registration() {
    let _turn = shared_turn().await;
    under_load("upgraded", async |cluster, node| {
        cluster.send_away(node).await;
        cluster.bring_back(&[node]).await;
    })
    .await;
}

#[tokio::test]
async fn two_of_three_nodes_may_be_gone_and_what_comes_back_is_used_by_whoever_starts() {
    let _turn = shared_turn().await;
    let mut cluster = Cluster::of_three().await;
    let mut bench = bench(&cluster).await;
    let reads = Load::start(bench.get_user("gateway-1"), rate());
    let writes = Load::registering(bench.register("gateway-2"), rate() / 2);
    sleep(CALM).await;
    for node in [0, 1] {
        cluster.kill(node);
        sleep(CALM).await;
    }
    // Everybody is at the last one, and stays there when the others are back.
    cluster.bring_back(&[0, 1]).await;
    let before = cluster.connections().await;
    assert_eq!([0, 0], before[..2], "{before:?}");
    // The documented step: a rolling restart.
    for service in ["user-service", "database-service", "notification-service"] {
        for old in bench.replicas(service) {
            bench.add(service).await;
            bench.stack.leave(&old).await;
        }
    }
    let after = cluster.connections().await;
    let (reads, writes) = (reads.stop().await, writes.stop().await);
    figure("cluster, two nodes killed: GET", &reads);
    figure("cluster, two nodes killed: POST", &writes);
    figure(
        "connections by node, before and after",
        format!("{before:?}, {after:?}"),
    );
    // Six choose one of three each: one in 729 times all take the last.
    assert!(after[0] + after[1] > 0, "{after:?}");
    reads.assert_no_failure();
    writes.assert_no_failure();
    assert_each_once(&bench, &writes, 0).await;
}

#[tokio::test]
async fn a_node_that_freezes_is_left_and_until_then_calls_over_it_end_by_their_deadline() {
    let _turn = shared_turn().await;
    let cluster = Cluster::of_three().await;
    let bench = bench(&cluster).await;
    let before = cluster.connections().await;
    let processes: u64 = before.iter().sum();
    let frozen = (0..3).max_by_key(|node| before[*node]).unwrap();
    let reads = ["gateway-1", "gateway-2"].map(|at| Load::start(bench.get_user(at), rate() / 2));
    let writes = Load::registering(bench.register("gateway-1"), rate() / 4);
    sleep(CALM).await;
    let since = Instant::now();
    cluster.signal(frozen, Signal::STOP);
    // Nobody can ask the frozen one.
    while {
        let mut elsewhere = 0;
        for node in (0..3).filter(|node| *node != frozen) {
            elsewhere += cluster.connections_of(node).await;
        }
        elsewhere < processes
    } {
        assert!(since.elapsed() < NOTICED, "{:?}", since.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
    let left = Instant::now();
    let others = (0..3).filter(|node| *node != frozen);
    for node in others {
        while cluster.neighbours_of(node).await != 1 {
            assert!(since.elapsed() < NOTICED, "{:?}", since.elapsed());
            sleep(Duration::from_millis(50)).await;
        }
    }
    figure(
        "cluster, a node frozen: no node any more after",
        format!("{:.1?}", since.elapsed()),
    );
    // What was under way when the last one left.
    sleep(CALM).await;
    let healed = Instant::now();
    sleep(CALM).await;
    let end = Instant::now();
    cluster.signal(frozen, Signal::CONT);
    sleep(CALM).await;
    figure(
        "cluster, a node frozen: left by all after",
        format!("{:.1?}", left - since),
    );
    figure(
        "connections at each node before",
        format!("{before:?}, node {frozen} frozen"),
    );
    let [one, other] = reads;
    for (what, load) in [("GET", one), ("GET", other), ("POST", writes)] {
        let report = load.stop().await;
        let frozen = report.between(since, left);
        figure(&format!("cluster, while a node is frozen: {what}"), &frozen);
        // 2 s each.
        report.assert_within(Duration::from_secs(20));
        report.between(healed, end).assert_no_failure();
        // What was sent before or after it failed by what was under way at most.
        let others = report.failed() - frozen.failed();
        figure(&format!("failed besides: {what}"), others);
        if what == "POST" {
            assert_each_once(&bench, &report, report.failed()).await;
        }
    }
}

#[tokio::test]
async fn a_node_that_does_not_know_the_password_is_no_node() {
    let _turn = shared_turn().await;
    let cluster = Cluster::of_three().await;
    let (stranger, _keys) = cluster.stranger().await;
    eventually("a refusal", async || {
        let said = stranger.output();
        said.contains("Authorization Violation").then_some(())
    })
    .await;
    assert_eq!(Some(0), neighbours(&stranger).await);
    assert_eq!([2, 2, 2], *cluster.neighbours().await);
}

#[tokio::test]
async fn nodes_on_several_hosts_speak_tls_with_one_another_and_with_clients() {
    let _turn = shared_turn().await;
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let cluster = Cluster::with_tls(folder.path()).await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client-key.pem"));
    let tls = [
        ("NATS_TLS_CA_FILE", ca.as_str()),
        ("NATS_TLS_CERT_FILE", certificate.as_str()),
        ("NATS_TLS_KEY_FILE", key.as_str()),
    ];
    let bench = bench_with(&cluster, &tls).await;
    let writes = Load::registering(bench.register("gateway-1"), rate() / 4);
    sleep(CALM).await;
    let writes = writes.stop().await;
    writes.assert_no_failure();
    assert_each_once(&bench, &writes, 0).await;
    // Who speaks none is no node, whatever he knows.
    let plain = cluster.without_tls().await;
    eventually("a refusal", async || {
        let closed = plain.output().matches("Router connection closed").count();
        // It has tried each of them, and again.
        (closed > 6).then_some(())
    })
    .await;
    assert_eq!(Some(0), neighbours(&plain).await);
    assert_eq!([2, 2, 2], *cluster.neighbours().await);
}
