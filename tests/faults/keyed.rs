//! Writes with a key: what kills, freezes or cuts off a replica costs no registration, and no second one.

use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

use reqwest::Method;
use rustix::process::Signal;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    bench::{Bench, THREE_OF_ALL, shared_turn},
    calls::Hops,
    load::Load,
    proxy::Proxy,
    registered::assert_each_once,
    settings::{figure, lasting, rate},
    support::{Server, eventually, stack::Reply},
};

/// Who is away for longer than a mail's lease may find it sent by another.
const LEASE_LEFT: Duration = Duration::from_secs(12);
const DAVID: &str = r#"{"name":"David","email":"david@example.com"}"#;

#[tokio::test]
async fn a_killed_replica_costs_no_keyed_registration() {
    let _turn = shared_turn().await;
    let mut bench = Bench::start(&THREE_OF_ALL, &[]).await;
    let load = Load::registering(bench.register("gateway-1"), rate() / 2);
    let services = ["database-service", "user-service", "notification-service"];
    let kills = bench.kill_in_turn(&services, lasting(12)).await;
    let report = load.stop().await;
    figure(&format!("{kills} replicas killed, registrations"), &report);
    report.assert_no_failure();
    let hops = Hops::read(&bench.stack.spans());
    let repeated: HashSet<&str> = ["DatabaseService", "UserService", "NotificationService"]
        .iter()
        .flat_map(|one| hops.repeated(one, 0))
        .collect();
    figure("registrations that were repeated inside", repeated.len());
    assert!(!repeated.is_empty(), "nobody met a replica that was killed");
    // One at each death of a notification service, which are a third.
    assert_each_once(&bench, &report, kills / 3).await;
}

#[tokio::test]
async fn a_frozen_replica_costs_no_keyed_registration() {
    let _turn = shared_turn().await;
    for service in ["database-service", "user-service", "notification-service"] {
        let bench = Bench::start(&THREE_OF_ALL, &[]).await;
        let load = Load::registering(bench.register("gateway-1"), rate() / 2);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let name = format!("{service}-1");
        bench.signal(&name, Signal::STOP);
        tokio::time::sleep(lasting(5)).await;
        bench.signal(&name, Signal::CONT);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let report = load.stop().await;
        figure(
            &format!("one {service} of three frozen, registrations"),
            &report,
        );
        report.assert_no_failure();
        let twice = if lasting(5) > LEASE_LEFT {
            report.len()
        } else {
            0
        };
        assert_each_once(&bench, &report, twice).await;
    }
}

#[tokio::test]
async fn a_replica_that_is_cut_off_costs_no_keyed_registration() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let mut bench = Bench::on(nats, &THREE_OF_ALL, &[]).await;
    let lonely = [("NATS_URL", &*network.url())];
    for service in ["database-service", "notification-service"] {
        bench.add_with(service, &lonely).await;
    }
    let load = Load::registering(bench.register("gateway-1"), rate() / 2);
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // What it commits meanwhile nobody hears.
        network.go_silent();
        tokio::time::sleep(lasting(3)).await;
        network.heal();
        tokio::time::sleep(Duration::from_secs(1)).await;
        network.cut();
        tokio::time::sleep(Duration::from_secs(1)).await;
        network.heal();
    }
    let report = load.stop().await;
    figure(
        "one of four replicas of database and notification cut off, registrations",
        &report,
    );
    report.assert_no_failure();
    let twice = if lasting(3) > LEASE_LEFT {
        report.len()
    } else {
        0
    };
    assert_each_once(&bench, &report, twice).await;
}

#[tokio::test]
async fn a_reply_lost_after_the_commit_costs_an_attempt_and_registers_once() {
    let _turn = shared_turn().await;
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let services = [
        ("database-service", 1),
        ("notification-service", 1),
        ("gateway", 1),
    ];
    let mut bench = Bench::on(nats, &services, &[]).await;
    let behind = [("NATS_URL", &*network.url())];
    bench.add_with("user-service", &behind).await;
    let mut ids = BTreeSet::new();
    for n in 0..5 {
        network.lose_next("_INBOX.user.database.");
        // Without a key: the gateway's own does.
        let email = format!("x{n}@example.com");
        let registered = bench.stack.register("Xenia", &email).await;
        assert_eq!(201, registered.status, "{}", registered.body);
        assert_eq!("", registered.header("idempotent-replayed"));
        let said = registered.json();
        assert_eq!("sent", said["data"]["notification"]["status"], "{said}");
        ids.insert(said["data"]["user"]["id"].to_string());
        eventually("a lost reply", async || network.has_lost().then_some(())).await;
    }
    figure("replies of the database lost after the commit", ids.len());
    assert_eq!(5, ids.len());
    assert_eq!(5, bench.stack.mails().len());
    assert_eq!(0, bench.mails_sent_again());
    bench.stack.get("/user/9").await.problem(404);
}

#[tokio::test]
async fn a_client_that_goes_away_is_registered_and_finds_that_out_with_its_key() {
    let _turn = shared_turn().await;
    let bench = Bench::start(&THREE_OF_ALL, &[("SIMULATED_LATENCY", "on")]).await;
    let request = format!(
        "POST /register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nidempotency-key: k1\r\ncontent-length: {}\r\n\r\n{DAVID}",
        DAVID.len()
    );
    // One that goes away before its request was read is nobody's; a busy gateway reads late.
    eventually("the mail", async || {
        let mut client = TcpStream::connect(bench.stack.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(client);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mails = bench.stack.mails();
        let sent = mails.iter().filter(|mail| mail.contains("To: David"));
        (sent.count() == 1).then_some(())
    })
    .await;
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "k1"),
    ];
    let again: Reply = bench
        .stack
        .send(Method::POST, "/register", &headers, Some(DAVID.to_owned()))
        .await;
    assert_eq!(201, again.status, "{}", again.body);
    assert_eq!("true", again.header("idempotent-replayed"));
    assert_eq!(0, bench.mails_sent_again());
}
