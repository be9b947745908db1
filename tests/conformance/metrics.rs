//! Prometheus' own parser reads what every process tells.

use std::collections::BTreeSet;

use pretty_assertions::assert_eq;
use serde_json::Value;

use crate::{
    python::script_at,
    support::{Stack, stack::SERVICES},
};

/// What docs/operating.md has alerts on, and what is timed.
const EVERYWHERE: [(&str, &str); 15] = [
    ("nats_serve_ready", "gauge"),
    ("nats_serve_handler_panics", "counter"),
    ("nats_serve_repetitions_withheld", "counter"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
    ("rpc_client_call_duration_seconds", "histogram"),
    ("rpc_server_call_duration_seconds", "histogram"),
    ("nats_serve_attempts", "counter"),
    ("nats_serve_nats_connected", "gauge"),
    ("nats_serve_nats_disconnects", "counter"),
    ("nats_serve_requests_shed", "counter"),
    ("nats_serve_requests_expired", "counter"),
    ("nats_serve_spans_dropped", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("target", "info"),
];

async fn read(stack: &Stack, service: &str, accept: &[&str]) -> Value {
    let url = format!("http://{}/metrics", stack.admin(service));
    script_at("metrics.py", stack, &[&[url.as_str()], accept].concat()).await
}

fn samples<'a>(metrics: &'a Value, family: &str) -> Vec<&'a Value> {
    let families = metrics["families"].as_array().unwrap();
    let found = families.iter().find(|one| one["name"] == family);
    let found = found.unwrap_or_else(|| panic!("{family}: {metrics}"));
    found["samples"].as_array().unwrap().iter().collect()
}

#[tokio::test]
async fn prometheus_own_parser_reads_every_process() {
    let stack = Stack::start().await;
    let found = stack.get("/user/1").await;
    let _ = stack.get("/user/%22%0A%5C%7D").await;
    assert_eq!(
        201,
        stack.register("David", "david@example.com").await.status
    );
    for service in SERVICES {
        let metrics = read(&stack, service, &[]).await;
        let kind = metrics["content_type"].as_str().unwrap();
        assert!(
            kind.starts_with("application/openmetrics-text; version=1.0.0"),
            "{kind}"
        );
        let families = metrics["families"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names: Vec<String> = families
            .iter()
            .map(|family| text(&family["name"]))
            .collect();
        let different: BTreeSet<&String> = names.iter().collect();
        assert_eq!(
            names.len(),
            different.len(),
            "a family is there twice: {names:?}"
        );
        for (name, kind) in EVERYWHERE {
            let family = families.iter().find(|family| family["name"] == name);
            let family = family.unwrap_or_else(|| panic!("{service} has no {name}: {names:?}"));
            assert_eq!(kind, family["type"], "{family}");
        }
        for family in families {
            assert!(text(&family["help"]).ends_with('.'), "{family}");
        }
    }
    let gateway = read(&stack, "gateway", &[]).await;
    let durations = samples(&gateway, "http_server_request_duration_seconds");
    let exemplars = durations
        .iter()
        .map(|sample| &sample["exemplar"]["trace_id"]);
    let exemplars: Vec<&str> = exemplars.filter_map(Value::as_str).collect();
    assert!(
        exemplars.contains(&found.trace_id().as_str()),
        "{exemplars:?}"
    );
    let outbox = read(&stack, "database-service", &[]).await;
    assert_eq!(2, samples(&outbox, "outbox_entries").len());
}

#[tokio::test]
async fn who_takes_only_the_older_format_gets_it() {
    let stack = Stack::start().await;
    let _ = stack.get("/user/1").await;
    let metrics = read(&stack, "gateway", &["text/plain;version=0.0.4"]).await;
    let kind = metrics["content_type"].as_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    assert!(!samples(&metrics, "http_server_request_duration_seconds").is_empty());
    assert!(!samples(&metrics, "nats_serve_nats_connected").is_empty());
}
