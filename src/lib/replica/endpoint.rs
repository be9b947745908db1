//! One operation of a replica: its names, its handler behind a common type, its figures.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Counters, Ctx};
use crate::{Code, Operation, Status, operation::Names};

/// What `Replica::handle` takes: a function or closure from context and request to the result.
///
/// Implemented for all of these; there is no need to implement it by hand.
pub trait Handler<O: Operation>: Send + Sync + 'static {
    /// Handles one request.
    fn call(
        &self,
        ctx: Ctx,
        request: O::Request,
    ) -> impl Future<Output = Result<O::Reply, Status>> + Send;
}

impl<O, F, Fut> Handler<O> for F
where
    O: Operation,
    F: Fn(Ctx, O::Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O::Reply, Status>> + Send,
{
    fn call(
        &self,
        ctx: Ctx,
        request: O::Request,
    ) -> impl Future<Output = Result<O::Reply, Status>> + Send {
        self(ctx, request)
    }
}

type Erased = dyn Fn(Ctx, Bytes) -> BoxFuture<'static, Result<Bytes, Status>> + Send + Sync;

/// An operation that this replica answers.
pub(super) struct Endpoint {
    pub(super) names: &'static Names,
    pub(super) counters: Arc<Counters>,
    handler: Arc<Erased>,
}

impl Endpoint {
    pub(super) fn new<O: Operation>(names: &'static Names, handler: impl Handler<O>) -> Self {
        let handler = Arc::new(handler);
        Self {
            names,
            counters: Arc::default(),
            handler: Arc::new(move |ctx, payload| {
                let handler = Arc::clone(&handler);
                Box::pin(async move {
                    let request =
                        serde_json::from_slice(&payload).map_err(|error| malformed(&error))?;
                    let reply = handler.call(ctx, request).await?;
                    let reply = serde_json::to_vec(&reply).map_err(Status::internal)?;
                    Ok(reply.into())
                })
            }),
        }
    }

    /// Runs the handler; the future owns all it needs.
    pub(super) fn call(
        &self,
        ctx: Ctx,
        payload: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, Status>> {
        (self.handler)(ctx, payload)
    }
}

/// Says where reading stopped. The parser's words could repeat what the payload held.
fn malformed(error: &serde_json::Error) -> Status {
    let place = format!(
        "the request can't be read: line {}, column {}",
        error.line(),
        error.column()
    );
    Status::new(Code::Malformed, place)
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("names", self.names)
            .finish_non_exhaustive()
    }
}
