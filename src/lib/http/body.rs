//! The body of a request, read whole before the request gets a place.
//!
//! Else a client that sends its body drop by drop would hold a place for as long as it likes to wait.

use std::time::Duration;

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Code, Status};

/// What is read of a body that is refused, and for how long.
const DISCARDED: usize = 256 * 1024;
const DISCARDING: Duration = Duration::from_millis(500);

/// Reads the body into memory, as far as it is within the limit and the time.
pub(super) async fn read(
    request: Request,
    at_most: usize,
    until: Instant,
) -> Result<Request, Status> {
    // Whoever only asks has nothing to send; if he does all the same, nobody reads it.
    if request.method().is_safe() || request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > at_most) {
        discard(&parts.headers, body).await;
        return Err(too_large());
    }
    let reading = Limited::new(body, at_most).collect();
    match timeout_at(until, reading).await {
        Ok(Ok(read)) => Ok(Request::from_parts(parts, Body::from(read.to_bytes()))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Status::new(Code::Malformed, "the body could not be read")),
        Err(_) => Err(Status::new(
            Code::RequestTimeout,
            "the body did not come in time",
        )),
    }
}

/// Reads some of a body that nobody wants, so that who is still sending it reads the answer: a connection that is
/// closed with bytes unread is reset. Whoever asks before he sends has nothing on the way.
pub(super) async fn discard(headers: &HeaderMap, mut body: Body) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut discarded = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > DISCARDED {
                return;
            }
        }
    };
    let _ = timeout(DISCARDING, reading).await;
}

fn too_large() -> Status {
    Status::new(Code::TooLarge, "the body is too large")
}
