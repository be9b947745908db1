//! The cases of the W3C's own suite for Trace Context, under its names: test/test.py of
//! <https://github.com/w3c/trace-context> at acab820.
//!
//! Its harness is called by the service that it tests, and looks at what comes. Ours calls the application, by HTTP or
//! in a service's place by NATS, and listens to the calls that this makes.

mod harness;
mod parents;
mod states;

use std::collections::BTreeSet;

use harness::{Harness, Parent};
use pretty_assertions::{assert_eq, assert_ne};

type Header = (&'static str, String);

/// What becomes of a caller's trace.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trace {
    GoesOn,
    Anew,
}

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";
const NOT_SAMPLED: &str = "00-12345678901234567890123456789012-1234567890123456-00";

/// Checks what our ids are, beside those that came.
#[track_caller]
fn check(expected: Trace, own: &Parent, case: &str) {
    match expected {
        Trace::GoesOn => assert_eq!(TRACE, own.trace, "{case}"),
        // Nothing of a malformed header is in a new id.
        Trace::Anew => assert!(!own.trace.contains(&TRACE[1..31]), "{case}"),
    }
    assert_ne!(PARENT, own.span, "{case}");
}

#[tokio::test]
async fn a_trace_goes_on_by_http_where_the_suite_says_so() {
    let mut harness = Harness::start().await;
    let mut roots = Vec::new();
    for (test, headers, expected) in parents::requests(false) {
        let (answer, calls) = harness.get(&headers).await;
        let case = format!("{test}: {headers:?}");
        check(expected, &answer, &case);
        let [user, database] = calls.each_ref().map(Parent::of);
        for call in [&user, &database] {
            assert_eq!(
                (&answer.trace, &answer.flags),
                (&call.trace, &call.flags),
                "{case}"
            );
        }
        let spans = BTreeSet::from([PARENT, &answer.span, &user.span, &database.span]);
        assert_eq!(4, spans.len(), "{case}");
        if answer.flags == "01" {
            roots.push((case, expected, answer));
        } else {
            assert_eq!("test_propagates_random_flag", test);
        }
    }
    check_roots(&harness, &roots).await;
}

/// Each request is a trace of its own, or all of it is below the caller's span.
async fn check_roots(harness: &Harness, roots: &[(String, Trace, Parent)]) {
    let going_on = roots.iter().filter(|(_, trace, _)| *trace == Trace::GoesOn);
    let going_on = harness.spans(TRACE, 7 * going_on.count()).await;
    for (case, expected, root) in roots {
        let (trace, parent) = match expected {
            Trace::GoesOn => (&going_on, Some(PARENT.to_owned())),
            Trace::Anew => (&harness.spans(&root.trace, 7).await, None),
        };
        let mut spans = trace.rows().map(|row| row.span);
        let span = spans
            .find(|span| span.span_id.to_string() == root.span)
            .unwrap();
        let found = span.parent_span_id.map(|id| id.to_string());
        assert_eq!(
            (parent, "proxy_http_request"),
            (found, span.name.as_str()),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_trace_goes_on_between_services_where_the_suite_says_so() {
    let mut harness = Harness::start().await;
    for (test, headers, expected) in parents::requests(true) {
        let call = Parent::of(&harness.call(&headers).await);
        check(expected, &call, &format!("{test}: {headers:?}"));
    }
}

#[tokio::test]
async fn a_state_goes_on_between_services_where_the_suite_says_so() {
    let mut harness = Harness::start().await;
    for request in states::requests() {
        let mut headers = vec![("traceparent", NOT_SAMPLED.to_owned())];
        headers.extend(request.states.clone());
        let call = harness.call(&headers).await;
        let state = call.get("tracestate").map_or("", |state| state.as_str());
        assert_eq!(request.goes_on, state, "{}", request.case());
        assert_eq!(
            None,
            call.get_all("tracestate").nth(1),
            "{}",
            request.case()
        );
        let parent = Parent::of(&call);
        check(Trace::GoesOn, &parent, request.test);
        assert_eq!("00", parent.flags);
    }
    // test_tracestate_included_traceparent_missing
    for state in ["foo=1", "foo=1,bar=2"] {
        let call = harness.call(&[("tracestate", state.to_owned())]).await;
        assert_eq!(None, call.get("tracestate"), "{state}");
        check(Trace::Anew, &Parent::of(&call), state);
    }
}

/// A departure: who may go on with a trace need not be one whose words we carry (docs/security.md). The standard lets
/// a proxy take out any member, for privacy and security.
#[tokio::test]
async fn no_state_that_comes_by_http_goes_on_and_the_trace_does() {
    let mut harness = Harness::start().await;
    for request in states::requests() {
        let mut headers = vec![("traceparent", NOT_SAMPLED.to_owned())];
        headers.extend(request.states.clone());
        let (answer, calls) = harness.get(&headers).await;
        check(Trace::GoesOn, &answer, request.test);
        for call in &calls {
            assert_eq!(None, call.get("tracestate"), "{}", request.case());
            check(Trace::GoesOn, &Parent::of(call), request.test);
        }
    }
}

/// `AdvancedTest`: three calls for one request.
#[tokio::test]
async fn each_call_of_a_request_is_of_one_trace_and_a_span_of_its_own() {
    let mut harness = Harness::start().await;
    let invalid = "00-00000000000000000000000000000000-1234567890123456-01";
    let valid = NOT_SAMPLED.replace("-00", "-01");
    let tests = [
        (
            "test_multiple_requests_with_valid_traceparent",
            Some(&*valid),
            Trace::GoesOn,
        ),
        (
            "test_multiple_requests_without_traceparent",
            None,
            Trace::Anew,
        ),
        (
            "test_multiple_requests_with_illegal_traceparent",
            Some(invalid),
            Trace::Anew,
        ),
    ];
    for (test, parent, expected) in tests {
        let id = harness.next_id();
        let headers = parent.map(|parent| ("traceparent", parent.to_owned()));
        let body = format!(r#"{{"name":"Xenia","email":"{id}@example.com"}}"#);
        let headers: Vec<Header> = headers.into_iter().collect();
        let answer = harness.ask("POST /register", &id, &headers, &body).await;
        let subjects = [
            "svc.user.register_user",
            "svc.database.create_user",
            "svc.notification.send_welcome_email",
        ];
        let calls = harness
            .calls(&id, subjects)
            .await
            .map(|call| Parent::of(&call));
        let spans: BTreeSet<&str> = calls.iter().map(|call| call.span.as_str()).collect();
        assert_eq!(3, spans.len(), "{test}");
        for call in &calls {
            check(expected, call, test);
            assert_eq!(answer.trace, call.trace, "{test}");
        }
    }
}
