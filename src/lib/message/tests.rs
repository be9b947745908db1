use std::time::Duration;

use super::*;
use crate::{Code, Status, telemetry::propagation};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

fn message(headers: HeaderMap, payload: &[u8]) -> async_nats::Message {
    async_nats::Message {
        subject: "_INBOX.gateway.user.g1.t1".into(),
        reply: None,
        payload: payload.to_vec().into(),
        headers: Some(headers),
        status: None,
        description: None,
        length: 0,
    }
}

#[test]
fn a_request_head_survives_the_wire() {
    let sent = RequestHead::new(
        propagation::parse(TRACEPARENT, "vendor=1"),
        "req-1".into(),
        Duration::from_millis(740),
        Duration::from_secs(1_700_000_000),
        2,
    );
    assert_eq!(Some(1_700_000_000_000), sent.sent_unix_ms);
    assert_eq!(sent, RequestHead::decode(Some(&sent.encode())));
}

#[test]
fn a_caller_that_knows_none_of_our_headers_is_served() {
    assert_eq!(RequestHead::default(), RequestHead::decode(None));
    let foreign = headers(&[("Traceparent", TRACEPARENT), ("x-new", "1")]);
    assert_eq!(RequestHead::default(), RequestHead::decode(Some(&foreign)));
}

#[test]
fn malformed_request_headers_count_as_absent() {
    let hostile = headers(&[
        ("traceparent", "00-+"),
        ("x-request-id", "a b"),
        ("timeout-ms", "-1"),
        ("attempt", "0"),
    ]);
    assert_eq!(RequestHead::default(), RequestHead::decode(Some(&hostile)));
    // Each part of a value by itself.
    for (value, timeout, sent) in [
        ("5", Some(5), None),
        ("5;sent=soon", Some(5), None),
        ("5 ; sent=7 ", Some(5), Some(7)),
        ("5;later=1;sent=7", Some(5), Some(7)),
        ("-5;sent=7", None, None),
        (";sent=7", None, None),
    ] {
        let head = RequestHead::decode(Some(&headers(&[("timeout-ms", value)])));
        let timeout = timeout.map(Duration::from_millis);
        assert_eq!(
            (timeout, sent),
            (head.timeout, head.sent_unix_ms),
            "{value}"
        );
    }
}

#[test]
fn two_parents_are_none_and_a_state_in_pieces_is_one() {
    let mut sent = headers(&[("traceparent", TRACEPARENT)]);
    for piece in ["a=1", "", "b=2"] {
        sent.append("tracestate", piece);
    }
    let whole = propagation::parse(TRACEPARENT, "a=1,b=2");
    assert_eq!(whole, RequestHead::decode(Some(&sent)).trace);
    sent.append("traceparent", TRACEPARENT);
    assert_eq!(None, RequestHead::decode(Some(&sent)).trace);
}

#[test]
fn a_callers_timeout_is_clamped() {
    let decoded = RequestHead::decode(Some(&headers(&[("timeout-ms", "86400000")])));
    assert_eq!(Some(request::MAX_TIMEOUT), decoded.time_left());
}

#[test]
fn a_final_reply_survives_the_wire() {
    let head = ReplyHead {
        replica: "d1".into(),
        queue_wait: Duration::from_millis(3),
        leaving: true,
    };
    let (headers, payload) = Answer::Payload("{}".into()).encode(&head);
    let Reply::Final { head: read, answer } = Reply::decode(message(headers, &payload)) else {
        panic!("not final");
    };
    assert_eq!(head, read);
    assert!(matches!(answer, Answer::Payload(payload) if payload == "{}"));
}

#[test]
fn a_status_survives_the_wire_and_says_whether_work_began() {
    let head = ReplyHead::default();
    let cases = [
        (
            Answer::Failed(Status::not_found("no\r\nuser")),
            Code::NotFound,
            true,
        ),
        (
            Answer::NotAccepted(Status::new(Code::Overloaded, "busy")),
            Code::Overloaded,
            false,
        ),
    ];
    for (answer, code, began) in cases {
        let (headers, payload) = answer.encode(&head);
        assert_eq!(
            code.http_status().to_string(),
            headers.get(header::ERROR_CODE).unwrap().as_str()
        );
        match Reply::decode(message(headers, &payload)) {
            Reply::Final {
                answer: Answer::Failed(status),
                ..
            } if began => {
                assert_eq!((code, "no\r\nuser"), (status.code(), status.message()));
            }
            Reply::Final {
                answer: Answer::NotAccepted(status),
                ..
            } if !began => {
                assert_eq!(code, status.code());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn interim_replies_of_any_kind_are_not_the_answer() {
    for kind in ["accepted", "item", "from-the-future"] {
        let interim = headers(&[("interim", kind), ("replica", "u1")]);
        assert!(matches!(
            Reply::decode(message(interim, b"")),
            Reply::Interim(head) if &*head.replica == "u1"
        ));
    }
}

#[test]
fn a_micro_service_of_another_kind_is_understood() {
    let error = headers(&[
        ("Nats-Service-Error", "nope"),
        ("Nats-Service-Error-Code", "500"),
    ]);
    let Reply::Final {
        answer: Answer::Failed(status),
        ..
    } = Reply::decode(message(error, b""))
    else {
        panic!("not an error");
    };
    assert_eq!((Code::Internal, "nope"), (status.code(), status.message()));
}

/// docs/protocol.md shows these very lines; a change of the wire is a change of this test.
#[test]
fn the_bytes_on_the_wire_are_those_of_the_protocol() {
    let lines = |headers: &HeaderMap| {
        let mut lines: Vec<String> = headers
            .iter()
            .map(|(name, values)| format!("{name}: {}", values[0].as_str()))
            .collect();
        lines.sort();
        lines
    };
    let request = RequestHead::new(
        propagation::parse(TRACEPARENT, ""),
        "4k9x".into(),
        Duration::from_secs(2),
        Duration::from_secs(1_700_000_000),
        1,
    );
    assert_eq!(
        [
            "timeout-ms: 2000;sent=1700000000000",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "x-request-id: 4k9x",
        ]
        .as_slice(),
        lines(&request.encode())
    );
    let head = ReplyHead {
        replica: "d1".into(),
        queue_wait: Duration::ZERO,
        leaving: false,
    };
    let (headers, payload) = Answer::Failed(Status::not_found("no such user")).encode(&head);
    assert_eq!(
        [
            "Nats-Service-Error-Code: 404",
            "Nats-Service-Error: no such user",
            "replica: d1",
        ]
        .as_slice(),
        lines(&headers)
    );
    assert_eq!(
        &br#"{"code":"not_found","message":"no such user"}"#[..],
        payload
    );
}
