//! How to say what an SMTP server did, without what it said: its words quote addresses.

use std::{error::Error as _, io};

use lettre::transport::smtp::Error;

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
