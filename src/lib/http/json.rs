//! A JSON body, refused with words that help.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Code, Status};

/// Extracts a JSON body: axum's own with problem details for what goes wrong.
///
/// Another media type than `application/json` is answered 415, a body over the limit 413, bytes that
/// are no JSON 400, and JSON of another shape 422.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T, S> FromRequest<S> for Json<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Status;

    async fn from_request(request: Request, state: &S) -> Result<Self, Status> {
        let media_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .map(|media_type| media_type.trim().to_ascii_lowercase());
        if media_type.is_none_or(|given| given != "application/json") {
            return Err(Status::new(
                Code::UnsupportedMediaType,
                "send the body with `content-type: application/json`",
            ));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(unreadable)?;
        let value: Value = serde_json::from_slice(&body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Status::new(
                Code::Malformed,
                format!("the body is not JSON: see {place}"),
            )
        })?;
        serde_json::from_value(value)
            .map(Self)
            .map_err(|_| Status::new(Code::Invalid, "the JSON has the wrong shape"))
    }
}

fn unreadable(rejection: BytesRejection) -> Status {
    if rejection.into_response().status() == StatusCode::PAYLOAD_TOO_LARGE {
        Status::new(Code::TooLarge, "the body is too large")
    } else {
        Status::new(Code::Malformed, "the body could not be read")
    }
}
