//! How a call fails: a closed set of codes, one table from code to HTTP and to "may be repeated".
//!
//! A [`Status`] is what crosses the wire. Its message is for the caller and safe to show; its cause
//! stays in the process that had it, where it is logged once.

use std::{borrow::Cow, error::Error, fmt};

use serde::{Deserialize, Serialize};

use crate::client::Unanswered;

/// Says what went wrong, and thereby who should do what.
///
/// The set is closed: a code that a newer peer sends and this version doesn't know is read as
/// [`Code::Internal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The bytes were not readable as the request. The sender fixes its encoding.
    Malformed,
    /// The request was read and its fields are wrong. The caller fixes the named fields.
    Invalid,
    /// Nobody said who is calling. The caller authenticates.
    Unauthenticated,
    /// The caller is known and may not do this. The caller asks for the right.
    PermissionDenied,
    /// The thing asked for is not there. Nobody needs to do anything.
    NotFound,
    /// The state forbids the change: it exists already, or it changed meanwhile. The caller decides.
    Conflict,
    /// Request or reply is over the size limit. The caller sends or asks for less.
    TooLarge,
    /// The body's media type is not understood. The caller sends another.
    UnsupportedMediaType,
    /// The path has other methods. The caller uses one of them.
    MethodNotAllowed,
    /// The request did not come in whole in time. The caller sends it faster.
    RequestTimeout,
    /// This caller sends too much. The caller slows down.
    RateLimited,
    /// The replica refused the work before it began. The caller repeats it later or elsewhere.
    Overloaded,
    /// Something that the call needs is away. The caller repeats later, an operator looks.
    Unavailable,
    /// The time ran out. Whether the work was done is unknown.
    DeadlineExceeded,
    /// The service has no such operation. Whoever deploys brings the versions together.
    Unimplemented,
    /// A bug. The service's team reads its log.
    Internal,
}

/// One row a code: name on the wire, HTTP status, whether repeating can help.
const TABLE: [(Code, &str, u16, bool); 16] = [
    (Code::Malformed, "malformed", 400, false),
    (Code::Invalid, "invalid", 422, false),
    (Code::Unauthenticated, "unauthenticated", 401, false),
    (Code::PermissionDenied, "permission_denied", 403, false),
    (Code::NotFound, "not_found", 404, false),
    (Code::Conflict, "conflict", 409, false),
    (Code::TooLarge, "too_large", 413, false),
    (
        Code::UnsupportedMediaType,
        "unsupported_media_type",
        415,
        false,
    ),
    (Code::MethodNotAllowed, "method_not_allowed", 405, false),
    (Code::RequestTimeout, "request_timeout", 408, false),
    (Code::RateLimited, "rate_limited", 429, true),
    (Code::Overloaded, "overloaded", 503, true),
    (Code::Unavailable, "unavailable", 503, true),
    (Code::DeadlineExceeded, "deadline_exceeded", 504, false),
    (Code::Unimplemented, "unimplemented", 501, false),
    (Code::Internal, "internal", 500, false),
];

