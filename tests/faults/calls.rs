//! The auditor's view of calls: every span that the processes wrote, reduced to what is counted.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use serde_json::Value;

/// What the edge gives a request that asks for nothing else, in nanoseconds.
const DEADLINE: u64 = 2_000_000_000;
/// What headers in milliseconds and a busy machine may blur.
const ROUNDING: u64 = 50_000_000;

/// One span of a hop.
#[derive(Debug)]
pub(crate) struct Hop {
    trace: String,
    name: String,
    deployment: String,
    /// Nanoseconds since 1970.
    start: u64,
    attempts: i64,
}

/// All hops in a folder of span files.
#[derive(Debug)]
pub(crate) struct Hops(Vec<Hop>);

impl Hops {
    /// Reads the files of processes that have ended, or have written all that they will.
    pub(crate) fn read(folder: &Path) -> Self {
        let mut hops = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            // A process that was killed may have left half a line.
            for line in text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
            {
                collect(&line, &mut hops);
            }
        }
        Self(hops)
    }

    /// Calls of a deployment, from the caller's side, that began at or after a moment.
    pub(crate) fn calls_of(&self, deployment: &str, since: u64) -> Calls {
        let calls: Vec<i64> = (self.0.iter())
            .filter(|hop| {
                hop.name == "proxy_route_to_replica"
                    && hop.deployment == deployment
                    && hop.start >= since
            })
            .map(|hop| hop.attempts)
            .collect();
        Calls {
            calls: calls.len(),
            attempts: calls.iter().sum(),
        }
    }

    /// The requests for which a deployment was tried more than once since a moment.
    pub(crate) fn repeated(&self, deployment: &str, since: u64) -> HashSet<&str> {
        let again = self.0.iter().filter(|hop| {
            hop.name == "proxy_route_to_replica"
                && hop.deployment == deployment
                && hop.start >= since
                && hop.attempts > 1
        });
        again.map(|hop| hop.trace.as_str()).collect()
    }

    /// Counts the handlers that began after their request's deadline.
    pub(crate) fn begun_too_late(&self) -> usize {
        let deadlines: HashMap<&str, u64> = (self.0.iter())
            .filter(|hop| hop.name == "proxy_http_request")
            .map(|hop| (hop.trace.as_str(), hop.start + DEADLINE + ROUNDING))
            .collect();
        let handled = (self.0.iter()).filter(|hop| hop.name == "replica_handle_request");
        handled
            .filter(|hop| {
                (deadlines.get(hop.trace.as_str())).is_some_and(|deadline| hop.start > *deadline)
            })
            .count()
    }
}

/// How often a deployment was called, and how often that was tried.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) calls: usize,
    pub(crate) attempts: i64,
}

impl Calls {
    pub(crate) fn attempts_a_call(self) -> f64 {
        self.attempts as f64 / self.calls as f64
    }
}

/// Nanoseconds since 1970, as in spans.
pub(crate) fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

fn collect(line: &Value, hops: &mut Vec<Hop>) {
    let resources = line["resourceSpans"].as_array().into_iter().flatten();
    let scopes = resources.flat_map(|one| one["scopeSpans"].as_array().into_iter().flatten());
    let spans = scopes.flat_map(|one| one["spans"].as_array().into_iter().flatten());
    hops.extend(spans.map(|span| Hop {
        trace: span["traceId"].as_str().unwrap_or_default().to_owned(),
        name: span["name"].as_str().unwrap_or_default().to_owned(),
        deployment: text(&span["attributes"], "deployment"),
        start: number(&span["startTimeUnixNano"]),
        attempts: attempts(span),
    }));
}

/// The number of the last attempt that the span tells of, by itself or by an event.
fn attempts(span: &Value) -> i64 {
    let events = span["events"].as_array().into_iter().flatten();
    let told = events
        .map(|event| &event["attributes"])
        .chain([&span["attributes"]]);
    told.filter_map(|attributes| text(attributes, "attempt").parse().ok())
        .max()
        .unwrap_or(1)
}

/// An attribute as text, empty if it isn't there. OTLP JSON writes whole numbers as texts.
fn text(attributes: &Value, key: &str) -> String {
    let mut all = attributes.as_array().into_iter().flatten();
    let value = all.find(|one| one["key"] == key).map(|one| &one["value"]);
    let Some(value) = value else {
        return String::new();
    };
    match (&value["stringValue"], &value["intValue"]) {
        (Value::String(text), _) | (_, Value::String(text)) => text.clone(),
        (_, Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn number(value: &Value) -> u64 {
    let text = value.as_str().and_then(|text| text.parse().ok());
    text.or(value.as_u64()).unwrap_or(0)
}
