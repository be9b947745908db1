//! What holds for whatever a stranger may send.

use async_nats::StatusCode;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{Code, FieldError, Status, telemetry::propagation};

/// Names that mean something to us, and one that doesn't.
const NAMES: [&str; 12] = [
    header::TRACEPARENT,
    header::TRACESTATE,
    header::REQUEST_ID,
    header::TIMEOUT_MS,
    header::ATTEMPT,
    header::REPLICA,
    header::QUEUE_WAIT_MS,
    header::INTERIM,
    header::NOT_ACCEPTED,
    header::ERROR,
    header::ERROR_CODE,
    "x-other",
];

/// A value as it can arrive: anything on one line, often something that is nearly right.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[^\r\n]{0,80}",
        "[+-]?[0-9]{1,25}",
        "[0-9]{0,21};sent=[0-9]{0,21}",
        "0[0-2]-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
        "([a-z0-9@*/_-]{0,5}=[^\r\n]{0,5},?){0,4}",
        "[A-Za-z0-9._-]{1,65}",
    ]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let one = (proptest::sample::select(NAMES.to_vec()), value());
    vec(one, 0..10).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    })
}

fn message() -> impl Strategy<Value = async_nats::Message> {
    let body = prop_oneof![
        vec(any::<u8>(), 0..200),
        ("[a-z_]{0,20}", any::<String>()).prop_map(|(code, message)| {
            let wire = serde_json::json!({"code": code, "message": message});
            wire.to_string().into_bytes()
        }),
    ];
    let status = option::of(100_u16..1000);
    (option::of(headers()), body, status).prop_map(|(headers, payload, status)| {
        async_nats::Message {
            subject: "_INBOX.gateway.user.g1.t1".into(),
            reply: None,
            payload: payload.into(),
            headers,
            status: status.and_then(|code| StatusCode::from_u16(code).ok()),
            description: None,
            length: 0,
        }
    })
}

/// A line break in a header would begin another header, or another message.
fn is_clean(headers: &HeaderMap) -> bool {
    let mut values = headers.iter().flat_map(|(_, values)| values);
    values.all(|value| !value.as_str().contains(['\r', '\n']))
}

/// Sends an answer and reads it back.
fn over_the_wire(head: &ReplyHead, answer: Answer) -> (ReplyHead, Answer) {
    let (headers, payload) = answer.encode(head);
    assert!(is_clean(&headers), "{headers:?}");
    let message = async_nats::Message {
        subject: "_INBOX.gateway.user.g1.t1".into(),
        reply: None,
        payload,
        headers: Some(headers),
        status: None,
        description: None,
        length: 0,
    };
    match Reply::decode(message) {
        Reply::Final { head, answer } => (head, answer),
        other => panic!("not final: {other:?}"),
    }
}

fn status() -> impl Strategy<Value = Status> {
    let code = proptest::sample::select(Code::all().collect::<Vec<_>>());
    let field = (any::<String>(), any::<String>());
    (code, any::<String>(), vec(field, 0..3)).prop_map(|(code, message, fields)| {
        if code == Code::Invalid {
            let fields = fields.into_iter();
            let fields = fields.map(|(field, message)| FieldError::new(field, message));
            Status::invalid(message, fields.collect())
        } else {
            Status::new(code, message)
        }
    })
}

fn parts(status: &Status) -> (Code, &str, &[FieldError]) {
    (status.code(), status.message(), status.fields())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_head_that_was_read_is_read_again_as_it_was_written(headers in headers()) {
        let head = RequestHead::decode(Some(&headers));
        prop_assert!(head.attempt >= 1);
        prop_assert!(head.time_left().is_none_or(|timeout| timeout <= request::MAX_TIMEOUT));
        let encoded = head.encode();
        prop_assert!(is_clean(&encoded));
        prop_assert_eq!(&head, &RequestHead::decode(Some(&encoded)));
    }

    /// A handler's own words can get into these two as well.
    #[test]
    fn nothing_in_a_request_head_breaks_its_line(state in any::<String>(), id in any::<String>()) {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let head = RequestHead {
            trace: propagation::parse(parent, &format!("a={state}")),
            request_id: Some(id.into()),
            ..RequestHead::default()
        };
        prop_assert!(is_clean(&head.encode()));
    }

    #[test]
    fn any_reply_is_read_and_can_be_passed_on(message in message()) {
        if let Reply::Final { head, answer } = Reply::decode(message) {
            let expected = format!("{answer:?}");
            let (read, again) = over_the_wire(&head, answer);
            prop_assert_eq!(head, read);
            prop_assert_eq!(expected, format!("{again:?}"));
        }
    }

    #[test]
    fn any_status_survives_the_wire(status in status(), began in any::<bool>()) {
        let sent = Status::from_wire(&status.to_wire(), "unread");
        prop_assert_eq!(parts(&status), parts(&sent));
        let answer = if began { Answer::Failed(sent) } else { Answer::NotAccepted(sent) };
        match over_the_wire(&ReplyHead::default(), answer).1 {
            Answer::Failed(read) if began => prop_assert_eq!(parts(&status), parts(&read)),
            Answer::NotAccepted(read) if !began => prop_assert_eq!(parts(&status), parts(&read)),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_body_is_a_status(body in vec(any::<u8>(), 0..300), words in any::<String>()) {
        let status = Status::from_wire(&body, &words);
        let again = Status::from_wire(&status.to_wire(), "unread");
        prop_assert_eq!(parts(&status), parts(&again));
    }
}
