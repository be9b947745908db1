//! Span files as the four reference services write them, for the tests of this module and of its
//! callers.

use std::{fs, io::Write, path::Path};

use serde_json::{Value, json};

use super::Request;

pub(crate) const REGISTER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
pub(crate) const GET_USER: &str = "4bf9aaaa77b34da6a3ce929d0e0e4736";
/// When the traces begin, in nanoseconds.
const EPOCH: u64 = 1_693_310_400_000_000_000;

/// One span before it is written; times are microseconds since the trace's begin.
#[derive(Clone)]
pub(crate) struct Sketch {
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) service: &'static str,
    pub(crate) deployment: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) kind: u8,
    pub(crate) times: (u64, u64),
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) error: Option<&'static str>,
    /// When it was let through a gate, and for how long it had waited there, in microseconds.
    pub(crate) waited: Option<(u64, u64)>,
}

const GATEWAY: (&str, &str) = ("gateway", "APIGateway");
const USER: (&str, &str) = ("user-service", "UserService");
const DATABASE: (&str, &str) = ("database-service", "DatabaseService");
const NOTIFICATION: (&str, &str) = ("notification-service", "NotificationService");

fn root(method: &str, path: &str, status: u16, end: u64) -> Sketch {
    Sketch {
        id: 1,
        parent: 0,
        service: GATEWAY.0,
        deployment: None,
        name: "proxy_http_request",
        kind: 2,
        times: (0, end),
        attributes: vec![
            ("http.request.method", json!({"stringValue": method})),
            ("url.path", json!({"stringValue": path})),
            (
                "http.response.status_code",
                json!({"intValue": status.to_string()}),
            ),
        ],
        error: None,
        waited: None,
    }
}

/// The two spans of a call: the caller's with `id`, the callee's with the next id.
fn call(
    id: u64,
    caller: &'static str,
    callee: (&'static str, &'static str),
    times: (u64, u64),
) -> [Sketch; 2] {
    let route = Sketch {
        id,
        parent: if id == 8 { 5 } else { id - 1 },
        service: caller,
        deployment: Some(callee.1),
        name: "proxy_route_to_replica",
        kind: 3,
        times,
        attributes: Vec::new(),
        error: None,
        waited: None,
    };
    let handle = Sketch {
        id: id + 1,
        parent: id,
        service: callee.0,
        name: "replica_handle_request",
        kind: 2,
        times: (times.0 + 400, times.1 - 350),
        ..route.clone()
    };
    [route, handle]
}

/// The 9 spans of a registration.
pub(crate) fn register() -> Vec<Sketch> {
    let mut spans = vec![root("POST", "/register", 201, 485_200)];
    spans.extend(call(2, GATEWAY.0, GATEWAY, (1_200, 484_000)));
    spans.extend(call(4, GATEWAY.0, USER, (3_000, 482_500)));
    spans.extend(call(6, USER.0, DATABASE, (5_000, 130_000)));
    spans.extend(call(8, USER.0, NOTIFICATION, (131_000, 480_000)));
    spans
}

/// The 7 spans of a look-up.
pub(crate) fn get_user() -> Vec<Sketch> {
    let mut spans = vec![root("GET", "/user/1", 200, 12_400)];
    spans.extend(call(2, GATEWAY.0, GATEWAY, (300, 12_000)));
    spans.extend(call(4, GATEWAY.0, USER, (1_100, 11_000)));
    spans.extend(call(6, USER.0, DATABASE, (2_000, 10_000)));
    spans
}

/// One line of a span file.
pub(crate) fn line(trace: &str, sketch: &Sketch) -> String {
    let mut attributes: Vec<Value> = (sketch.attributes.iter())
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    if let Some(deployment) = sketch.deployment {
        attributes.push(json!({"key": "deployment", "value": {"stringValue": deployment}}));
    }
    let parent = match sketch.parent {
        0 => String::new(),
        parent => format!("{parent:016x}"),
    };
    let status = match sketch.error {
        Some(message) => json!({"code": 2, "message": message}),
        None => json!({}),
    };
    let events = match (sketch.waited, sketch.id) {
        (Some((until, waited)), _) => json!([{
            "timeUnixNano": (EPOCH + until * 1_000).to_string(),
            "name": "gate",
            "attributes": [{"key": "waited_us", "value": {"intValue": waited.to_string()}}],
        }]),
        (None, 5) => json!([{
            "timeUnixNano": (EPOCH + 130_500_000).to_string(),
            "name": "gate",
            "attributes": [{"key": "verdict", "value": {"stringValue": "proceed"}}],
        }]),
        _ => json!([]),
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": sketch.service}},
            {"key": "service.instance.id", "value": {"stringValue": "k3x9q0v7ab"}},
        ]},
        "scopeSpans": [{"scope": {"name": "nats-serve"}, "spans": [{
            "traceId": trace,
            "spanId": format!("{:016x}", sketch.id),
            "parentSpanId": parent,
            "name": sketch.name,
            "kind": sketch.kind,
            "startTimeUnixNano": (EPOCH + sketch.times.0 * 1_000).to_string(),
            "endTimeUnixNano": EPOCH + sketch.times.1 * 1_000,
            "attributes": attributes,
            "events": events,
            "droppedEventsCount": 0,
            "status": status,
        }]}],
    }]})
    .to_string()
}

/// Appends text to a file of the directory.
pub(crate) fn append(dir: &Path, file: &str, text: &str) {
    let path = dir.join(file);
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Appends every span to its service's file, in the order in which they ended.
pub(crate) fn write(dir: &Path, trace: &str, sketches: &[Sketch]) {
    let mut ended = sketches.to_vec();
    ended.sort_by_key(|sketch| sketch.times.1);
    for sketch in &ended {
        let file = format!("{}-k3x9q0v7ab.jsonl", sketch.service);
        append(dir, &file, &(line(trace, sketch) + "\n"));
    }
}

/// The traces of some requests.
pub(crate) fn ids(requests: &[Request]) -> Vec<String> {
    let ids = requests.iter().map(|one| one.trace_id.to_string());
    ids.collect()
}
