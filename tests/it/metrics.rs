//! What a process counts, as Prometheus reads it at the admin address.

use std::{collections::BTreeSet, time::Duration};

use reqwest::Method;
use rustix::process::Signal;

use crate::support::{Stack, eventually, stack::SERVICES};

/// The value of one series, by its line without the value.
pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
    let lines = text.lines().map(|line| line.split(" # ").next().unwrap());
    let mut found =
        lines.filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    let value = found.next();
    assert!(found.next().is_none(), "{series} is there twice:\n{text}");
    value
}

#[track_caller]
fn check(text: &str, series: &str, expected: f64) {
    assert_eq!(Some(expected), value(text, series), "{series}:\n{text}");
}

/// Series of a family that have a value.
fn series(text: &str, family: &str) -> usize {
    let begins = format!("{family}{{");
    text.lines()
        .filter(|line| line.starts_with(&begins))
        .count()
}

fn http(route: &str, status: u16) -> String {
    format!(
        "http_server_request_duration_seconds_count{{url_scheme=\"http\",http_request_method=\"GET\",http_route=\"{route}\",http_response_status_code=\"{status}\",error_type=\"\"}}"
    )
}

#[tokio::test]
async fn requests_and_calls_are_timed_by_what_they_were_and_name_a_trace() {
    let stack = Stack::start().await;
    let found = stack.get("/user/1").await;
    let _ = stack.get("/user/2").await;
    let _ = stack.get("/user/99").await;
    let gateway = stack.metrics("gateway").await;
    check(&gateway, &http("/user/{user_id}", 200), 2.0);
    check(&gateway, &http("/user/{user_id}", 404), 1.0);
    for (status, count) in [("ok", 2.0), ("not_found", 1.0)] {
        let labels = format!(
            "rpc_system_name=\"nats\",rpc_method=\"user/get_user_profile\",rpc_response_status_code=\"{status}\""
        );
        let called = format!("rpc_client_call_duration_seconds_count{{{labels},error_type=\"\"}}");
        check(&gateway, &called, count);
        let handled = format!("rpc_server_call_duration_seconds_count{{{labels},error_type=\"\"}}");
        check(&stack.metrics("user-service").await, &handled, count);
    }
    let answered =
        "nats_serve_attempts_total{rpc_method=\"user/get_user_profile\",outcome=\"answered\"}";
    check(&gateway, answered, 3.0);
    // A bucket names the trace of one that fell into it.
    let ids: Vec<&str> = gateway
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_bucket"))
        .filter_map(|line| line.split_once("# {trace_id=\"")?.1.get(..32))
        .collect();
    assert!(!ids.is_empty(), "{gateway}");
    for id in &ids {
        let whole = stack.folder().join(".nats-serve/spans");
        crate::support::stack::trace_in(&whole, id, 7).await;
    }
    drop(found);
    assert!(gateway.contains("target_info{service_name=\"gateway\",service_instance_id=\""));
    assert!(gateway.ends_with("# EOF\n"), "{gateway}");
}

#[tokio::test]
async fn strangers_make_no_series_by_what_they_ask_for() {
    let stack = Stack::start().await;
    for nth in 0..50 {
        let _ = stack.get(&format!("/nothing/{nth}")).await;
        let _ = stack.get(&format!("/user/{nth}")).await;
        let method = Method::from_bytes(format!("ODD{nth}").as_bytes()).unwrap();
        let _ = stack.send(method, "/", &[], None).await;
    }
    let text = stack.metrics("gateway").await;
    // Known and unknown users, unknown paths, unknown methods.
    assert_eq!(
        4,
        series(&text, "http_server_request_duration_seconds_count"),
        "{text}"
    );
    check(&text, &http("", 404), 50.0);
    assert!(!text.contains("nothing") && !text.contains("ODD"), "{text}");
}

