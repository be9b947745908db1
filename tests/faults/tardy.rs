//! A mail server that is slow at each step, and a connection that breaks meanwhile: the mail is sent once.

use std::{path::Path, time::Duration};

use serde_json::Value;

use crate::{
    bench::{Bench, shared_turn},
    proxy::Proxy,
    python::python,
    settings::figure,
    support::{Process, Server, eventually},
};

const SERVER: &str = include_str!("../conformance/smtp.py");
/// What one mail takes with it, and a while for another to be begun.
const LONG: Duration = Duration::from_secs(24);

#[tokio::test]
async fn a_mail_whose_relay_lost_sight_of_it_while_it_was_sent_is_sent_once() {
    let _turn = shared_turn().await;
    let mails = Process::start_program(python(), Path::new("/"), &["-c", SERVER], &[]);
    let mut mails = mails.with_mails();
    mails.says("\"port\"").await;
    let first: Value = serde_json::from_str(mails.output().lines().next().unwrap()).unwrap();
    let smtp = format!("smtp://127.0.0.1:{}", first["port"]);
    let nats = Server::start().await;
    let network = Proxy::start(&nats).await;
    let services = [("user-service", 1), ("gateway", 1)];
    let variables = [("SMTP_URL", &*smtp), ("MAIL_TIMEOUT", "10s")];
    let mut bench = Bench::on(nats, &services, &variables).await;
    let behind = [("NATS_URL", &*network.url())];
    bench.add_with("database-service", &behind).await;
    let registered = bench.stack.register("Xenia", "tardy@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    // There was nobody to send it: the relay does.
    bench.add("notification-service").await;
    let begun = || mails.output().matches("\"begun\"").count();
    eventually("a mail that is begun", async || {
        (begun() == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    network.cut();
    tokio::time::sleep(Duration::from_millis(100)).await;
    network.heal();
    tokio::time::sleep(LONG).await;
    let taken = mails.output().matches("\"to\"").count();
    figure(
        "a slow mail whose relay lost sight of it, begun, taken",
        format!("{}, {taken}", begun()),
    );
    assert_eq!((1, 1), (begun(), taken));
}
