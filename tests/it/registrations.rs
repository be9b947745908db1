//! A registration keeps its promise: one key is one user and one mail, and what is not sent yet is sent later.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, future::join_all};
use nats_serve::{
    Replica, Shutdown, Status,
    app::api::user::{RegisterUser, USER},
    traces::Trace,
};
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Process, Server, Stack, echo::connect, eventually, nats::with_key_of, process,
    stack::Reply,
};

const DAVID: &str = r#"{"name":"David","email":"david@example.com"}"#;

async fn register_with(stack: &Stack, key: &str, body: &str) -> Reply {
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", key),
    ];
    stack
        .send(Method::POST, "/register", &headers, Some(body.to_owned()))
        .await
}

fn is_replayed(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == "true"
}

async fn mails(stack: &Stack, number: usize) -> Vec<String> {
    eventually(&format!("{number} mails"), async || {
        let mails = stack.mails();
        (mails.len() == number).then_some(mails)
    })
    .await
}

/// Runs `nats-serve outbox` with the key of tools, and returns what it printed.
fn outbox(stack: &Stack, arguments: &[&str]) -> String {
    let all: Vec<&str> = ["outbox"].iter().chain(arguments).copied().collect();
    let (good, said) = process::run(stack.folder(), &all, &stack.nats_variables());
    assert!(good, "{said}");
    said
}

#[tokio::test]
async fn a_repeated_key_is_answered_like_the_first_and_registers_nobody() {
    let stack = Stack::start().await;
    let first = register_with(&stack, "k1", DAVID).await;
    assert_eq!((201, false), (first.status.as_u16(), is_replayed(&first)));
    // Written another way, it is the same body.
    let same = r#"{ "email": "david@example.com", "name": "David" }"#;
    for body in [DAVID, same] {
        let again = register_with(&stack, "k1", body).await;
        assert_eq!(201, again.status, "{}", again.body);
        assert!(is_replayed(&again));
        // Byte for byte: the time is that of the commit, and the mail is sent by now.
        assert_eq!(first.body, again.body);
    }
    assert_eq!(1, mails(&stack, 1).await.len());
    stack.get("/user/5").await.problem(404);
}

