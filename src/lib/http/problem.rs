//! A status as problem details: <https://www.rfc-editor.org/rfc/rfc9457>.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use opentelemetry::{Context, trace::TraceContextExt};
use rand::Rng;
use serde::Serialize;

use crate::{Code, FieldError, Status, context::RequestScope};

/// The media type of a problem.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// A problem as it is answered.
#[derive(Debug, Serialize)]
pub(crate) struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl<'a> Problem<'a> {
    pub(crate) fn new(
        status: &'a Status,
        request_id: Option<&str>,
        trace_id: Option<String>,
    ) -> Self {
        let http = http_status(status.code());
        Self {
            r#type: problem_type(status),
            title: http.canonical_reason().unwrap_or("Error"),
            status: http.as_u16(),
            detail: status.message(),
            instance: request_id.map(|id| format!("urn:nats-serve:request:{id}")),
            trace_id,
            errors: status.fields(),
        }
    }
}

impl IntoResponse for Status {
    /// Answers with `application/problem+json`, the current request's id and `trace_id` in it, and logs the cause, if
    /// there is one here.
    ///
    /// `type` is `urn:nats-serve:problem:` and the status's reason, or else its code; of a bug, of which there is
    /// nothing to tell, it is `about:blank`. `retry-after` stands where the same request may succeed later: 1 s,
    /// or 2 s for every other one of those that a lack of places or parts refused together.
    fn into_response(self) -> Response {
        let code = self.code();
        if let Some(cause) = self.cause() {
            match code.is_server_error() {
                true => tracing::error!(%code, cause, "{}", self.message()),
                false => tracing::info!(%code, cause, "{}", self.message()),
            }
        }
        let trace_id = Context::map_current(|current| {
            let span = current.span().span_context().clone();
            span.is_valid().then(|| span.trace_id().to_string())
        });
        let request = RequestScope::current();
        let request_id = request.as_ref().map(|scope| &*scope.request_id);
        let problem = Problem::new(&self, request_id, trace_id);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = http_status(code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.is_retryable() {
            headers.insert(header::RETRY_AFTER, retry_after(code));
        }
        response.extensions_mut().insert(code);
        response
    }
}

fn problem_type(status: &Status) -> String {
    match (status.reason(), status.code()) {
        (None, Code::Internal) => "about:blank".to_owned(),
        (None, code) => format!("urn:nats-serve:problem:{code}"),
        (Some(reason), _) => format!("urn:nats-serve:problem:{reason}"),
    }
}

/// Those who are refused together shall not all come back together.
fn retry_after(code: Code) -> HeaderValue {
    let spread = matches!(code, Code::Overloaded | Code::Unavailable);
    let later = u16::from(spread && rand::rng().random());
    HeaderValue::from(1 + later)
}

/// Gives an answer that is a refusal and nothing else the form of one: a status without a body, of a handler that is not
/// ours. Its headers stay, and so do statuses that no code has.
pub(super) fn filled(mut response: Response) -> Response {
    let http = response.status();
    if !(http.is_client_error() || http.is_server_error()) {
        return response;
    }
    let is_ours = response.extensions().get::<Code>().is_some();
    let is_told = response.headers().contains_key(header::CONTENT_TYPE);
    let is_empty = response.body().size_hint().exact() == Some(0);
    let code = Code::all().find(|code| code.http_status() == http.as_u16());
    let Some(code) = code.filter(|_| is_empty && !is_ours && !is_told) else {
        return response;
    };
    let words = http.canonical_reason().unwrap_or("refused").to_lowercase();
    let (problem, body) = Status::new(code, words).into_response().into_parts();
    *response.body_mut() = body;
    response.extensions_mut().insert(code);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    for (name, value) in &problem.headers {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    response
}

fn http_status(code: Code) -> StatusCode {
    StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns the code that a response was made from.
pub(super) fn code_of(response: &Response) -> Option<Code> {
    let known = response.extensions().get::<Code>().copied();
    known.or_else(|| (response.status().is_server_error()).then_some(Code::Internal))
}
