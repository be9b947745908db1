//! HTTP for the exporter, which says of every failure that it was a network error: the cause is kept here.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::ExporterBuildError;

/// Longest time for one exchange; `OTEL_EXPORTER_OTLP_TIMEOUT` shortens the whole export.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why the last exchange failed, until somebody asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Cause(Arc<Mutex<Option<String>>>);

impl Cause {
    pub(super) fn take(&self) -> Option<String> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends for the exporter, and notes why it could not.
pub(super) fn http(cause: Cause) -> Result<impl HttpClient + 'static, ExporterBuildError> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| ExporterBuildError::InternalFailure(error.to_string()))?
        .https_or_http()
        .enable_http1()
        .build();
    let client = HyperClient::new(connector, TIMEOUT, None);
    Ok(Noting { client, cause })
}

#[derive(Debug)]
struct Noting<C> {
    client: C,
    cause: Cause,
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl<C: HttpClient> HttpClient for Noting<C> {
    fn send_bytes<'a, 'f>(&'a self, request: Request<Bytes>) -> Sending<'f>
    where
        'a: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let answer = self.client.send_bytes(request).await;
            *self.cause.lock() = answer.as_ref().err().map(|error| innermost(error.as_ref()));
            answer
        })
    }
}

/// What is around it says no more than that something failed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
