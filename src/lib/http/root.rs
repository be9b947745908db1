//! The layer's outer half: root span, request id, deadline, tokens, rate limit, one log line a request.

use std::{fmt::Write as _, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use opentelemetry::{
    Context,
    context::FutureExt,
    trace::{SpanContext, TraceContextExt},
};

use super::{
    Edge, TrustTraceparent, body, deadline, problem, rate, slot,
    tokens::{self, Shown},
};
use crate::{
    Code,
    context::{RequestScope, sane_request_id},
    telemetry::{names, propagation, spans},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const MAX_PATH: usize = 256;
/// nginx's custom: no status was sent, for nobody was there.
const CLIENT_CLOSED_REQUEST: u16 = 499;

pub(super) async fn layer(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let options = &edge.shared.options;
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    if asks && options.probes.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let arrived = Instant::now();
    let method = known_method(request.method());
    let path = shown(request.uri().path());
    let tokens = options.tokens.as_ref();
    let token = tokens.map(|tokens| tokens.shown_by(request.headers()));
    let (parent, link) = callers_trace(request.headers(), options.trust_traceparent, token);
    let scope = RequestScope::new(
        deadline::of(request.headers(), options.request_timeout),
        text(request.headers(), &REQUEST_ID)
            .and_then(sane_request_id)
            .map(Arc::from),
    );
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = spans::root(
        edge.shared.instance.service(),
        &spans::Edge {
            method,
            path: &path,
            route: route.as_ref().map(MatchedPath::as_str),
            request_id: &scope.request_id,
            link,
        },
        &parent.with_value(scope.clone()),
    );
    let mut running = Running {
        edge: &edge,
        span: &span,
        method,
        path: &path,
        route,
        arrived,
        answered: false,
    };
    let caller = token.and_then(Shown::caller);
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let is_let_in = caller.is_some() || options.open.contains(&request.uri().path());
    let peer = request.extensions().get().copied();
    let answer = async {
        let rates = edge.shared.rates.as_ref();
        let rate = rates.map(|rates| rates.take(caller, peer));
        let refusal = match (rate, token.filter(|_| !is_let_in)) {
            (Some(Err(wait)), _) => rate::refusal(wait),
            (_, Some(token)) => tokens::refusal(token),
            _ => return slot::serve(&edge, &scope, request, next).await,
        };
        let (parts, body) = request.into_parts();
        body::discard(&parts.headers, body).await;
        refusal
    };
    let mut response = answer.with_context(span.clone()).await;
    mark(&mut response, &scope, &span);
    running.end(response.status().as_u16(), problem::code_of(&response));
    response
}

/// A request on its way. Dropped before its end, it is one whose client has gone.
struct Running<'a> {
    edge: &'a Edge,
    span: &'a Context,
    method: &'static str,
    path: &'a str,
    route: Option<MatchedPath>,
    arrived: Instant,
    answered: bool,
}

impl Running<'_> {
    fn end(&mut self, status: u16, code: Option<Code>) {
        self.answered = true;
        let Self { method, path, .. } = self;
        let spent = self.arrived.elapsed();
        let shared = &self.edge.shared;
        shared.counters.note(spent, code);
        let (route, span) = (self.route.take(), self.span.span());
        shared
            .durations
            .note(method, route, status, spent, span.span_context());
        let _inside = self.span.clone().attach();
        tracing::info!(
            target: names::ACCESS_LOG,
            method,
            path,
            status,
            code = code.map(Code::as_str),
            duration_ms = spent.as_secs_f64() * 1e3,
            "{method} {path} {status}",
        );
        spans::end_http(self.span, status, code);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.edge.shared.counters.abandon();
            self.end(CLIENT_CLOSED_REQUEST, None);
        }
    }
}

/// What log and trace hold of a path: a stranger's may be as long as a head, and turn round what is beside it.
fn shown(path: &str) -> String {
    let bytes = path.bytes().take(MAX_PATH);
    let empty = String::with_capacity(path.len().min(MAX_PATH));
    bytes.fold(empty, |mut shown, byte| {
        match byte {
            b'!'..=b'~' => shown.push(char::from(byte)),
            odd => {
                let _ = write!(shown, "%{odd:02X}");
            }
        }
        shown
    })
}

/// A method of a stranger's invention would be a new value in every backend's index.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// Returns what to continue, and what to link to.
fn callers_trace(
    headers: &HeaderMap,
    trust: TrustTraceparent,
    shown: Option<Shown>,
) -> (Context, Option<SpanContext>) {
    // Vendor state of strangers goes nowhere.
    let given = alone(headers, &TRACEPARENT).and_then(|parent| propagation::parse(parent, ""));
    let is_trusted = match trust {
        TrustTraceparent::Always => true,
        TrustTraceparent::Authenticated => matches!(shown, Some(Shown::AKnownToken(_))),
        TrustTraceparent::Never => false,
    };
    match is_trusted {
        true => (spans::remote_parent(given), None),
        false => (Context::new(), given),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The same of a header that means nothing when it was sent twice.
fn alone<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let is_alone = headers.get_all(name).iter().nth(1).is_none();
    text(headers, name).filter(|_| is_alone)
}

/// Tells the caller under which ids the request is known here.
fn mark(response: &mut Response, scope: &RequestScope, span: &Context) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&scope.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    let traceparent = propagation::traceparent(span.span().span_context());
    if let Some(Ok(traceparent)) = traceparent.map(HeaderValue::try_from) {
        headers.insert(TRACEPARENT, traceparent);
    }
}
