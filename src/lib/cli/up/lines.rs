//! A child's log lines: read as JSON, shown as words.

use serde_json::{Map, Value};

use crate::telemetry::names::ACCESS_LOG;

/// One line of a child's standard error.
#[derive(Debug)]
pub(super) enum Line {
    /// A request that the gateway has answered.
    Request {
        method: String,
        path: String,
        status: u64,
        milliseconds: f64,
        trace_id: Option<String>,
    },
    /// Any other line of the log.
    Log {
        level: String,
        target: String,
        words: String,
        /// It is said of a request, and not of the process.
        of_request: bool,
    },
    /// What is no log line: nats-server's output, a panic before logging began.
    Raw(String),
}

/// Keys that every line has, and that say nothing on a screen.
const FRAME: [&str; 8] = [
    "timestamp",
    "level",
    "target",
    "service",
    "instance",
    "message",
    "span_id",
    "request_id",
];

impl Line {
    pub(super) fn parse(line: &str) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
            return Self::Raw(line.to_owned());
        };
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        if text("target").as_deref() == Some(ACCESS_LOG) {
            return Self::Request {
                method: text("method").unwrap_or_default(),
                path: text("path").unwrap_or_default(),
                status: fields.get("status").and_then(Value::as_u64).unwrap_or(0),
                milliseconds: fields
                    .get("duration_ms")
                    .and_then(Value::as_f64)
                    .unwrap_or(0.0),
                trace_id: text("trace_id"),
            };
        }
        Self::Log {
            level: text("level").unwrap_or_default(),
            target: text("target").unwrap_or_default(),
            words: words(&fields),
            of_request: fields.contains_key("trace_id"),
        }
    }

    /// Tells whether a person should see it: trouble, and that a connection, or the spans' way, is good again.
    pub(super) fn needs_attention(&self) -> bool {
        match self {
            Self::Log { level, target, .. } => {
                let is_trouble = level == "WARN" || level == "ERROR";
                is_trouble || target.ends_with("::connection") || target.ends_with("::losses")
            }
            Self::Request { .. } | Self::Raw(_) => false,
        }
    }

    /// Returns what it says about a death: trouble, or what is no log line at all. What is said of a request is of others
    /// as a rule, and nothing to die of.
    pub(super) fn last_words(&self) -> Option<&str> {
        match self {
            Self::Log {
                words,
                of_request: false,
                ..
            } if self.needs_attention() => Some(words),
            // nats-server's chatter; what is wrong has other marks.
            Self::Raw(line) if line.contains("[INF]") => None,
            // Its own name is said anyway.
            Self::Raw(line) => Some(line.strip_prefix("nats-serve: ").unwrap_or(line)),
            Self::Log { .. } | Self::Request { .. } => None,
        }
    }
}

fn words(fields: &Map<String, Value>) -> String {
    let message = fields
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut words = message.to_owned();
    for (key, value) in fields
        .iter()
        .filter(|(key, _)| !FRAME.contains(&key.as_str()))
    {
        match value {
            Value::String(text) => words.push_str(&format!(" {key}={text}")),
            other => words.push_str(&format!(" {key}={other}")),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_line_is_a_request() {
        let line = r#"{"target":"nats_serve::access","method":"GET","path":"/user/1","status":200,
            "duration_ms":1.5,"trace_id":"4bf9","level":"INFO"}"#;
        assert!(matches!(
            Line::parse(line),
            Line::Request { status: 200, trace_id: Some(id), .. } if id == "4bf9"
        ));
    }

    #[test]
    fn other_lines_keep_their_message_and_fields() {
        let line = r#"{"level":"ERROR","message":"it broke","cause":"disk full","service":"x"}"#;
        assert_eq!(
            Some("it broke cause=disk full"),
            Line::parse(line).last_words()
        );
        let of_a_request = line.replace("service", "trace_id");
        assert_eq!(None, Line::parse(&of_a_request).last_words());
        assert_eq!(Some("panicked"), Line::parse("panicked").last_words());
        let chatter = "[1] 2026/01/01 00:00:00.000000 [INF] Server is ready";
        assert_eq!(None, Line::parse(chatter).last_words());
    }
}
