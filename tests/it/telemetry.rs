//! Traces and logs from inside a handler, and what becomes of them.

use std::{path::PathBuf, sync::OnceLock, time::Duration};

use nats_serve::{
    Client, Ctx, Instance, Operation, Replica, Service, Shutdown,
    client::Options,
    telemetry::{self, Config},
};
use pretty_assertions::assert_eq;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use tracing::Instrument;

use crate::support::{Server, Stack, stack::trace_in, tree::draw};

const OUTER: Service = Service::new("outer").with_deployment("Outer");
const INNER: Service = Service::new("inner").with_deployment("Inner");

struct Outer;
impl Operation for Outer {
    const SERVICE: Service = OUTER;
    const NAME: &'static str = "outer";
    type Request = String;
    /// The trace id of the request.
    type Reply = String;
}

struct Inner;
impl Operation for Inner {
    const SERVICE: Service = INNER;
    const NAME: &'static str = "inner";
    type Request = ();
    type Reply = ();
}

/// This process's telemetry, which can be installed once; returns the folder of its spans.
fn spans() -> PathBuf {
    static SPANS: OnceLock<(PathBuf, telemetry::Guard)> = OnceLock::new();
    let (dir, _) = SPANS.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        let config = Config {
            spans_dir: Some(dir.clone()),
            // Handlers fail on purpose here; their log lines would look like trouble.
            log_filter: Some("off".to_owned()),
            ..Config::default()
        };
        (
            dir,
            telemetry::init(&Instance::new(OUTER), &config).unwrap(),
        )
    });
    dir.clone()
}

/// Serves both operations, calls the outer one and returns its trace once it has so many spans.
async fn trace_of(what: &str, spans_expected: usize) -> nats_serve::traces::Trace {
    let dir = spans();
    let nats = Server::start().await;
    let options = || Options {
        url: nats.url(),
        ..Options::default()
    };
    let outer = Client::connect(&Instance::new(OUTER), options())
        .await
        .unwrap();
    let inner = Client::connect(&Instance::new(INNER), options())
        .await
        .unwrap();
    let caller = outer.clone();
    let replicas = [
        Replica::new(&outer).handle::<Outer>(move |ctx, what| work(caller.clone(), ctx, what)),
        Replica::new(&inner).handle::<Inner>(async |_ctx, ()| Ok(())),
    ];
    let shutdown = Shutdown::new();
    let mut tasks = Vec::new();
    for replica in replicas {
        let running = replica.start().await.unwrap();
        let until = shutdown.clone();
        tasks.push(tokio::spawn(async move { running.until(&until).await }));
    }
    let id = outer.call::<Outer>(&what.to_owned()).await.unwrap();
    let trace = trace_in(&dir, &id, spans_expected).await;
    shutdown.request();
    for task in tasks {
        task.await.unwrap();
    }
    trace
}

async fn work(client: Client, ctx: Ctx, what: String) -> Result<String, nats_serve::Status> {
    match what.as_str() {
        "span" => {
            async {
                tracing::info!(answer = 42, "inside");
                client.call::<Inner>(&()).await
            }
            .instrument(tracing::info_span!("application_span", deployment = "App"))
            .await?;
        }
        "event" => tracing::info!(answer = 42, "bare"),
        "spawn" => {
            let spawned = client.clone();
            let ms = ctx.remaining().as_millis();
            assert!(ms > 0);
            ctx.spawn(async move { spawned.call::<Inner>(&()).await })
                .await
                .unwrap()?;
        }
        other => panic!("{other}"),
    }
    let context = opentelemetry::Context::current();
    let span = opentelemetry::trace::TraceContextExt::span(&context)
        .span_context()
        .clone();
    Ok(span.trace_id().to_string())
}