#[tokio::test]
async fn a_key_that_stands_for_another_body_is_refused() {
    let stack = Stack::start().await;
    assert_eq!(201, register_with(&stack, "k1", DAVID).await.status);
    for other in [
        r#"{"name":"David","email":"other@example.com"}"#,
        r#"{"name":"Dave","email":"david@example.com"}"#,
    ] {
        let refused = register_with(&stack, "k1", other).await.problem(422);
        assert_eq!("Idempotency-Key", refused["errors"][0]["field"]);
    }
    // Another key is another registration, and the address is taken.
    register_with(&stack, "k2", DAVID).await.problem(409);
    // Only what succeeded is remembered: the key that failed may be used for something else.
    let other = r#"{"name":"Eve","email":"eve@example.com"}"#;
    assert_eq!(201, register_with(&stack, "k2", other).await.status);
    mails(&stack, 2).await;
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_with_words() {
    let stack = Stack::start().await;
    for key in ["", "a b", &"x".repeat(256)] {
        let refused = register_with(&stack, key, DAVID).await.problem(422);
        assert_eq!("Idempotency-Key", refused["errors"][0]["field"], "{key}");
    }
    let longest = register_with(&stack, &"x".repeat(255), DAVID).await;
    assert_eq!(201, longest.status);
}

#[tokio::test]
async fn fifty_parallel_requests_with_one_key_are_one_user_and_one_mail() {
    let mut stack = Stack::empty(crate::support::Server::start_secured().await, &[]);
    for (service, replicas) in [
        ("database-service", 3),
        ("notification-service", 2),
        ("user-service", 3),
        ("gateway", 1),
    ] {
        for n in 0..replicas {
            stack.add(&format!("{service}-{n}"), service);
        }
    }
    let names: Vec<String> = stack.processes.keys().cloned().collect();
    for name in names {
        stack.ready(&name).await;
    }
    let replies = join_all((0..50).map(|_| register_with(&stack, "k1", DAVID))).await;
    let mut ids = std::collections::BTreeSet::new();
    for reply in &replies {
        assert_eq!(201, reply.status, "{}", reply.body);
        ids.insert(reply.json()["data"]["user"]["id"].to_string());
    }
    assert_eq!(1, ids.len(), "{ids:?}");
    let first = replies.iter().filter(|reply| !is_replayed(reply)).count();
    assert_eq!(1, first);
    for reply in &replies {
        stack.trace(reply, 9).await;
    }
    assert_eq!(1, stack.mails().len());
}

#[tokio::test]
async fn a_user_whose_mail_cant_be_sent_yet_is_registered_and_gets_it_later() {
    let mut stack = Stack::start().await;
    stack.leave("notification-service").await;
    let registered = register_with(&stack, "k1", DAVID).await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let notification = |reply: &Reply| reply.json()["data"]["notification"]["status"].clone();
    assert_eq!("queued", notification(&registered));
    assert_eq!(200, stack.get("/user/4").await.status);
    eventually("an entry", async || {
        let said = outbox(&stack, &[]);
        let is_there = said.contains("mail ") && said.contains("1 pending, 0 failed");
        is_there.then_some(())
    })
    .await;
    let again = register_with(&stack, "k1", DAVID).await;
    assert_eq!("queued", notification(&again));

    stack.add("notification-2", "notification-service");
    stack.ready("notification-2").await;
    let mails = mails(&stack, 1).await;
    assert!(mails[0].contains("To: David <david@example.com>"));
    eventually("a repetition that says so", async || {
        let again = register_with(&stack, "k1", DAVID).await;
        (notification(&again) == "sent").then_some(())
    })
    .await;
    assert_eq!("0 pending, 0 failed", outbox(&stack, &[]).trim());
    sent_once(&stack);

    // It has a trace of its own, which is linked to that of the registration.
    let link = format!("\"traceId\":\"{}\"", registered.trace_id());
    let relayed = eventually("the trace of the relay", async || {
        let files = std::fs::read_dir(stack.spans()).unwrap();
        let lines = files.flat_map(|file| {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let mut of_relay = lines.filter(|line| line.contains("\"outbox_relay\""));
        of_relay.find(|line| line.contains("\"links\"") && line.contains(&link))
    })
    .await;
    let relayed: Value = serde_json::from_str(&relayed).unwrap();
    assert!(relayed.is_object());
}

#[tokio::test]
async fn the_tree_of_a_registration_keeps_its_nine_spans_and_tells_of_gate_and_mail() {
    let stack = Stack::start().await;
    let registered = register_with(&stack, "k1", DAVID).await;
    let trace: Trace = stack.trace(&registered, 9).await;
    // What is noted later makes no span.
    tokio::time::sleep(Duration::from_millis(700)).await;
    let trace_again = stack.trace(&registered, 9).await;
    assert_eq!(9, trace_again.rows().len());
    let events: Vec<String> = trace
        .rows()
        .flat_map(|row| row.span.events.iter())
        .map(|event| event.name.clone())
        .collect();
    for expected in ["gate", "mail_noted"] {
        assert!(events.iter().any(|name| name == expected), "{events:?}");
    }
    assert_eq!("0 pending, 0 failed", outbox(&stack, &[]).trim());
}

#[tokio::test]
async fn a_mail_goes_out_though_the_user_service_dies_between_the_commit_and_its_word() {
    let mut stack = Stack::empty(crate::support::Server::start_secured().await, &[]);
    stack.add("database-service", "database-service");
    stack.add("notification-service", "notification-service");
    stack.add_with("user-service", "user-service", &[("MAIL_WAIT", "2s")]);
    stack.add("gateway", "gateway");
    for service in crate::support::stack::SERVICES {
        stack.ready(service).await;
    }
    // Whoever prepares the mail asks for the word when there is nobody any more who knows of the commit.
    stack.processes["notification-service"].signal(Signal::STOP);
    let registering = register_with(&stack, "k1", DAVID);
    let killing = async {
        eventually("the commit", async || {
            (stack.get("/user/4").await.status == 200).then_some(())
        })
        .await;
        stack.processes["user-service"].signal(Signal::KILL);
        stack.processes["notification-service"].signal(Signal::CONT);
        Instant::now()
    };
    let (answer, killed) = tokio::join!(registering, killing);
    // It hears nothing, or that it is not known; never that it failed for good.
    assert!(
        [201, 503, 504].contains(&answer.status.as_u16()),
        "{}",
        answer.body
    );
    stack.add("user-2", "user-service");
    stack.ready("user-2").await;
    let again = register_with(&stack, "k1", DAVID).await;
    assert_eq!(201, again.status, "{}", again.body);
    // When the lease is over, and not before.
    tokio::time::timeout(2 * PATIENCE, async {
        while stack.mails().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert!(
        killed.elapsed() > Duration::from_secs(12),
        "it went out by itself"
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(1, stack.mails().len());
    sent_once(&stack);
    assert_eq!("0 pending, 0 failed", outbox(&stack, &[]).trim());
}

/// A folder shows a mail that was sent twice but once; who sent it says so.
fn sent_once(stack: &Stack) {
    for process in stack.processes.values() {
        let said = process.output();
        assert!(!said.contains("there already was sent again"), "{said}");
    }
}

#[tokio::test]
async fn an_outcome_that_is_not_known_can_be_asked_for_with_the_same_key() {
    let mut stack = Stack::with(&[("SIMULATED_LATENCY", "on"), ("REQUEST_TIMEOUT", "150ms")]).await;
    // The write takes 200 ms, so it is begun, and dropped or not.
    let late = stack.post("/register", DAVID).await;
    let problem = late.problem(504);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("repeat with the same Idempotency-Key"),
        "{detail}"
    );
    assert_eq!("1", late.header("retry-after"));
    let key = late.header("idempotency-key").to_owned();
    stack.leave("gateway").await;
    stack.add_with("gateway-2", "gateway", &[("REQUEST_TIMEOUT", "5s")]);
    stack.ready("gateway-2").await;
    let known = register_with(&stack, &key, DAVID).await;
    assert_eq!(201, known.status, "{}", known.body);
    assert_eq!("4", known.json()["data"]["user"]["id"]);
    mails(&stack, 1).await;
}

#[tokio::test]
async fn whoever_is_answered_500_is_told_the_key_as_well() {
    let nats = Server::start().await;
    let broken = Replica::new(&connect(USER, &nats).await)
        .handle::<RegisterUser>(async |_ctx, _| Err(Status::internal("a bug")));
    let running = broken.start().await.unwrap();
    tokio::spawn(async move { running.until(&Shutdown::new()).await });
    let mut stack = Stack::empty(nats, &[]);
    stack.add("gateway", "gateway");
    stack.ready("gateway").await;
    let failed = stack.post("/register", DAVID).await;
    let problem = failed.problem(500);
    assert_eq!("about:blank", problem["type"]);
    assert_eq!("internal error", problem["detail"]);
    assert_eq!(32, failed.header("idempotency-key").len());
}

#[tokio::test]
async fn another_teams_subscriber_hears_of_each_new_user_once() {
    let stack = Stack::start().await;
    let nats = stack.nats.as_ref().unwrap();
    let team = with_key_of("events", nats)
        .connect(nats.url())
        .await
        .unwrap();
    let mut events = team.subscribe("evt.>").await.unwrap();
    team.flush().await.unwrap();
    // The example as its first lines say.
    let program = process::build_folder().join("examples/newcomers");
    let key = nats.nkeys().unwrap().join("events.nk");
    let arguments = [&*nats.url(), key.to_str().unwrap()];
    let mut newcomers = Process::start_program(&program, stack.folder(), &arguments, &[]);
    newcomers.says("listening").await;

    let registered = register_with(&stack, "k1", DAVID).await;
    assert_eq!(201, register_with(&stack, "k1", DAVID).await.status);
    let event = tokio::time::timeout(PATIENCE, events.next()).await;
    let event = event.unwrap().unwrap();
    assert_eq!("evt.user.registered", &*event.subject);
    let document: Value = serde_json::from_slice(&event.payload).unwrap();
    let id = event.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap();
    assert_eq!(document["id"], id.as_str());
    assert_eq!(
        json!({"user": {"id": "4", "name": "David", "email": "david@example.com"}}),
        document["data"]
    );
    let trace = event.headers.as_ref().unwrap().get("traceparent").unwrap();
    assert!(trace.as_str().contains(&registered.trace_id()), "{trace}");
    newcomers.says("user \"4\" has registered").await;
    let more = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
    assert!(more.is_err(), "{more:?}");
}
