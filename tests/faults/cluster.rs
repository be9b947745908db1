//! A cluster of three NATS servers under load: each node dies, or leaves, and no `GET` and no keyed registration fails.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    bench::{Bench, turn},
    load::Load,
    nodes::Cluster,
    registered::assert_each_once,
    settings::{figure, rate},
    support::Stack,
};

const SERVICES: [(&str, usize); 4] = [
    ("database-service", 2),
    ("notification-service", 2),
    ("user-service", 2),
    ("gateway", 2),
];
/// Between two faults.
const CALM: Duration = Duration::from_secs(2);

async fn bench(cluster: &Cluster) -> Bench {
    let (urls, nkeys) = (cluster.urls(), cluster.nkeys());
    let variables = [
        ("NATS_URL", urls.as_str()),
        ("NATS_NKEY_FILE", nkeys.to_str().unwrap()),
        // As docker-compose.cluster.yml has it.
        ("RECONNECT_WAIT", "250ms"),
    ];
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
    let _turn = turn().await;
    under_load("killed", async |cluster, node| {
        cluster.kill(node);
        sleep(CALM).await;
        cluster.bring_back(&[node]).await;
    })
    .await;
}

#[tokio::test]
async fn an_upgrade_node_by_node_costs_no_get_and_no_keyed_registration() {
    let _turn = turn().await;
    under_load("upgraded", async |cluster, node| {
        cluster.send_away(node).await;
        cluster.bring_back(&[node]).await;
    })
    .await;
}

#[tokio::test]
async fn two_of_three_nodes_may_be_gone_and_what_comes_back_is_used_by_whoever_starts() {
    let _turn = turn().await;
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
