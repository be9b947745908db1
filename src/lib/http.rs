//! The HTTP edge: what turns any axum router into the front of a traced system.
//!
//! [`Edge::wrap`] puts one set of layers round a router: root span and request id, deadline, tokens, rate limit,
//! the whole body, a place to work, panic guard, problem details. [`serve()`] runs it on a listener and leaves
//! without breaking off an answer. [`Admin`] tells
//! whoever watches processes how this one fares.

mod admin;
mod body;
mod caller;
mod deadline;
mod edge;
mod json;
#[cfg(feature = "app")]
pub(crate) mod probe;
pub(crate) mod problem;
mod rate;
mod root;
mod serve;
mod slot;
mod stream;
mod tokens;

pub use admin::Admin;
pub use caller::Caller;
pub use edge::{Edge, Options, TrustTraceparent};
pub use json::Json;
pub use serve::{Leaving, serve};
pub use tokens::{Tokens, TokensError};
