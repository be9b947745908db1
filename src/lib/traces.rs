//! Traces read back from the span files that every process writes.
//!
//! One trace is spread over the files of several processes, so a request can be followed end to end
//! without a tracing backend: [`read()`] finds the spans of one trace, [`Trace`] puts them together.
//! The command `nats-serve trace` calls this, and so do tests that look at what was recorded.
//!
//! Files grow and go away while they are read, and their last line may be half-written; none of
//! that is an error.

mod critical;
mod error;
pub(crate) mod files;
#[cfg(test)]
pub(crate) mod fixtures;
mod id;
pub(crate) mod index;
mod latest;
mod lines;
mod otlp;
mod read;
mod requests;
mod selector;
mod span;
mod tail;
#[cfg(test)]
mod tests;
mod trace;
mod tree;

pub use error::Error;
pub use id::{InvalidId, SpanId, TraceId};
pub use read::read;
pub use requests::{Filter, Request, Requests, requests, services};
pub use selector::{InvalidSelector, Selector};
pub(crate) use span::is_root;
pub use span::{Attributes, Event, Kind, Span, Status, Value};
pub use tail::Tail;
pub use trace::{Gaps, Row, Trace};
