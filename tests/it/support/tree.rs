//! A trace as text, ids and times left out, so that it can be compared.

use nats_serve::traces::{Kind, Span, Status, Trace};

/// Draws each span as `name (Deployment) kind [error]`, indented below its parent. Siblings stand in the
/// order of their deployment's name: which of two parallel calls starts first is chance.
pub(crate) fn draw(trace: &Trace) -> String {
    let spans: Vec<&Span> = trace.rows().map(|row| row.span).collect();
    let mut lines = String::new();
    for top in trace.rows().filter(|row| row.depth == 0) {
        branch(&spans, top.span, 0, &mut lines);
    }
    lines
}

fn branch(spans: &[&Span], span: &Span, depth: usize, lines: &mut String) {
    let kind = match span.kind {
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Internal => "internal",
        _ => "other",
    };
    let deployment = span.text("deployment").unwrap_or("-");
    let failed = match &span.status {
        Status::Error(message) => format!(" ERROR {message}"),
        _ => String::new(),
    };
    let indent = "  ".repeat(depth);
    lines.push_str(&format!(
        "{indent}{} ({deployment}) {kind}{failed}\n",
        span.name
    ));
    let mut children: Vec<_> = spans
        .iter()
        .filter(|child| child.parent_span_id == Some(span.span_id))
        .collect();
    children.sort_by_key(|child| child.text("deployment").map(str::to_owned));
    for child in children {
        branch(spans, child, depth + 1, lines);
    }
}

/// `GET /user/1`.
pub(crate) const GET_USER: &str = "\
proxy_http_request (APIGateway) server
  proxy_route_to_replica (APIGateway) internal
    replica_handle_request (APIGateway) internal
      proxy_route_to_replica (UserService) client
        replica_handle_request (UserService) server
          proxy_route_to_replica (DatabaseService) client
            replica_handle_request (DatabaseService) server
";

/// `POST /register`.
pub(crate) const REGISTER: &str = "\
proxy_http_request (APIGateway) server
  proxy_route_to_replica (APIGateway) internal
    replica_handle_request (APIGateway) internal
      proxy_route_to_replica (UserService) client
        replica_handle_request (UserService) server
          proxy_route_to_replica (DatabaseService) client
            replica_handle_request (DatabaseService) server
          proxy_route_to_replica (NotificationService) client
            replica_handle_request (NotificationService) server
";