#[tokio::test]
async fn what_goes_wrong_is_counted_where_it_does() {
    let mut stack = Stack::with(&[("MAILS_DIR", "mails")]).await;
    stack.leave("notification-service").await;
    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status);
    eventually("a mail that waits", async || {
        let text = stack.metrics("database-service").await;
        let is_there = value(&text, "outbox_entries{status=\"pending\"}") == Some(1.0);
        is_there.then(|| check(&text, "outbox_entries{status=\"failed\"}", 0.0))
    })
    .await;
    stack.leave("database-service").await;
    stack.get("/user/1").await.problem(503);
    let text = stack.metrics("user-service").await;
    let nobody = "rpc_method=\"database/get_user\",outcome=\"no_responders\"";
    check(
        &text,
        &format!("nats_serve_attempts_total{{{nobody}}}"),
        3.0,
    );
    let failed = "rpc_system_name=\"nats\",rpc_method=\"database/get_user\",rpc_response_status_code=\"unavailable\",error_type=\"no_responders\"";
    check(
        &text,
        &format!("rpc_client_call_duration_seconds_count{{{failed}}}"),
        1.0,
    );
    check(
        &text,
        "nats_serve_repetitions_withheld_total{callee=\"database-service\"}",
        0.0,
    );
    check(&text, "nats_serve_nats_connected", 1.0);
    check(&text, "nats_serve_ready", 1.0);
    check(&text, "nats_serve_nats_disconnects_total", 0.0);

    let nats = stack.nats.take().unwrap();
    nats.kill();
    eventually("a lost connection", async || {
        let text = stack.metrics("user-service").await;
        let lost = value(&text, "nats_serve_nats_disconnects_total") == Some(1.0);
        lost.then(|| {
            check(&text, "nats_serve_nats_connected", 0.0);
            check(&text, "nats_serve_ready", 0.0);
        })
    })
    .await;
}

#[tokio::test]
async fn load_is_shown_while_it_is_there_and_what_was_refused_stays() {
    let limits = [("MAX_ONGOING_REQUESTS", "1"), ("MAX_QUEUED_REQUESTS", "0")];
    let stack = Stack::with(&limits).await;
    // Frozen, so that the first request lasts until the second has been refused.
    let frozen = &stack.processes["user-service"];
    frozen.signal(Signal::STOP);
    let patient = [("request-timeout-ms", "30000")];
    let slow = stack.send(Method::GET, "/user/1", &patient, None);
    let look = async {
        eventually("a request in flight", async || {
            let text = stack.metrics("gateway").await;
            (value(&text, "nats_serve_requests_in_flight") == Some(1.0)).then_some(())
        })
        .await;
        let refused = stack.get("/user/2").await;
        frozen.signal(Signal::CONT);
        refused
    };
    let (first, refused) = tokio::join!(slow, look);
    assert_eq!(200, first.status);
    refused.problem(503);
    let text = stack.metrics("gateway").await;
    let shed = "nats_serve_requests_shed_total{entrance=\"http\"}";
    check(&text, shed, 1.0);
    check(&text, "nats_serve_requests_in_flight", 0.0);
    check(&text, "nats_serve_requests_limit", 1.0);
}

#[tokio::test]
async fn spans_that_are_lost_are_counted_and_told_at_the_end() {
    let mut stack = Stack::with(&[("SPANS_DIR", "/dev/null/spans")]).await;
    assert_eq!(200, stack.get("/user/1").await.status);
    let lost = eventually("lost spans", async || {
        let text = stack.metrics("gateway").await;
        value(&text, "nats_serve_spans_dropped_total{at=\"files\"}").filter(|lost| *lost > 0.0)
    })
    .await;
    let text = stack.metrics("gateway").await;
    assert!(
        value(&text, "nats_serve_spans_recorded_total").unwrap() >= lost,
        "{text}"
    );
    check(
        &text,
        "nats_serve_spans_exported_total{exporter=\"files\"}",
        0.0,
    );
    let said = stack.leave("gateway").await.output();
    let told: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("not all spans"))
        .collect();
    assert_eq!(1, told.len(), "{said}");
    assert!(told[0].contains("\"dropped_for_the_files\":"), "{said}");
}

/// What a document calls a metric or a label of one.
fn names(document: &str) -> BTreeSet<&str> {
    let words =
        document.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let prefixes = ["http_", "nats_serve_", "outbox_", "process_", "rpc_"];
    let names = words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    names.filter(|name| !name.ends_with('_')).collect()
}

#[tokio::test]
async fn each_metric_that_the_document_names_is_there() {
    let stack = Stack::start().await;
    let _ = stack.get("/user/1").await;
    let mut told = String::new();
    for service in SERVICES {
        told += &stack.metrics(service).await;
    }
    let (told, asked) = (names(&told), names(include_str!("../../docs/operating.md")));
    assert!(asked.len() > 25, "{asked:?}");
    let missing: Vec<_> = asked.difference(&told).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_process_tells_what_it_uses() {
    let stack = Stack::start().await;
    let text = stack.metrics("user-service").await;
    assert!(
        value(&text, "process_resident_memory_bytes").unwrap() > 1e6,
        "{text}"
    );
    assert!(value(&text, "process_open_fds").unwrap() > 3.0, "{text}");
    assert!(
        value(&text, "process_cpu_seconds_total").is_some(),
        "{text}"
    );
    let started = value(&text, "process_start_time_seconds").unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    let age = now.saturating_sub(Duration::from_secs_f64(started));
    assert!(age < Duration::from_mins(5), "{age:?}");
}
