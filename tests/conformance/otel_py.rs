//! Traces that OpenTelemetry's own SDK begins before us, and goes on with behind us.

use nats_serve::traces::{Kind, Span, Status, Trace};
use pretty_assertions::assert_eq;
use serde_json::Value;

use crate::{
    python::{script_at, serving},
    support::{
        Process, Server, Stack, eventually,
        stack::trace_in,
        tree::{self, draw},
    },
};

const TRUST: (&str, &str) = ("TRUST_TRACEPARENT", "always");

/// A span that Python has made, by its own account.
#[derive(Debug, PartialEq)]
struct Theirs {
    trace: String,
    span: String,
    parent: Option<String>,
    kind: String,
    status: String,
}

impl Theirs {
    fn read(said: &Value) -> Option<Self> {
        let id = |id: &Value| id.as_str()?.strip_prefix("0x").map(str::to_owned);
        Some(Self {
            trace: id(&said["context"]["trace_id"])?,
            span: id(&said["context"]["span_id"])?,
            parent: id(&said["parent_id"]),
            kind: said["kind"].as_str()?.to_owned(),
            status: said["status"]["status_code"].as_str()?.to_owned(),
        })
    }
}

/// Asks from inside a span; returns the answer's status and the span.
async fn ask(stack: &Stack, method: &str, path: &str, body: &[&str]) -> (u64, Theirs) {
    let url = format!("http://{}{path}", stack.address());
    let mut arguments = vec![url.as_str(), method];
    arguments.extend(body);
    let answer = script_at("otel_caller.py", stack, &arguments).await;
    let span = Theirs::read(&answer["span"]).unwrap();
    assert_eq!(
        ("SpanKind.CLIENT", None),
        (span.kind.as_str(), span.parent.as_ref())
    );
    let traceparent = answer["traceparent"].as_str().unwrap();
    assert_eq!(Some(span.trace.as_str()), traceparent.split('-').nth(1));
    (answer["status"].as_u64().unwrap(), span)
}

/// Reads the trace that a span of theirs began, and checks that ours is below it.
async fn ours_below(caller: &Theirs, stack: &Stack, spans: usize) -> Trace {
    let trace = trace_in(&stack.spans(), &caller.trace, spans).await;
    assert_eq!(caller.trace, trace.id().to_string());
    let root = trace.rows().next().unwrap().span;
    assert_eq!("proxy_http_request", root.name);
    let parent = root.parent_span_id.unwrap().to_string();
    assert_eq!(caller.span, parent);
    trace
}

#[tokio::test]
async fn a_trace_that_opentelemetry_begins_goes_on_through_all_services() {
    let stack = Stack::with(&[TRUST]).await;
    let (status, caller) = ask(&stack, "GET", "/user/1", &[]).await;
    assert_eq!(200, status);
    let trace = ours_below(&caller, &stack, 7).await;
    assert_eq!(tree::GET_USER, draw(&trace));

    let david = r#"{"name":"David","email":"david@example.com"}"#;
    let (status, caller) = ask(&stack, "POST", "/register", &[david]).await;
    assert_eq!(201, status);
    let trace = ours_below(&caller, &stack, 9).await;
    assert_eq!(tree::REGISTER, draw(&trace));
}

/// Waits for the span that a responder has made of a trace.
async fn served(responder: &Process, trace: &str) -> Theirs {
    eventually("the responder's span", async || {
        let output = responder.output();
        let mut spans = output.lines().filter_map(|line| {
            let said = serde_json::from_str(line).ok()?;
            Theirs::read(&said)
        });
        spans.find(|span| span.trace == trace)
    })
    .await
}

/// The call of the database service, which is the last of ours there.
fn call(trace: &Trace) -> &Span {
    let call = trace.rows().last().unwrap().span;
    assert_eq!(
        (
            "proxy_route_to_replica",
            Kind::Client,
            Some("DatabaseService")
        ),
        (call.name.as_str(), call.kind, call.text("deployment"))
    );
    call
}

#[tokio::test]
async fn a_responder_with_opentelemetrys_propagator_goes_on_with_our_trace() {
    let mut stack = Stack::empty(Server::start().await, &[TRUST]);
    let responder = serving("otel_responder.py", &stack).await;
    for service in ["user-service", "gateway"] {
        stack.add(service, service);
    }
    for service in ["user-service", "gateway"] {
        stack.ready(service).await;
    }
    let monty = stack.get("/user/1").await;
    assert_eq!(
        "Monty",
        monty.json()["data"]["user"]["name"],
        "{}",
        monty.body
    );

    // A trace of Python's, of ours, and of Python's again; and a user who doesn't exist is nobody's failure.
    for (path, expected) in [("/user/1", 200), ("/user/99", 404)] {
        let (status, caller) = ask(&stack, "GET", path, &[]).await;
        assert_eq!(expected, status);
        let trace = ours_below(&caller, &stack, 6).await;
        let (above_it, _) = tree::GET_USER.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(above_it, draw(&trace).trim_end());

        let call = call(&trace);
        assert_eq!(
            (Some("python"), &Status::Unset),
            (call.text("replica_id"), &call.status)
        );
        let theirs = served(&responder, &caller.trace).await;
        assert_eq!(
            Theirs {
                trace: call.trace_id.to_string(),
                span: theirs.span.clone(),
                parent: Some(call.span_id.to_string()),
                kind: "SpanKind.SERVER".to_owned(),
                status: "UNSET".to_owned(),
            },
            theirs
        );
    }
}