impl Code {
    /// Lists every code, in the order of the table in docs/protocol.md.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// Returns the name on the wire and in spans: `not_found`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// Returns the HTTP status that an edge answers with; ADR-32's numeric code is the same.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        TABLE[self as usize].2
    }

    /// Tells whether the same request may succeed a moment later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        TABLE[self as usize].3
    }

    /// Tells whether the server's side is at fault, which makes the span an error.
    #[must_use]
    pub const fn is_server_error(self) -> bool {
        self.http_status() >= 500
    }

    /// Reads a name from the wire; an unknown one is [`Code::Internal`].
    #[must_use]
    pub fn from_wire(name: &str) -> Self {
        TABLE
            .iter()
            .find(|row| row.1 == name)
            .map_or(Self::Internal, |row| row.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one field of a request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's name as the caller wrote it: `email`.
    pub field: String,
    /// What to change, in words for the caller.
    pub message: String,
}

impl FieldError {
    /// Names a field and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Answers a call that failed.
///
/// `Display` prints code and message, never the cause; [`Error::source`] returns the cause.
#[derive(Debug)]
pub struct Status {
    code: Code,
    message: Cow<'static, str>,
    reason: Option<Cow<'static, str>>,
    fields: Vec<FieldError>,
    is_worth_repeating: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
    unanswered: Option<Unanswered>,
}

impl Status {
    /// Makes a status; the message is shown to callers, so it holds no internals.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: None,
            fields: Vec::new(),
            is_worth_repeating: false,
            source: None,
            unanswered: None,
        }
    }

    /// Refuses a request for its fields.
    pub fn invalid(message: impl Into<Cow<'static, str>>, fields: Vec<FieldError>) -> Self {
        Self {
            fields,
            ..Self::new(Code::Invalid, message)
        }
    }

    /// Says that the thing asked for is not there.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// Says that the state forbids the change.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Conflict, message)
    }

    /// Says that something the call needs is away.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// Hides a bug behind a neutral message; the cause goes to the log of this process.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Code::Internal, "internal error").with_source(source)
    }

    /// Names what went wrong more finely than the code does, for programs: `email_taken`. The edge makes the
    /// problem's `type` of it.
    ///
    /// A name has 1 to 64 of `a-z 0-9 _`; any other is left out.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into()).filter(|reason| is_reason(reason));
        self
    }

    /// Says that the same request may succeed a moment later although its code does not: a conflict with what
    /// is still under way. The edge answers with `Retry-After`; no caller repeats it by itself.
    #[must_use]
    pub fn worth_repeating(mut self) -> Self {
        self.is_worth_repeating = true;
        self
    }

    /// Attaches the cause. It is logged here, once, and never crosses the wire.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn with_unanswered(mut self, how: Unanswered) -> Self {
        self.unanswered = Some(how);
        self
    }

    /// Tells how the call ended if no handler answered it; `None` if one did, or nobody was called.
    #[must_use]
    pub const fn unanswered(&self) -> Option<Unanswered> {
        self.unanswered
    }

    /// Returns the code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns the message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the finer name of what went wrong, if it has one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns what is wrong with which field.
    #[must_use]
    pub fn fields(&self) -> &[FieldError] {
        &self.fields
    }

    /// Tells whether the same request may succeed a moment later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.code.is_retryable() || self.is_worth_repeating
    }

    /// Returns the cause with its own causes, for the log of this process.
    pub(crate) fn cause(&self) -> Option<String> {
        let cause = self.source()?;
        let mut chain = cause.to_string();
        let mut next = cause.source();
        while let Some(deeper) = next {
            let words = deeper.to_string();
            // Some errors of others tell their cause themselves.
            if !chain.ends_with(&words) {
                chain = format!("{chain}: {words}");
            }
            next = deeper.source();
        }
        Some(chain)
    }

    /// Encodes the part that crosses the wire.
    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let wire = WireRef {
            code: self.code.as_str(),
            message: &self.message,
            reason: self.reason(),
            errors: &self.fields,
            retryable: self.is_worth_repeating,
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Decodes a peer's status; the headers' words serve where the body can't be read.
    pub(crate) fn from_wire(body: &[u8], fallback: &str) -> Self {
        match serde_json::from_slice::<Wire>(body) {
            Ok(wire) => Self {
                reason: wire.reason.filter(|it| is_reason(it)).map(Cow::Owned),
                fields: wire.errors,
                is_worth_repeating: wire.retryable,
                ..Self::new(Code::from_wire(&wire.code), wire.message)
            },
            Err(_) => Self::new(Code::Internal, fallback.to_owned()),
        }
    }
}

/// It becomes part of a URI.
fn is_reason(reason: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&reason.len()) && reason.bytes().all(plain)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Error for Status {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

#[derive(Serialize)]
struct WireRef<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retryable: bool,
}

#[derive(Deserialize)]
struct Wire {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    errors: Vec<FieldError>,
    #[serde(default)]
    retryable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_in_its_own_row_of_the_table() {
        for (row, (code, name, _, _)) in TABLE.into_iter().enumerate() {
            assert_eq!(row, code as usize, "{name}");
            assert_eq!(code, Code::from_wire(name));
        }
    }

    #[test]
    fn a_code_of_a_newer_peer_is_internal() {
        assert_eq!(Code::Internal, Code::from_wire("teapot"));
        let status = Status::from_wire(br#"{"code":"teapot","message":"short","new":1}"#, "");
        assert_eq!((Code::Internal, "short"), (status.code(), status.message()));
    }

    #[test]
    fn the_cause_never_crosses_the_wire_nor_shows_in_display() {
        let status = Status::internal("password=hunter2");
        assert_eq!("internal: internal error", status.to_string());
        assert_eq!(
            r#"{"code":"internal","message":"internal error"}"#,
            String::from_utf8_lossy(&status.to_wire())
        );
        assert_eq!(
            "password=hunter2",
            status.source().expect("kept").to_string()
        );
    }

    #[test]
    fn fields_survive_the_wire() {
        let sent = Status::invalid(
            "2 fields are wrong",
            vec![FieldError::new("email", "is missing")],
        );
        let read = Status::from_wire(&sent.to_wire(), "");
        assert_eq!(sent.fields(), read.fields());
        assert_eq!(Code::Invalid, read.code());
    }

    #[test]
    fn a_conflict_with_what_is_under_way_survives_the_wire() {
        let sent = Status::conflict("still running").worth_repeating();
        assert!(Status::from_wire(&sent.to_wire(), "").is_retryable());
        let final_one = Status::conflict("taken");
        assert!(!Status::from_wire(&final_one.to_wire(), "").is_retryable());
    }

    #[test]
    fn a_reason_survives_the_wire_if_it_is_a_name() {
        let sent = Status::conflict("taken").because("email_taken");
        assert_eq!(
            Some("email_taken"),
            Status::from_wire(&sent.to_wire(), "").reason()
        );
        for odd in ["", "a b", "A", "a:b", &"x".repeat(65)] {
            assert_eq!(None, Status::conflict("").because(odd.to_owned()).reason());
            let wire = serde_json::json!({"code": "conflict", "reason": odd}).to_string();
            assert_eq!(None, Status::from_wire(wire.as_bytes(), "").reason());
        }
    }

    #[test]
    fn an_unreadable_body_leaves_the_words_of_the_header() {
        let status = Status::from_wire(b"<html>", "it broke");
        assert_eq!(
            (Code::Internal, "it broke"),
            (status.code(), status.message())
        );
    }
}
