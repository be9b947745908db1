//! The system in containers, and parts of it beside them: the very Dockerfile and docker-compose.yml of this
//! repository, a real PostgreSQL, and NATS as its image has it.
//!
//!     cargo test -p containers
//!
//! Needs Docker with Compose. Images that are missing are pulled; where there is no registry, stand-ins are made
//! (images/README.md). What these tests make they remove: containers, networks and volumes, not images.

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

/// The Python of tests/conformance.
#[allow(dead_code, reason = "tests/conformance uses more of it")]
#[path = "../conformance/python.rs"]
mod python;

/// The load driver and the auditor of tests/faults.
#[path = "../faults"]
mod faults {
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod auditor;
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod bench;
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod frames;
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod load;
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod proxy;
    #[allow(
        dead_code,
        clippy::disallowed_methods,
        reason = "tests/faults uses more of it; the environment of the test run is no setting"
    )]
    pub(crate) mod settings;
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod stalls;
    #[allow(dead_code, reason = "tests/faults uses more of it")]
    pub(crate) mod stopwatch;
}
use faults::{auditor, bench, frames, proxy, settings, stalls, stopwatch};

mod audit;
mod composed;
mod engine;
mod images;
mod nats;
mod postgres;
