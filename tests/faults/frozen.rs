//! A frozen replica: connected, in the group, and silent. Its own caller finds another; nobody above
//! repeats anything, and repeating stays within the budget.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    bench::{Bench, THREE_EACH, shared_turn},
    calls::{Hops, now},
    load::Load,
    settings::{figure, lasting, rate, strict},
    support::Server,
};

/// Ten times the promise would outlast the test; that it leaves before it thaws is what counts.
const FREEZE_SECONDS: u32 = 20;

#[tokio::test]
async fn a_frozen_replica_costs_its_own_caller_an_attempt_and_no_get() {
    let _turn = shared_turn().await;
    let bench = Bench::on(Server::start().await, &THREE_EACH, &[]).await;
    let nats = bench.stack.nats.as_ref().unwrap().url();
    let load = Load::start(bench.get_user("gateway-1"), rate());
    tokio::time::sleep(Duration::from_secs(1)).await;

    let instance = bench.instance("database-service-1");
    let (frozen, since) = (Instant::now(), now());
    bench.signal("database-service-1", Signal::STOP);
    let left = tokio::time::timeout(lasting(FREEZE_SECONDS), out_of_group(&nats, &instance));
    let left = left.await.map(|()| frozen.elapsed());
    tokio::time::sleep(lasting(FREEZE_SECONDS).saturating_sub(frozen.elapsed())).await;
    bench.signal("database-service-1", Signal::CONT);
    let thawed = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let report = load.stop().await;
    // The last spans are written 100 ms after their end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let hops = Hops::read(&bench.stack.spans());
    let database = hops.calls_of("DatabaseService", since);
    let repeated = hops.repeated("DatabaseService", since);
    let both = hops.repeated("UserService", since);
    let both = repeated.intersection(&both).count();
    figure(
        "one database replica of three frozen",
        report.between(frozen, thawed),
    );
    figure(
        "attempts a call on the database, one replica frozen",
        format!("{:.3}", database.attempts_a_call()),
    );
    figure(
        "calls repeated by the caller of the frozen replica, and of those by its caller too",
        format!("{}, {both}", repeated.len()),
    );
    if !report.assert_no_failure() {
        return;
    }
    let left = left.expect("out of the group while it is frozen");
    figure(
        "a frozen replica is out of its group after",
        format!("{left:.1?}"),
    );
    if strict() {
        assert!(left < Duration::from_secs(15), "{left:?}");
    }
    assert!(database.attempts_a_call() <= 1.2, "{database:?}");
    // A user service that gets no processor for a while is silent as well.
    let chance = if strict() { 20 } else { 2 };
    assert!(chance * both < repeated.len(), "only the caller repeats");
    assert_eq!(0, hops.begun_too_late());
}

/// Waits until the server knows nobody any more who listens to an instance's subjects.
async fn out_of_group(nats: &str, instance: &str) {
    let client = async_nats::connect(nats).await.unwrap();
    let ping = format!("inst.database.{instance}._ping");
    loop {
        let asking = client.request(ping.clone(), "".into());
        match tokio::time::timeout(Duration::from_millis(250), asking).await {
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => return,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