#[tokio::test]
async fn a_tracing_span_nests_in_its_handler_and_a_call_nests_in_it() {
    let trace = trace_of("span", 5).await;
    assert_eq!(
        "\
proxy_route_to_replica (Outer) client
  replica_handle_request (Outer) server
    application_span (App) internal
      proxy_route_to_replica (Inner) client
        replica_handle_request (Inner) server
",
        draw(&trace)
    );
    let inside = trace.rows().nth(2).unwrap().span;
    assert_eq!(
        ["inside"].as_slice(),
        inside
            .events
            .iter()
            .map(|event| &*event.name)
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_bare_event_attaches_to_the_handlers_span() {
    let trace = trace_of("event", 2).await;
    let handled = trace.rows().nth(1).unwrap().span;
    assert_eq!("replica_handle_request", handled.name);
    assert_eq!(1, handled.events.len());
    assert_eq!("bare", handled.events[0].name);
    assert_eq!("42", handled.events[0].attributes["answer"].to_string());
}

#[tokio::test]
async fn a_spawned_task_keeps_the_context() {
    let trace = trace_of("spawn", 4).await;
    assert_eq!(
        "\
proxy_route_to_replica (Outer) client
  replica_handle_request (Outer) server
    proxy_route_to_replica (Inner) client
      replica_handle_request (Inner) server
",
        draw(&trace)
    );
}

/// What all processes have logged about a request when they have left, but for the line of the request itself.
async fn causes(stack: &mut Stack, trace_id: &str) -> Vec<Value> {
    let names: Vec<String> = stack.processes.keys().cloned().collect();
    let mut about = Vec::new();
    for name in names {
        for line in stack.leave(&name).await.output().lines() {
            let line: Value = serde_json::from_str(line).expect("each line is JSON");
            for key in [
                "timestamp",
                "level",
                "target",
                "service",
                "instance",
                "message",
            ] {
                assert!(line[key].is_string(), "{key} in {line}");
            }
            if line["trace_id"] == trace_id && line["target"] != "nats_serve::access" {
                about.push(line);
            }
        }
    }
    about
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_told_once_by_who_noticed() {
    // Nobody runs, nobody lives, nobody is done in time.
    for (how, cause, service) in [
        (None, "no_responders", "user-service"),
        (Some(Signal::STOP), "timed_out", "user-service"),
        (
            Some(Signal::CONT),
            "the handler was not done at its deadline",
            "database-service",
        ),
    ] {
        let mut stack = Stack::with(&[("SIMULATED_LATENCY", "on")]).await;
        match how {
            None => drop(stack.leave("database-service").await),
            Some(signal) => stack.processes["database-service"].signal(signal),
        }
        let hurried = [("request-timeout-ms", "80")];
        let failed = stack.send(Method::GET, "/user/1", &hurried, None).await;
        assert!(failed.status.is_server_error(), "{}", failed.body);
        if how == Some(Signal::STOP) {
            // Woken, it would begin with what nobody waits for any more, as far as it can know.
            drop(stack.processes.remove("database-service"));
        }
        let about = causes(&mut stack, &failed.trace_id()).await;
        assert_eq!(1, about.len(), "{cause}: {about:?}");
        assert_eq!(
            (service, cause),
            (
                about[0]["service"].as_str().unwrap(),
                about[0]["cause"].as_str().unwrap()
            )
        );
        assert_eq!(
            failed.json()["type"],
            format!(
                "urn:nats-serve:problem:{}",
                about[0]["code"].as_str().unwrap()
            )
        );
        assert!(about[0]["operation"].is_string(), "{about:?}");
    }
}

#[tokio::test]
async fn a_registration_that_nobody_writes_is_told_once_too() {
    let mut stack = Stack::start().await;
    stack.processes["database-service"].signal(Signal::STOP);
    let body = serde_json::json!({"name": "David", "email": "david@example.com"});
    let hurried = [
        ("request-timeout-ms", "700"),
        ("content-type", "application/json"),
    ];
    let failed = stack
        .send(Method::POST, "/register", &hurried, Some(body.to_string()))
        .await;
    assert_eq!(504, failed.status, "{}", failed.body);
    drop(stack.processes.remove("database-service"));
    let about = causes(&mut stack, &failed.trace_id()).await;
    assert_eq!(1, about.len(), "{about:?}");
    assert_eq!("timed_out", about[0]["cause"], "{about:?}");
}

#[tokio::test]
async fn a_failures_cause_is_logged_once_with_the_ids_of_its_request() {
    let mut stack = Stack::start().await;
    // Another program holds the database: writing fails, and the database service knows why.
    let file = stack.folder().join(".nats-serve/nats-serve.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let broken = stack.register("David", "david@example.com").await;
    broken.problem(503);
    drop(other);

    let about = causes(&mut stack, &broken.trace_id()).await;
    assert_eq!(1, about.len(), "{about:?}");
    assert_eq!("database-service", about[0]["service"]);
    assert_eq!("ERROR", about[0]["level"]);
    assert!(about[0]["cause"].is_string());
    assert_eq!(broken.header("x-request-id"), about[0]["request_id"]);
    assert_eq!(16, about[0]["span_id"].as_str().unwrap().len());
}

#[tokio::test]
async fn a_dead_collector_costs_no_request_and_delays_no_exit() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", dead.local_addr().unwrap());
    for protocol in ["grpc", "http/protobuf"] {
        // It accepts and never answers, which is worse than refusing.
        let mut stack = Stack::with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ])
        .await;
        let reply = stack.get("/user/1").await;
        assert_eq!(200, reply.status);
        stack.trace(&reply, 7).await;
        for service in crate::support::stack::SERVICES {
            let leaving = stack.leave(service);
            tokio::time::timeout(Duration::from_secs(15), leaving)
                .await
                .expect("left in time");
        }
    }
}

#[tokio::test]
async fn a_folder_that_takes_no_spans_costs_no_request() {
    let stack = Stack::with(&[("SPANS_DIR", "/dev/null/spans")]).await;
    for _ in 0..3 {
        assert_eq!(200, stack.get("/user/1").await.status);
    }
    let gateway = &stack.processes["gateway"];
    crate::support::eventually("one warning", async || {
        gateway
            .output()
            .contains("requests are not affected")
            .then_some(())
    })
    .await;
    assert_eq!(1, gateway.output().matches("writing spans").count());
}

#[tokio::test]
async fn spans_are_written_again_after_their_folder_was_cleaned() {
    let stack = Stack::start().await;
    let before = stack.get("/user/1").await;
    stack.trace(&before, 7).await;
    std::fs::remove_dir_all(stack.spans()).unwrap();
    let after = stack.get("/user/1").await;
    stack.trace(&after, 7).await;
}
