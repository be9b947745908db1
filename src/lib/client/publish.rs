//! Events: what happened, told to whoever listens.

use async_nats::{HeaderMap, Subject, header};
use bytes::Bytes;
use futures_util::FutureExt;
use opentelemetry::{Context, trace::TraceContextExt};

use super::{
    Client, RoundTrip,
    inbox::{Sent, Sign},
};
use crate::{Code, Status, telemetry::propagation::traceparent};

impl Client {
    /// Publishes an event, and waits until the server has it.
    ///
    /// The id goes along as `Nats-Msg-Id`, by which JetStream drops what it has already, and the current trace as
    /// `traceparent`. Whether anybody listens is not known here. Makes no span, and is never repeated: give the
    /// same id when you do.
    ///
    /// # Errors
    ///
    /// Returns `unavailable` when NATS is not connected, or does not confirm within the deadline of the request
    /// that is being handled; then it may have been published or not. Returns `internal` when NATS's permissions refuse
    /// it; on a runtime of several threads that may be found out too late to be returned, and is logged all the same.
    pub async fn publish(&self, subject: &str, id: &str, payload: Bytes) -> Result<(), Status> {
        let lost = || Status::unavailable("NATS is not connected");
        let unconfirmed = || Status::unavailable("NATS did not confirm an event in time");
        if !self.is_connected() {
            return Err(lost());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, id);
        let trace = Context::map_current(|current| traceparent(current.span().span_context()));
        if let Some(trace) = trace {
            headers.insert("traceparent", trace);
        }
        let to: Subject = subject.into();
        // The server answers a refusal before the message to ourselves.
        let callee = self.shared.instance.service().subject();
        let mut refusal = self.shared.inbox.wait(callee, Sent::To(to.clone()), 1);
        let publishing = async {
            let sent = self.nats().publish_with_headers(to, headers, payload);
            sent.await.map_err(|error| lost().with_source(error))?;
            let confirmed = self.round_trip(self.patience()).await;
            // The refusal is read by another task than the confirmation.
            tokio::task::yield_now().await;
            match confirmed {
                RoundTrip::Back => match refusal.sign().now_or_never() {
                    Some(Some(Sign::Forbidden)) => Err(Status::new(
                        Code::Internal,
                        "NATS does not permit this event",
                    )),
                    // The connection was lost in between: what was confirmed was a later one.
                    Some(None) => Err(unconfirmed()),
                    Some(Some(Sign::Message(_))) | None => Ok(()),
                },
                RoundTrip::Lost | RoundTrip::Silent => Err(unconfirmed()),
            }
        };
        tokio::time::timeout(self.patience(), publishing)
            .await
            .unwrap_or_else(|_| Err(lost()))
    }
}
