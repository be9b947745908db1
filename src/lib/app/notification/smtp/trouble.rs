//! How to say what an SMTP server did, without what it said: its words quote addresses.

use std::{error::Error as _, io};

use lettre::transport::smtp::Error;

use crate::telemetry::spans::Failed;

/// Describes an error for the log.
pub(super) fn words(error: &Error) -> String {
    if let Some(code) = error.status() {
        return format!("the SMTP server answered {code}");
    }
    if let Some(error) = io_error(error) {
        return match error.kind() {
            // What a socket's timeout is called depends on the system.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "the SMTP server took too long".to_owned()
            }
            // What rustls finds wrong in a certificate or a handshake comes so.
            io::ErrorKind::InvalidData => format!("no TLS with the SMTP server: {error}"),
            _ => format!("the SMTP server can't be reached: {error}"),
        };
    }
    if error.is_tls() {
        let source = error.source().map(ToString::to_string);
        return format!(
            "no TLS with the SMTP server: {}",
            source.unwrap_or_default()
        );
    }
    if error.is_response() {
        return "what answers is no SMTP server, or broke off".to_owned();
    }
    // lettre's own words: a missing extension, no common way to authenticate.
    let source = error.source().map(ToString::to_string);
    format!("SMTP can't be used: {}", source.unwrap_or_default())
}

/// Names an error for a trace: by the number of the server's answer, or by its class.
pub(super) fn failed(error: &Error) -> Failed {
    let kind = match (error.status(), io_error(error)) {
        (Some(code), _) => code.to_string().into(),
        (None, Some(error)) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timeout".into(),
            io::ErrorKind::InvalidData => "tls".into(),
            kind => format!("{kind:?}").into(),
        },
        (None, None) if error.is_tls() => "tls".into(),
        (None, None) if error.is_response() => "protocol".into(),
        (None, None) => "_OTHER".into(),
    };
    Failed {
        kind,
        attributes: Vec::new(),
    }
}

fn io_error(error: &Error) -> Option<&io::Error> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}
