//! What we send by OTLP, and what we write to files, is understood by a receiver that isn't ours.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use nats_serve::traces::{Span, Trace, Value as Attribute};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    rotel::Rotel,
    support::{
        Stack,
        tree::{self, draw},
    },
};

async fn stack_that_sends(endpoint: &str, protocol: &str) -> Stack {
    Stack::with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ])
    .await
}

/// Has everybody leave at once, and returns how long that took and what each has said.
pub(crate) async fn leave(stack: &mut Stack) -> (Duration, BTreeMap<String, String>) {
    let began = Instant::now();
    let processes = std::mem::take(&mut stack.processes);
    for process in processes.values() {
        process.signal(rustix::process::Signal::TERM);
    }
    let mut said = BTreeMap::new();
    for (name, mut process) in processes {
        let status = process.ended().await;
        assert!(status.success(), "{status}: {}", process.output());
        said.insert(name, process.output());
    }
    (began.elapsed(), said)
}

fn services_and_deployments(trace: &Trace) -> Vec<(&str, &str)> {
    let spans = trace.rows().map(|row| row.span);
    let mut pairs: Vec<_> = spans
        .map(|span| (span.service.as_str(), span.text("deployment").unwrap()))
        .collect();
    pairs.dedup();
    pairs
}

async fn receives_the_trace_that_the_files_have(rotel: &Rotel, endpoint: &str, protocol: &str) {
    let mut stack = stack_that_sends(endpoint, protocol).await;
    let reply = stack.get("/user/1").await;
    assert_eq!(200, reply.status, "{}", reply.body);
    let written = stack.trace(&reply, 7).await;
    let received = rotel.has(&written).await;
    assert_eq!(tree::GET_USER, draw(&received));
    assert_eq!(
        vec![
            ("gateway", "APIGateway"),
            // The caller's side of a call is named after the callee's deployment.
            ("gateway", "UserService"),
            ("user-service", "UserService"),
            ("user-service", "DatabaseService"),
            ("database-service", "DatabaseService"),
        ],
        services_and_deployments(&received)
    );
    // What leaves with the processes is no span twice.
    leave(&mut stack).await;
    rotel.has(&written).await;
}

#[tokio::test]
async fn a_receiver_gets_the_whole_trace_by_grpc() {
    let rotel = Rotel::start().await;
    receives_the_trace_that_the_files_have(&rotel, &rotel.grpc(), "grpc").await;
}

#[tokio::test]
async fn a_receiver_gets_the_whole_trace_by_http() {
    let rotel = Rotel::start().await;
    receives_the_trace_that_the_files_have(&rotel, &rotel.http(), "http/protobuf").await;
}

/// What tools make of a span, one a line: its number, whose child it is, its kind and its status.
fn hops(trace: &Trace) -> Vec<String> {
    let spans: Vec<_> = trace.rows().map(|row| row.span).collect();
    let number = |id| spans.iter().position(|span| Some(span.span_id) == id);
    let parent = |span: &Span| match (span.parent_span_id, number(span.parent_span_id)) {
        (None, _) => "of nobody".to_owned(),
        (Some(_), Some(above)) => format!("of {}", above + 1),
        (Some(id), None) => format!("of {id}, which is missing"),
    };
    let lines = spans.iter().enumerate().map(|(at, span)| {
        let Span { kind, status, .. } = span;
        format!("{} {}, {kind:?}, {status:?}", at + 1, parent(span))
    });
    lines.collect()
}

async fn sees_parents_kinds_and_status(rotel: &Rotel, endpoint: &str, protocol: &str) {
    let mut stack = stack_that_sends(endpoint, protocol).await;
    // Nobody's fault, and so no error: neither that it went well nor that there is no such user.
    for (path, status) in [("/user/1", 200), ("/user/99", 404)] {
        let reply = stack.get(path).await;
        assert_eq!(status, i64::from(reply.status.as_u16()), "{}", reply.body);
        let received = rotel.has(&stack.trace(&reply, 7).await).await;
        let expected = [
            "1 of nobody, Server, Unset",
            "2 of 1, Internal, Unset",
            "3 of 2, Internal, Unset",
            "4 of 3, Client, Unset",
            "5 of 4, Server, Unset",
            "6 of 5, Client, Unset",
            "7 of 6, Server, Unset",
        ];
        assert_eq!(expected.as_slice(), hops(&received), "{path}");
        check_root(&received, status, None);
    }
    stack.leave("database-service").await;
    let reply = stack.get("/user/1").await;
    assert_eq!(503, reply.status.as_u16(), "{}", reply.body);
    let received = rotel.has(&stack.trace(&reply, 6).await).await;
    let expected = [
        r#"1 of nobody, Server, Error("unavailable")"#,
        r#"2 of 1, Internal, Error("unavailable")"#,
        r#"3 of 2, Internal, Error("unavailable")"#,
        r#"4 of 3, Client, Error("unavailable")"#,
        r#"5 of 4, Server, Error("unavailable")"#,
        r#"6 of 5, Client, Error("no_responders")"#,
    ];
    assert_eq!(expected.as_slice(), hops(&received));
    check_root(&received, 503, Some("unavailable"));
}

