//! What strangers send: each odd request has one answer, and nothing odd of it goes any further.
//!
//! The table of docs/hostile.md is this one.

mod cases;
mod framing;

use std::fmt::Write as _;

use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, Server, Stack, nats::confirmed};
use cases::{Case, cases};

/// In everything that must not get anywhere.
const CANARY: &str = "hostile-canary";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const DOCUMENT: &str = include_str!("../../docs/hostile.md");

/// All that docs/protocol.md knows.
const HEADERS: [&str; 13] = [
    "traceparent",
    "x-request-id",
    "timeout-ms",
    "attempt",
    "replica",
    "queue-wait-ms",
    "leaving",
    "interim",
    "not-accepted",
    "Nats-Service-Error",
    "Nats-Service-Error-Code",
    "Nats-Msg-Id",
    "Status",
];

#[tokio::test]
async fn each_odd_request_has_its_answer_and_nothing_odd_goes_further() {
    // Without permissions, so that somebody can listen to everything.
    let stack = Stack::on(Server::start().await, &[]).await;
    let nats = stack.nats.as_ref().unwrap();
    let listener = async_nats::connect(nats.url()).await.unwrap();
    let mut heard = listener.subscribe(">").await.unwrap();
    confirmed(&listener).await;

    let (mut table, mut wrong) = (String::new(), String::new());
    let (mut registered, mut messages) = (0, 0);
    for case in cases() {
        let answer = ask(&stack, &case).await;
        let (all, calls) = published(&listener, &mut heard).await;
        messages += all;
        let is_unreadable =
            case.what.starts_with("body: ") || case.what.starts_with("media type: ");
        assert!(!is_unreadable || calls == 0, "{}", case.what);
        let line = format!("| {} | {answer} |", case.what);
        registered += usize::from(answer == "201");
        if answer != case.answer {
            let _ = writeln!(wrong, "{line} and not {}", case.answer);
        }
        let _ = writeln!(table, "{line}");
    }
    assert_eq!("", wrong);
    assert!(table.lines().count() >= 60);
    assert!(
        DOCUMENT.ends_with(&table),
        "docs/hostile.md does not end with\n{table}"
    );
    assert_eq!(200, stack.get("/user/1").await.status);

    assert!(messages > 50, "{messages}");
    check_mails(&stack, registered);
    for (name, process) in &stack.processes {
        let said = process.output();
        assert!(!said.contains("panicked"), "{name}: {said}");
        assert!(!said.contains(CANARY), "{name}: {said}");
    }
    let spans = std::fs::read_dir(stack.spans()).unwrap().flatten();
    for file in spans {
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert!(!text.contains(CANARY), "{}", file.path().display());
    }
}

/// Sends a request and returns its answer as the table has it.
async fn ask(stack: &Stack, case: &Case) -> String {
    let mut connection = TcpStream::connect(stack.address()).await.unwrap();
    // Who is refused in the middle may be cut off before the end.
    let _ = connection.write_all(&case.request).await;
    let mut answer = Vec::new();
    let reading = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    assert!(reading.is_ok(), "{} hangs", case.what);
    let answer = String::from_utf8(answer).unwrap();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return "closed".to_owned();
    };
    let status = head.split(' ').nth(1).unwrap().to_owned();
    assert!(!head.contains(CANARY), "{}: {head}", case.what);
    // A trace that is malformed is not continued, where everybody's is.
    let is_malformed = case.what.starts_with("`traceparent`");
    assert!(!(is_malformed && head.contains(TRACE)), "{}", case.what);
    if body.is_empty() {
        return format!("{status}, no body");
    }
    if !status.starts_with('4') && !status.starts_with('5') {
        return status;
    }
    assert!(
        head.contains("content-type: application/problem+json"),
        "{}: {head}",
        case.what
    );
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!(status, problem["status"].to_string(), "{}", case.what);
    let errors = problem["errors"].as_array().into_iter().flatten();
    let fields: Vec<&str> = errors.filter_map(|error| error["field"].as_str()).collect();
    let mut words = vec![status.as_str()];
    words.extend(fields);
    words.join(" ")
}

/// Reads what has gone over NATS until now, and returns how many messages that were, and how many calls of the gateway.
/// They have plain subjects and known headers, and nothing of what was odd in a header of HTTP.
async fn published(
    listener: &async_nats::Client,
    heard: &mut async_nats::Subscriber,
) -> (usize, usize) {
    listener.publish("until.now", "".into()).await.unwrap();
    let (mut messages, mut calls) = (0, 0);
    while let Some(message) = timeout(PATIENCE, heard.next()).await.unwrap() {
        let subject = message.subject.as_str();
        if subject == "until.now" {
            break;
        }
        messages += 1;
        calls += usize::from(subject.starts_with("svc.user."));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte);
        assert!(subject.bytes().all(plain), "{subject:?}");
        for (name, values) in message.headers.iter().flat_map(async_nats::HeaderMap::iter) {
            let name = name.to_string();
            assert!(HEADERS.contains(&&*name), "{name}: {values:?}");
            let odd = |value: &async_nats::HeaderValue| {
                let plain = |byte: u8| (b' '..=b'~').contains(&byte);
                value.as_str().contains(CANARY) || !value.as_str().bytes().all(plain)
            };
            assert!(!values.iter().any(odd), "{name}: {values:?}");
        }
    }
    (messages, calls)
}

/// Each mail goes to one address, and has no header that nobody meant.
fn check_mails(stack: &Stack, registered: usize) {
    let mails = stack.mails();
    assert_eq!(registered, mails.len());
    for mail in mails {
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_once(": ").unwrap().0)
            .collect();
        let known = [
            "Message-ID",
            "From",
            "To",
            "Subject",
            "Content-Type",
            "Date",
            "Content-Transfer-Encoding",
            "MIME-Version",
        ];
        assert!(names.iter().all(|name| known.contains(name)), "{head}");
        let to = names.iter().filter(|name| **name == "To");
        assert_eq!(1, to.count(), "{head}");
        assert!(!head.contains("evil.example>\r\n"), "{head}");
    }
}

#[tokio::test]
async fn what_follows_a_message_with_two_lengths_is_never_taken_for_a_request() {
    let stack = Stack::start().await;
    let body = r#"{"name":"David","email":"smuggled@example.com"}"#;
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for framing in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
    ] {
        let request = format!(
            "POST /register HTTP/1.1\r\nhost: x\r\nidempotency-key: one\r\n\
             content-type: application/json\r\n{framing}\r\n\r\n{chunk}\
             GET /user/1 HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let mut connection = TcpStream::connect(stack.address()).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let reading = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
        assert!(reading.is_ok(), "it is still open: {framing}");
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(
            1,
            answer.matches("HTTP/1.1 ").count(),
            "{framing}: {answer}"
        );
        // By its chunks: that is the registration.
        assert!(answer.starts_with("HTTP/1.1 201 "), "{framing}: {answer}");
    }
}
