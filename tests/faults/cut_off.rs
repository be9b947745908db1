//! One process loses its way to NATS and isn't told: the others go on, its own requests end in time,
//! and it heals.

use std::time::{Duration, Instant};

use crate::{
    bench::{Bench, shared_turn},
    load::Load,
    proxy::Proxy,
    settings::{figure, lasting},
    support::{Server, eventually},
};

/// The deadline is 2 s; a busy machine may add as much.
const BOUND: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_gateway_that_is_cut_off_ends_its_requests_in_time_and_harms_nobody() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let services = [("database-service", 1), ("user-service", 1), ("gateway", 1)];
    let mut bench = Bench::on(nats, &services, &[]).await;
    let lonely = bench
        .add_with("gateway", &[("NATS_URL", &network.url())])
        .await;
    let others = Load::start(bench.get_user("gateway-1"), 50);
    let alone = Load::start(bench.get_user(&lonely), 50);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let silent = Instant::now();
    network.go_silent();
    tokio::time::sleep(lasting(20)).await;
    let back = Instant::now();
    network.heal();
    let first = eventually("a success", async || alone.success_since(back)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let healed = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let (others, alone) = (others.stop().await, alone.stop().await);
    let meanwhile = alone.between(silent, back);
    figure("a gateway cut off, its own requests", &meanwhile);
    figure("a gateway cut off, those of the other", &others);
    figure(
        "a gateway back, first success after",
        format!("{:.1?}", first - back),
    );
    others.assert_no_failure();
    meanwhile.assert_within(BOUND);
    alone.between(healed, Instant::now()).assert_no_failure();
}

#[tokio::test]
async fn a_replica_that_is_cut_off_costs_no_get() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let services = [("database-service", 2), ("user-service", 1), ("gateway", 1)];
    let mut bench = Bench::on(nats, &services, &[]).await;
    let lonely = [("NATS_URL", &*network.url())];
    bench.add_with("database-service", &lonely).await;
    let load = Load::start(bench.get_user("gateway-1"), 100);
    tokio::time::sleep(Duration::from_secs(1)).await;
    network.go_silent();
    tokio::time::sleep(lasting(20)).await;
    network.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // And once with a break that everybody sees.
    network.cut();
    tokio::time::sleep(Duration::from_secs(1)).await;
    network.heal();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    figure("one database replica of three cut off", &report);
    report.assert_no_failure();
}
