//! What services promise each other: one type an operation.
//!
//! An [`Operation`] binds service, name, request, reply and idempotence in one place. A caller
//! writes `client.call::<GetUser>(&request)`, a replica `replica.handle::<GetUser>(handler)`, and
//! the compiler holds both to the same contract.

mod names;
mod service;

use serde::{Serialize, de::DeserializeOwned};

pub(crate) use names::Names;
pub use service::Service;

/// Binds one remote procedure's service, name, request and reply.
///
/// Implement it on an empty type in a module that both sides share:
///
/// ```
/// use nats_serve::{Operation, Service};
/// use serde::{Deserialize, Serialize};
///
/// pub const CLOCK: Service = Service::new("clock").with_deployment("Clock");
///
/// #[derive(Debug, Serialize, Deserialize)]
/// pub struct TimeIn { pub city: String }
///
/// pub struct GetTime;
/// impl Operation for GetTime {
///     const SERVICE: Service = CLOCK;
///     const NAME: &'static str = "get_time";
///     const IDEMPOTENT: bool = true;
///     type Request = TimeIn;
///     type Reply = String;
/// }
/// ```
///
/// Requests and replies travel as JSON. Unknown fields are ignored on both sides, so a field may be
/// added while old and new processes run side by side; give new fields a `#[serde(default)]`.
pub trait Operation: Send + Sync + 'static {
    /// The service whose replicas answer this operation.
    const SERVICE: Service;

    /// The last token of the subject, in lower snake case: `get_user`.
    ///
    /// Letters, digits, `-` and `_`, at most 32 bytes, not starting with `_` (those names belong to
    /// the runtime). A wrong name does not compile.
    const NAME: &'static str;

    /// Whether executing a request twice leaves the same state as executing it once.
    ///
    /// Only then may the runtime repeat a call that a replica has perhaps begun. Default: `false`.
    const IDEMPOTENT: bool = false;

    /// What the caller sends.
    type Request: Serialize + DeserializeOwned + Send + Sync;

    /// What the replica answers.
    type Reply: Serialize + DeserializeOwned + Send + Sync;
}