/// Checks the attributes by which tools find the requests that failed.
#[track_caller]
fn check_root(trace: &Trace, status: i64, error: Option<&str>) {
    let root = trace.rows().next().unwrap().span;
    let of_http = root.attributes.get("http.response.status_code");
    assert_eq!(Some(&Attribute::Int(status)), of_http);
    assert_eq!(error, root.text("error.type"));
}

#[tokio::test]
async fn a_receiver_sees_parents_kinds_and_status_by_grpc() {
    let rotel = Rotel::start().await;
    sees_parents_kinds_and_status(&rotel, &rotel.grpc(), "grpc").await;
}

#[tokio::test]
async fn a_receiver_sees_parents_kinds_and_status_by_http() {
    let rotel = Rotel::start().await;
    sees_parents_kinds_and_status(&rotel, &rotel.http(), "http/protobuf").await;
}

/// The last spans are made while the processes leave, or just before.
#[tokio::test]
async fn the_last_spans_are_sent_before_a_process_ends() {
    let rotel = Rotel::start().await;
    let mut stack = stack_that_sends(&rotel.grpc(), "grpc").await;
    let reply = stack.register("David", "david@example.com").await;
    leave(&mut stack).await;
    let written = stack.trace(&reply, 9).await;
    assert_eq!(tree::REGISTER, draw(&rotel.has(&written).await));
}

#[tokio::test]
async fn each_line_of_the_span_files_is_an_otlp_request() {
    let rotel = Rotel::start().await;
    let mut stack = Stack::start().await;
    let mut replies = vec![
        stack.get("/user/1").await,
        stack.register("Zoë \"Z\" \\ 早", "zoe@example.com").await,
        stack.get("/user/%22%7B%0A%C3%A9").await,
    ];
    // Without the database there are failures, and their events, to be written.
    stack.leave("database-service").await;
    replies.push(stack.get("/user/1").await);
    leave(&mut stack).await;

    let client = reqwest::Client::new();
    let mut sent = 0;
    let files = fs::read_dir(stack.spans()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "jsonl")) {
        for line in fs::read_to_string(file).unwrap().lines() {
            let answer = client
                .post(format!("{}/v1/traces", rotel.http()))
                .header("content-type", "application/json")
                .body(line.to_owned())
                .send()
                .await
                .unwrap();
            assert_eq!(200, answer.status(), "{line}");
            let answer: Value = answer.json().await.unwrap();
            let rejected = &answer["partialSuccess"]["rejectedSpans"];
            assert!(
                [Value::Null, json!(0), json!("0")].contains(rejected),
                "{answer}: {line}"
            );
            sent += spans_in(line);
        }
    }
    let (mut received, mut events) = (0, 0);
    for reply in replies {
        let trace = rotel.has(&stack.trace(&reply, 1).await).await;
        received += trace.rows().len();
        events += trace.rows().map(|row| row.span.events.len()).sum::<usize>();
    }
    assert_eq!(sent, received);
    assert!(events > 0, "there was no event to be understood");
}

fn spans_in(line: &str) -> usize {
    let line: Value = serde_json::from_str(line).unwrap();
    let list = |value: &Value, name: &str| value[name].as_array().unwrap().clone();
    list(&line, "resourceSpans")
        .iter()
        .flat_map(|resource| list(resource, "scopeSpans"))
        .map(|scope| list(&scope, "spans").len())
        .sum()
}

/// Nobody listens on this port, and only root could.
const NOBODY: &str = "http://127.0.0.1:1";

/// One that takes connections and never answers is in tests/it.
#[tokio::test]
async fn a_collector_that_is_not_there_costs_nothing_and_is_said_once() {
    for protocol in ["grpc", "http/protobuf"] {
        let mut stack = stack_that_sends(NOBODY, protocol).await;
        for _ in 0..3 {
            let reply = stack.get("/user/1").await;
            assert_eq!(200, reply.status, "{}", reply.body);
            assert_eq!(tree::GET_USER, draw(&stack.trace(&reply, 7).await));
        }
        let (took, said) = leave(&mut stack).await;
        // Spans get 4 s on the way out, everything together the grace time of 10 s.
        assert!(took < Duration::from_secs(10), "{took:?}");
        for (name, said) in said {
            let complaints = said.matches("sending spans by OTLP").count();
            // No request came to the notification service, so it had nothing to send.
            let expected = usize::from(name != "notification-service");
            assert_eq!(expected, complaints, "{protocol}, {name}: {said}");
        }
    }
}
