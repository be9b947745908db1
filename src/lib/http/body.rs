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
    let (parts, mut body) = request.into_parts();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let read = match announced > at_most {
        true => Ok(Err(too_large())),
        false => timeout_at(until, whole(&mut body, at_most)).await,
    };
    match read {
        Ok(Ok(bytes)) => Ok(Request::from_parts(parts, Body::from(bytes))),
        Ok(Err(status)) => {
            discard(&parts.headers, body).await;
            Err(status)
        }
        Err(_) => Err(Status::new(
            Code::RequestTimeout,
            "the body did not come in time",
        )),
    }
}

async fn whole(body: &mut Body, at_most: usize) -> Result<Bytes, Status> {
    match Limited::new(body, at_most).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(Status::new(Code::Malformed, "the body could not be read")),
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
