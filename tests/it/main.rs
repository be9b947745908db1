//! Everything with a socket, against the real binaries and a real nats-server.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]
#![allow(
    clippy::disallowed_methods,
    reason = "the environment of the test run is no setting"
)]

mod support;

mod application;
mod attempts;
mod blocked;
mod crowds;
mod detail;
mod disks;
mod docs;
mod edge;
mod example;
mod forbidden;
mod gates;
mod health;
mod hostile;
mod keys;
mod leaving;
mod lost_events;
mod metrics;
mod permissions;
mod privacy;
mod problems;
mod refusals;
mod registrations;
mod requests;
mod runtime;
mod scaling;
mod span_files;
mod start_order;
mod status_line;
mod stores;
mod telemetry;
mod tls;
mod tokens;
mod traces;
mod up;
mod watch;
mod wire;
