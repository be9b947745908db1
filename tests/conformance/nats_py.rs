//! A caller that isn't ours: what a replica answers to the official Python client.

use nats_serve::traces::{Kind, Trace};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    python::script,
    support::{Server, Stack, stack::trace_in, tree::draw},
};

const GET_USER: &str = "svc.database.get_user";
const ALICE: &str = r#"{"user_id":"1"}"#;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLERS_SPAN: &str = "b7ad6b7169203331";

async fn serving(services: &[&str]) -> Stack {
    let mut stack = Stack::empty(Server::start().await, &[]);
    for service in services {
        stack.add(service, service);
    }
    for service in services {
        stack.ready(service).await;
    }
    stack
}

async fn call(stack: &Stack, subject: &str, payload: &str, headers: &[&str]) -> Value {
    let mut arguments = vec![subject, payload];
    arguments.extend(headers);
    script("caller.py", stack, &arguments).await
}

/// Checks that an answer is an error by ADR-32's headers and by our JSON body.
#[track_caller]
fn check_error(status: u16, code: &str, answer: &Value) {
    let headers = &answer["headers"];
    assert_eq!(
        status.to_string(),
        headers["Nats-Service-Error-Code"],
        "{answer}"
    );
    assert_eq!(code, answer["payload"]["code"], "{answer}");
    let message = answer["payload"]["message"].as_str().unwrap();
    assert!(!message.is_empty());
    assert_eq!(message, headers["Nats-Service-Error"]);
    assert!(headers["replica"].is_string(), "{answer}");
}

#[track_caller]
fn check_alice(answer: &Value) {
    let alice = json!({"id": "1", "name": "Alice", "email": "alice@example.com"});
    assert_eq!(alice, answer["payload"]["user"], "{answer}");
    assert_eq!(Value::Null, answer["headers"]["Nats-Service-Error"]);
}

fn only_span(trace: &Trace) -> &nats_serve::traces::Span {
    let spans: Vec<_> = trace.rows().map(|row| row.span).collect();
    assert_eq!(1, spans.len(), "{}", draw(trace));
    assert_eq!(
        ("replica_handle_request", Kind::Server),
        (spans[0].name.as_str(), spans[0].kind)
    );
    spans[0]
}

#[tokio::test]
async fn a_caller_in_python_gets_a_reply_and_a_trace_of_its_own() {
    let stack = serving(&["database-service"]).await;
    let answer = call(&stack, GET_USER, ALICE, &["x-request-id=from-python.1"]).await;
    check_alice(&answer);

    let trace = trace_in(&stack.spans(), "last", 1).await;
    let span = only_span(&trace);
    assert_eq!(None, span.parent_span_id);
    assert_eq!(Some("from-python.1"), span.text("request_id"));
    assert_eq!(
        span.text("replica_id").unwrap(),
        answer["headers"]["replica"]
    );
}

#[tokio::test]
async fn a_caller_in_python_needs_no_header() {
    let stack = serving(&["database-service"]).await;
    let answer = call(&stack, GET_USER, ALICE, &[]).await;
    check_alice(&answer);

    let trace = trace_in(&stack.spans(), "last", 1).await;
    let span = only_span(&trace);
    assert_eq!(None, span.parent_span_id);
    assert!(span.text("request_id").is_some_and(|id| !id.is_empty()));
}

#[tokio::test]
async fn a_trace_that_begins_in_python_goes_on_in_the_replicas() {
    let stack = serving(&["database-service", "user-service"]).await;
    let traceparent = format!("traceparent=00-{TRACE_ID}-{CALLERS_SPAN}-01");
    let subject = "svc.user.get_user_profile";
    check_alice(&call(&stack, subject, ALICE, &[&traceparent]).await);

    let trace = trace_in(&stack.spans(), TRACE_ID, 3).await;
    assert_eq!(
        "\
replica_handle_request (UserService) server
  proxy_route_to_replica (DatabaseService) client
    replica_handle_request (DatabaseService) server
",
        draw(&trace)
    );
    let first = trace.rows().next().unwrap().span;
    assert_eq!(Some(CALLERS_SPAN.parse().unwrap()), first.parent_span_id);
    assert_eq!(TRACE_ID, trace.id().to_string());
}

#[tokio::test]
async fn a_trace_that_python_does_not_record_is_not_recorded() {
    let stack = serving(&["database-service"]).await;
    let not_sampled = format!("traceparent=00-{TRACE_ID}-{CALLERS_SPAN}-00");
    check_alice(&call(&stack, GET_USER, ALICE, &[&not_sampled]).await);
    check_alice(&call(&stack, GET_USER, ALICE, &["x-request-id=next"]).await);

    // The second is written, so the first would have been.
    let trace = trace_in(&stack.spans(), "last", 1).await;
    assert_eq!(Some("next"), only_span(&trace).text("request_id"));
    let first = TRACE_ID.parse().unwrap();
    assert!(nats_serve::traces::read(&stack.spans(), &first).is_err());
}

#[tokio::test]
async fn a_caller_in_python_gets_errors_as_headers_and_as_json() {
    let stack = serving(&["database-service"]).await;
    check_error(
        404,
        "not_found",
        &call(&stack, GET_USER, r#"{"user_id":"99"}"#, &[]).await,
    );
    for malformed in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"user_id":1}"#,
        r#"{"user_id":"1"}x"#,
    ] {
        check_error(
            400,
            "malformed",
            &call(&stack, GET_USER, malformed, &[]).await,
        );
    }
}

#[tokio::test]
async fn what_a_replica_does_not_know_it_ignores() {
    let stack = serving(&["database-service"]).await;
    let newer = r#"{"user_id":"1","newer":{"than":["us"]}}"#;
    check_alice(
        &call(
            &stack,
            GET_USER,
            newer,
            &["newer=than us", "X-Request-Id=two words"],
        )
        .await,
    );
    let broken = [
        "traceparent=00-nonsense-01",
        "tracestate=,,=",
        "x-request-id=two words",
        "timeout-ms=soon;sent=-1",
        "attempt=first",
    ];
    check_alice(&call(&stack, GET_USER, ALICE, &broken).await);
}

#[tokio::test]
async fn a_subject_that_nobody_serves_has_no_responders() {
    let stack = serving(&["database-service"]).await;
    let nobody = json!({"error": "no responders"});
    for subject in [
        "svc.database.nope",
        "svc.user.get_user_profile",
        "inst.database.nobody._ping",
    ] {
        assert_eq!(nobody, call(&stack, subject, "{}", &[]).await, "{subject}");
    }
}

#[tokio::test]
async fn a_replica_answers_under_its_own_name() {
    let stack = serving(&["database-service"]).await;
    let answer = call(&stack, GET_USER, ALICE, &[]).await;
    let replica = answer["headers"]["replica"].as_str().unwrap();
    let own = |operation: &str| format!("inst.database.{replica}.{operation}");

    let pong = call(&stack, &own("_ping"), "", &[]).await;
    assert_eq!(
        (&json!(""), "idle", replica),
        (
            &pong["payload"],
            pong["headers"]["interim"].as_str().unwrap(),
            pong["headers"]["replica"].as_str().unwrap()
        )
    );
    check_alice(&call(&stack, &own("get_user"), ALICE, &[]).await);
    check_error(
        501,
        "unimplemented",
        &call(&stack, &own("nope"), "{}", &[]).await,
    );
}
