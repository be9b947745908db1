//! A status as problem details: <https://www.rfc-editor.org/rfc/rfc9457>.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use opentelemetry::{Context, trace::TraceContextExt};
use serde::Serialize;

use crate::{Code, FieldError, Status};

/// Seconds after which a refused request may be repeated.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Status {
    /// Answers with `application/problem+json`, the current request's `trace_id` in it.
    fn into_response(self) -> Response {
        let code = self.code();
        let status = http_status(code);
        let trace_id = Context::map_current(|current| {
            let span = current.span().span_context().clone();
            span.is_valid().then(|| span.trace_id().to_string())
        });
        let problem = Problem {
            r#type: format!("urn:nats-serve:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: self.message(),
            trace_id,
            errors: self.fields(),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.is_retryable() {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response.extensions_mut().insert(code);
        response
    }
}

fn http_status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns the code that a response was made from.
pub(super) fn code_of(response: &Response) -> Option<Code> {
    let known = response.extensions().get::<Code>().copied();
    known.or_else(|| (response.status().is_server_error()).then_some(Code::Internal))
}
