//! The work was done and the answer got lost: what is silent is repeated, if it may be.

use std::time::Duration;

use crate::{
    bench::{Bench, shared_turn},
    calls::Hops,
    load::Load,
    proxy::Proxy,
    settings::{figure, strict},
    support::{Server, eventually},
};

#[tokio::test]
async fn a_lost_reply_costs_an_attempt_and_no_get() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let services = [("database-service", 1), ("gateway", 1)];
    let mut bench = Bench::on(nats, &services, &[]).await;
    bench
        .add_with("user-service", &[("NATS_URL", &network.url())])
        .await;
    let load = Load::start(bench.get_user("gateway-1"), 20);
    for _ in 0..5 {
        network.lose_next("_INBOX.user.database.");
        eventually("a lost reply", async || network.has_lost().then_some(())).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let report = load.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let hops = Hops::read(&bench.stack.spans());
    let (repeated, above) = (
        hops.repeated("DatabaseService", 0),
        hops.repeated("UserService", 0),
    );
    figure("5 replies of the database lost", &report);
    report.assert_no_failure();
    assert!(repeated.len() >= 5, "{repeated:?}");
    // A user service that gets no processor for a while is silent as well.
    let both = repeated.intersection(&above).count();
    assert!(
        both <= if strict() { 0 } else { 2 },
        "only the caller repeats"
    );
}
