//! The inner half of the layer: the body, the wait for a place, the handler. The last two are spans as on any other hop.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use opentelemetry::context::FutureExt;

use super::{Edge, body, problem};
use crate::{
    Code, Status,
    context::{LAST_WORD, RequestScope},
    telemetry::{names, spans},
};

pub(super) async fn serve(
    edge: &Edge,
    scope: &RequestScope,
    request: Request,
    next: Next,
) -> Response {
    // Neither an unknown path nor a service that was nested has one.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let deadline = tokio::time::Instant::from_std(scope.deadline);
    let at_most = edge.shared.options.max_body;
    let request = match body::read(request, at_most, deadline).await {
        Ok(request) => request,
        Err(status) => return status.into_response(),
    };
    let instance = &edge.shared.instance;
    let inner = |name| {
        spans::edge_inner(
            name,
            instance.service(),
            &scope.request_id,
            route,
            instance.id(),
        )
    };
    let routing = inner(names::PROXY_ROUTE_TO_REPLICA);
    let response = async {
        let arrived = Instant::now();
        let entered = edge.shared.admission.enter(scope.remaining()).await;
        spans::waited(&routing, arrived.elapsed());
        let place = match entered {
            Ok(place) => place,
            Err(refused) => {
                edge.shared.counters.refuse();
                return Status::from(refused).into_response();
            }
        };
        let handling = inner(names::REPLICA_HANDLE_REQUEST);
        let answer = next.run(request).with_context(handling.clone());
        let response = match tokio::time::timeout_at(deadline + LAST_WORD, answer).await {
            Ok(response) => problem::filled(response),
            Err(_) => {
                let _inside = handling.clone().attach();
                let late = "the handler was not done at its deadline";
                let status = Status::new(Code::DeadlineExceeded, "the request took too long");
                status.with_source(late).into_response()
            }
        };
        end(&handling, &response);
        drop(place);
        response
    }
    .with_context(routing.clone())
    .await;
    end(&routing, &response);
    response
}

fn end(span: &opentelemetry::Context, response: &Response) {
    spans::end_http(span, response.status().as_u16(), problem::code_of(response));
}
