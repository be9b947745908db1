//! Every span and attribute name that the runtime writes, in one place.
//!
//! Ray Serve's names first, then OpenTelemetry's semantic conventions (HTTP and database stable, RPC release
//! candidate, messaging in development: <https://opentelemetry.io/docs/specs/semconv/>).

/// The root: one HTTP request at the edge.
pub(crate) const PROXY_HTTP_REQUEST: &str = "proxy_http_request";
/// A call from the caller's side, all its attempts included.
pub(crate) const PROXY_ROUTE_TO_REPLICA: &str = "proxy_route_to_replica";
/// A call from the replica's side.
pub(crate) const REPLICA_HANDLE_REQUEST: &str = "replica_handle_request";

/// The one application name that this runtime knows.
pub(crate) const APP_DEFAULT: &str = "default";

pub(crate) const APP: &str = "app";
pub(crate) const CALL_METHOD: &str = "call_method";
pub(crate) const DEPLOYMENT: &str = "deployment";
pub(crate) const REPLICA_ID: &str = "replica_id";
pub(crate) const REQUEST_ID: &str = "request_id";
pub(crate) const ROUTE: &str = "route";

pub(crate) const ATTEMPT: &str = "attempt";
pub(crate) const QUEUE_WAIT_MS: &str = "queue_wait_ms";

pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(crate) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(crate) const HTTP_ROUTE: &str = "http.route";
pub(crate) const MESSAGING_CONSUMER_GROUP_NAME: &str = "messaging.consumer.group.name";
pub(crate) const MESSAGING_DESTINATION_TEMPLATE: &str = "messaging.destination.template";
pub(crate) const MESSAGING_SYSTEM: &str = "messaging.system";
pub(crate) const RPC_METHOD: &str = "rpc.method";
pub(crate) const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
pub(crate) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
pub(crate) const SERVER_ADDRESS: &str = "server.address";
pub(crate) const SERVER_PORT: &str = "server.port";
pub(crate) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub(crate) const URL_PATH: &str = "url.path";

/// Of the steps below the hops.
#[cfg(feature = "app")]
pub(crate) mod steps {
    pub(crate) const DB_COLLECTION_NAME: &str = "db.collection.name";
    pub(crate) const DB_NAMESPACE: &str = "db.namespace";
    pub(crate) const DB_OPERATION_NAME: &str = "db.operation.name";
    pub(crate) const DB_QUERY_SUMMARY: &str = "db.query.summary";
    pub(crate) const DB_QUERY_TEXT: &str = "db.query.text";
    pub(crate) const DB_RESPONSE_STATUS_CODE: &str = "db.response.status_code";
    pub(crate) const DB_SYSTEM_NAME: &str = "db.system.name";
    pub(crate) const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
}

/// Value of `rpc.system.name` and `messaging.system`.
pub(crate) const NATS: &str = "nats";

/// Event of an attempt that did not end in an answer; `error.type` says how.
pub(crate) const EVENT_ATTEMPT_FAILED: &str = "attempt_failed";
/// Nobody offers the service, and the call waits for somebody: no attempt.
pub(crate) const EVENT_SERVICE_ABSENT: &str = "service_absent";

/// On an event: for how long, until then, its span had waited for something that goes on beside it, in microseconds.
pub(crate) const WAITED_US: &str = "waited_us";

/// Log target of one line a request at the edge. Never attached to spans: the root says it all.
pub(crate) const ACCESS_LOG: &str = "nats_serve::access";
