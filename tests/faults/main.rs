//! Breaks the real thing and counts what it costs: real processes, a real nats-server, load at a
//! constant rate, and an auditor who asks for the outcome of every request.
//!
//!     cargo test --release --test faults -- --nocapture
//!
//! Each test is named for the symptom that it rules out and prints what it measured in lines that begin
//! with `figure:`; docs/reliability.md is made of them. A fault lasts as long as its test says; with
//! `NATS_SERVE_FAULTS_SECONDS=30` none is shorter than 30 s. The load is 100 requests a second, so that it
//! can be had on a busy machine; `NATS_SERVE_FAULTS_RATE=200` asks for more. The tests
//! take turns, since each measures and wants the machine for itself; of those that wait for the most part two run at a
//! time, unless the figures are asked for.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says where")]
#![allow(
    clippy::disallowed_methods,
    reason = "the environment of the test run is no setting"
)]

/// The fixture of tests/it.
#[path = "../it"]
mod it {
    #[allow(dead_code, reason = "tests/it uses more of it")]
    pub(crate) mod support;
}
use it::support;

/// The Python of tests/conformance, for software that is not ours.
#[allow(dead_code, reason = "tests/conformance uses more of it")]
#[path = "../conformance/python.rs"]
mod python;

mod auditor;
mod bench;
mod calls;
mod frames;
mod load;
mod nodes;
mod proxy;
mod receiver;
mod registered;
mod settings;
mod stalls;
mod stopwatch;

mod audit;
mod cluster;
mod collector;
mod crowd;
mod cut_off;
mod flood;
mod frozen;
mod hostile;
mod inbox;
mod keyed;
mod killed;
mod lame_duck;
mod leaving;
mod many_traces;
mod nats_frozen;
mod nats_gone;
mod overload;
mod reconnecting;
mod reply_lost;
mod restarting;
mod storm;
mod stuck;
mod tardy;
