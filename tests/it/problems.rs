//! What a client gets wrong, and what is away: a problem document each, at once.

use std::time::{Duration, Instant};

use nats_serve::{
    Code, Replica, Shutdown, Status,
    app::api::user::{GetUserProfile, USER},
};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{PATIENCE, Server, Stack, echo::connect, eventually, nats::with_key_of};

#[tokio::test]
async fn what_the_client_gets_wrong_is_a_problem_document() {
    let stack = Stack::start().await;

    let nobody = stack.get("/user/99").await.problem(404);
    assert_eq!("urn:nats-serve:problem:not_found", nobody["type"]);
    assert_eq!("Not Found", nobody["title"]);
    assert_eq!("no user has this id", nobody["detail"]);
    let again = r#"{"name":"Alice","email":"alice@example.com"}"#;
    let taken = stack.post("/register", again).await.problem(409);
    assert_eq!("urn:nats-serve:problem:email_taken", taken["type"]);
    stack.get("/user/no-number").await.problem(404);
    stack.get("/user/%ff").await.problem(404);
    stack.get("/user/1.*.%3E").await.problem(404);
    stack.get("/no/such/path").await.problem(404);

    let wrong_method = stack.send(Method::DELETE, "/register", &[], None).await;
    wrong_method.problem(405);
    assert_eq!("POST", wrong_method.header("allow"));

    let options = stack.send(Method::OPTIONS, "/user/1", &[], None).await;
    assert_eq!(
        (204, "GET,HEAD"),
        (options.status.as_u16(), options.header("allow"))
    );
    let probe = stack.send(Method::DELETE, "/health", &[], None).await;
    probe.problem(405);

    for broken in ["[[[", "", "{", "{\"name\":", "\u{0}"] {
        stack.post("/register", broken).await.problem(400);
    }
    for misshapen in ["[]", "1", "null", "\"x\""] {
        stack.post("/register", misshapen).await.problem(422);
    }
    let no_json = stack
        .send(Method::POST, "/register", &[], Some("name=x".to_owned()))
        .await;
    no_json.problem(415);
    let big = format!("{{\"name\":\"{}\"}}", "Xenia ".repeat(4 * 1024));
    stack.post("/register", &big).await.problem(413);
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let stack = Stack::start().await;
    let fields = async |body: &str| {
        let problem = stack.post("/register", body).await.problem(422);
        let errors = problem["errors"].as_array().unwrap();
        let names = errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(["name", "email"].as_slice(), fields("{}").await);
    assert_eq!(
        ["email"].as_slice(),
        fields(r#"{"name":"David","email":7}"#).await
    );
    assert_eq!(
        ["email"].as_slice(),
        fields(r#"{"name":"David","email":"david"}"#).await
    );
    assert_eq!(
        ["name", "email"].as_slice(),
        fields(r#"{"name":" ","email":"@"}"#).await
    );
    let injected = r#"{"name":"David","email":"d@example.com\r\nBcc: x@example.com"}"#;
    assert_eq!(["email"].as_slice(), fields(injected).await);
    assert!(stack.mails().is_empty());
}

#[tokio::test]
async fn a_service_of_another_version_is_no_fault_of_the_client() {
    let nats = Server::start().await;
    let other =
        Replica::new(&connect(USER, &nats).await).handle::<GetUserProfile>(async |_ctx, _| {
            Err(Status::new(Code::Malformed, "the request can't be read"))
        });
    let running = other.start().await.unwrap();
    tokio::spawn(async move { running.until(&Shutdown::new()).await });
    let mut stack = Stack::empty(nats, &[]);
    stack.add("gateway", "gateway");
    stack.ready("gateway").await;
    let failed = stack.get("/user/1").await.problem(500);
    assert_eq!("internal error", failed["detail"]);
    // What it was is in the log.
    eventually("a line about it", async || {
        let said = stack.processes["gateway"].output();
        said.contains("malformed: the request can't be read")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_away_is_a_503_at_once_and_heals_with_its_first_replica() {
    let mut stack = Stack::start().await;
    stack.leave("user-service").await;
    let started = Instant::now();
    let away = stack.get("/user/1").await;
    let problem = away.problem(503);
    assert_eq!("no user-service is running", problem["detail"]);
    assert!(["1", "2"].contains(&away.header("retry-after")));
    assert!(
        started.elapsed() < Duration::from_millis(1_900),
        "not the whole deadline"
    );

    stack.add("user-service", "user-service");
    stack.ready("user-service").await;
    assert_eq!(200, stack.get("/user/1").await.status);
}

#[tokio::test]
async fn while_nats_is_away_the_answer_is_503_and_then_200_again() {
    let mut stack = Stack::start().await;
    let nats = stack.nats.take().unwrap().kill();
    eventually("the first 503", async || {
        (stack.get("/user/1").await.status == 503).then_some(())
    })
    .await;
    let started = Instant::now();
    stack.get("/user/1").await.problem(503);
    // RECONNECT_WAIT is 40 ms.
    let took = started.elapsed();
    assert!(took < Duration::from_millis(400), "{took:?}");
    assert_eq!(200, stack.get("/health").await.status);

    stack.nats = Some(nats.start_again().await);
    eventually("the first 200", async || {
        (stack.get("/user/1").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_past_its_deadline_is_a_504() {
    let stack = Stack::with(&[("SIMULATED_LATENCY", "on")]).await;
    let hurried = [("request-timeout-ms", "40")];
    let started = Instant::now();
    let late = stack.send(Method::GET, "/user/1", &hurried, None).await;
    late.problem(504);
    assert!(started.elapsed() < PATIENCE / 10);
    // Every hop knew the deadline: the failing one and its callers are errors.
    eventually("the trace of the late request", async || {
        let trace = stack.trace(&late, 7).await;
        trace.rows().all(|row| row.span.is_error()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_callers_request_id_is_kept_if_it_is_harmless() {
    let stack = Stack::start().await;
    let kept = stack
        .send(
            Method::GET,
            "/user/1",
            &[("x-request-id", "order-42")],
            None,
        )
        .await;
    assert_eq!("order-42", kept.header("x-request-id"));
    let replaced = stack
        .send(Method::GET, "/user/1", &[("x-request-id", "a b{}")], None)
        .await;
    assert_ne!("a b{}", replaced.header("x-request-id"));
    let trace = stack.trace(&kept, 7).await;
    assert!(
        trace
            .rows()
            .all(|row| row.span.text("request_id") == Some("order-42"))
    );
}

#[tokio::test]
async fn clients_that_never_finish_a_request_are_cut_off() {
    let stack = Stack::start().await;
    let address = stack.address().to_owned();
    let silent = [
        "",
        "G",
        "GET / HTTP/1.1\r\nhost: x\r\n",
        "PRI * HTT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        // Whoever has been answered and asks no more.
        "GET /health HTTP/1.1\r\nhost: x\r\n\r\n",
    ];
    let work = silent.map(|sent| {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let closed = tokio::time::timeout(PATIENCE * 5, stream.read_to_end(&mut answer)).await;
            assert!(closed.is_ok(), "{sent:?} is still open");
        }
    });
    futures_util::future::join_all(work).await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_at_once() {
    let stack = Stack::start().await;
    let mut held = Vec::new();
    for _ in 0..768 {
        held.push(TcpStream::connect(stack.address()).await.unwrap());
    }
    let mut refused = TcpStream::connect(stack.address()).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    refused.write_all(request).await.unwrap();
    let mut answer = String::new();
    let reading = refused.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, reading)
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("too many connections at the moment") && answer.contains("retry-after: "),
        "{answer}"
    );
    drop(held);
    eventually("a place that has become free", async || {
        (stack.get("/health").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_request_whose_client_hangs_up_is_counted_and_logged_all_the_same() {
    let stack = Stack::with(&[("SIMULATED_LATENCY", "on")]).await;
    // One that hangs up before its request was read is nobody's; a busy gateway reads late.
    eventually("the line of a request that was given up", async || {
        let mut gone = TcpStream::connect(stack.address()).await.unwrap();
        let request = b"GET /user/1 HTTP/1.1\r\nhost: x\r\n\r\n";
        gone.write_all(request).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(gone);
        let said = stack.processes["gateway"].output();
        said.contains("GET /user/1 499").then_some(())
    })
    .await;
    let nats = stack.nats.as_ref().unwrap();
    let tools = with_key_of("tools", nats);
    let tools = tools.custom_inbox_prefix("_INBOX.tools");
    let asked = tools.connect(nats.url()).await.unwrap();
    let stats = asked
        .request("$SRV.STATS.gateway", "".into())
        .await
        .unwrap();
    let stats: Value = serde_json::from_slice(&stats.payload).unwrap();
    let abandoned = &stats["endpoints"][0]["data"]["abandoned"];
    assert!(abandoned.as_u64() >= Some(1), "{stats}");
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_the_gateways_leaving() {
    let mut stack = Stack::with(&[("SHUTDOWN_GRACE", "60s")]).await;
    let mut half = TcpStream::connect(stack.address()).await.unwrap();
    half.write_all(b"GET /user/1 HTTP/1.1\r\nHos")
        .await
        .unwrap();
    // Answered on another connection, so the first has been read.
    assert_eq!(200, stack.get("/user/1").await.status);
    let leaving = Instant::now();
    stack.leave("gateway").await;
    // Well before the 10 s after which headers are given up.
    assert!(
        leaving.elapsed() < Duration::from_secs(8),
        "{:?}",
        leaving.elapsed()
    );
}
