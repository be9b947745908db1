//! Software that isn't ours takes part: a NATS client and a micro client in Python (nats-py), OpenTelemetry's SDK for
//! Python, an OTLP receiver (rotel), an SMTP server (aiosmtpd) and the schemas of Kubernetes (kubernetes-validate). What
//! they understand is what the documents say, not what we meant. The W3C's suite for trace headers is a table here.
//!
//! Needs `python3` with `venv`, and `openssl`; everything else is installed under `target/`, by hash.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]

/// The fixture of tests/it.
#[path = "../it"]
mod it {
    #[allow(
        dead_code,
        clippy::disallowed_methods,
        reason = "tests/it uses more of it; the environment of the test run is no setting"
    )]
    pub(crate) mod support;
}
use it::support;

mod mails;
mod python;
mod rotel;

mod discovery;
mod kubernetes;
mod mail_settings;
mod metrics;
mod nats_py;
mod openapi;
mod otel_py;
mod otlp;
mod privacy;
mod smtp;
mod trace_context;
