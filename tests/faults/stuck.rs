//! A process is told to leave while a request is under way: it waits for the request, until the grace is
//! over or it is told again, and what is known of the request is in the span files.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    bench::{Bench, ONE_EACH, shared_turn},
    settings::figure,
    support::{
        Server,
        echo::{CALLER, connect},
        eventually,
        stack::trace_in,
    },
};

const GRACE: (&str, &str) = ("SHUTDOWN_GRACE", "1s");
/// Ten times the grace; the request takes 30 s.
const BOUND: Duration = Duration::from_secs(10);
const BODY: &str = r#"{"name":"Eve","email":"eve@example.com"}"#;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_gateway_that_leaves_finishes_its_open_request() {
    let _turn = shared_turn().await;
    let bench = Bench::on(Server::start().await, &ONE_EACH, &[]).await;
    let mut open = a_stuck_registration(&bench, "gateway").await;
    bench.signal("gateway-1", Signal::TERM);
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.signal("database-service-1", Signal::CONT);
    let mut answer = String::new();
    // It closes the connection after the answer.
    let reading = open.read_to_string(&mut answer);
    tokio::time::timeout(BOUND, reading).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn a_gateway_that_leaves_waits_for_the_rest_of_a_body() {
    let _turn = shared_turn().await;
    let bench = Bench::on(Server::start().await, &ONE_EACH, &[]).await;
    let mut open = registration(&bench, &BODY[..10]).await;
    assert_eq!(200, bench.stack.get("/user/1").await.status);
    bench.signal("gateway-1", Signal::TERM);
    tokio::time::sleep(Duration::from_secs(1)).await;
    open.write_all(&BODY.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    let reading = open.read_to_string(&mut answer);
    tokio::time::timeout(BOUND, reading).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

#[tokio::test]
async fn a_gateway_with_a_stuck_request_ends_when_its_grace_is_over() {
    let _turn = shared_turn().await;
    let mut bench = Bench::on(Server::start().await, &ONE_EACH, &[GRACE]).await;
    let _stuck = a_stuck_registration(&bench, "gateway").await;
    let took = ended(&mut bench, "gateway-1", 1).await;
    figure(
        "a stuck gateway with a grace of 1 s left after",
        format!("{took:.1?}"),
    );
    assert!(took >= Duration::from_millis(900), "it waited for {took:?}");
    was_written(&bench, "gateway", "proxy_http_request").await;
}

#[tokio::test]
async fn a_replica_with_a_stuck_handler_ends_when_its_grace_is_over() {
    let _turn = shared_turn().await;
    let mut bench = Bench::on(Server::start().await, &ONE_EACH, &[GRACE]).await;
    let _stuck = a_stuck_registration(&bench, "user-service").await;
    let took = ended(&mut bench, "user-service-1", 1).await;
    figure(
        "a stuck replica with a grace of 1 s left after",
        format!("{took:.1?}"),
    );
    assert!(took >= Duration::from_millis(900), "it waited for {took:?}");
    was_written(&bench, "user-service", "replica_handle_request").await;
}

#[tokio::test]
async fn a_second_signal_ends_a_process_at_once() {
    let _turn = shared_turn().await;
    for (service, span) in [
        ("gateway", "proxy_http_request"),
        ("user-service", "replica_handle_request"),
    ] {
        let patient = [("SHUTDOWN_GRACE", "60s")];
        let mut bench = Bench::on(Server::start().await, &ONE_EACH, &patient).await;
        let _stuck = a_stuck_registration(&bench, service).await;
        let took = ended(&mut bench, &format!("{service}-1"), 2).await;
        figure(
            &format!("a stuck {service} with a grace of 60 s, told twice, left after"),
            format!("{took:.1?}"),
        );
        was_written(&bench, service, span).await;
    }
}

/// Checks that a service's span of the stuck request was ended and written when its process left.
async fn was_written(bench: &Bench, service: &str, span: &str) {
    let trace = trace_in(&bench.stack.spans(), TRACE, 1).await;
    let found = trace
        .rows()
        .any(|row| row.span.service == service && row.span.name == span);
    assert!(found, "no {span} of {service}");
}

/// Freezes the database, and sends a registration that a service then waits with.
async fn a_stuck_registration(bench: &Bench, service: &str) -> TcpStream {
    bench.signal("database-service-1", Signal::STOP);
    let connection = registration(bench, BODY).await;
    begun(bench, service).await;
    connection
}

/// Sends a registration, or the beginning of one.
async fn registration(bench: &Bench, body: &str) -> TcpStream {
    let url = bench.get_user("gateway-1");
    let address = url.trim_start_matches("http://").split('/').next().unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /register HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         request-timeout-ms: 30000\r\ntraceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n\
         content-length: {}\r\n\r\n{body}",
        BODY.len()
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    connection
}

/// Waits until a service says that it works on a request.
async fn begun(bench: &Bench, service: &str) {
    let nats = bench.stack.nats.as_ref().unwrap();
    let client = connect(CALLER, nats).await;
    eventually("a request under way", async || {
        let found = client.survey(Duration::from_millis(300)).await;
        let one = found.iter().find(|one| one.name == service)?;
        let ongoing = one.endpoints.first()?.data["ongoing"].as_u64()?;
        (ongoing > 0).then_some(())
    })
    .await;
}

/// Tells a process to leave, so often, and returns how long that took.
async fn ended(bench: &mut Bench, name: &str, signals: usize) -> Duration {
    let mut process = bench.stack.processes.remove(name).unwrap();
    let told = Instant::now();
    for _ in 0..signals {
        process.signal(Signal::TERM);
        // Two signals of a kind at the same moment are one.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    process.ended().await;
    let took = told.elapsed();
    assert!(took < BOUND, "it took {took:?}:\n{}", process.output());
    took
}
