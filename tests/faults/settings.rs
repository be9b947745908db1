//! What a run was asked for, and what it says.

use std::{fmt, time::Duration};

/// How long a fault lasts: so many seconds, or as many as `NATS_SERVE_FAULTS_SECONDS` asks for if that
/// is more.
pub(crate) fn lasting(seconds: u32) -> Duration {
    let asked = number("NATS_SERVE_FAULTS_SECONDS").unwrap_or(0);
    Duration::from_secs(seconds.max(asked).into())
}

/// Requests a second: `NATS_SERVE_FAULTS_RATE`, or half of what the figures are measured with, for a machine
/// that others use too. A process without processor time looks frozen.
pub(crate) fn rate() -> u32 {
    number("NATS_SERVE_FAULTS_RATE").unwrap_or(100)
}

/// Whether the promised figures themselves are asserted: when a rate is asked for.
pub(crate) fn strict() -> bool {
    number("NATS_SERVE_FAULTS_RATE").is_some()
}

/// A number that a variable asks for.
pub(crate) fn number(name: &str) -> Option<u32> {
    let text = std::env::var(name).ok()?;
    let number = text.parse().ok().filter(|number| *number > 0);
    Some(number.unwrap_or_else(|| panic!("{name} is a number from 1 on, and not {text:?}")))
}

/// Prints what was measured, for docs/reliability.md.
pub(crate) fn figure(what: &str, value: impl fmt::Display) {
    println!("figure: {what}: {value}");
}
