//! What `TRACING_DETAIL=full` adds to a trace: the statements and the steps of a mail, below the hops.

use std::collections::BTreeSet;

use nats_serve::traces::{Row, Trace, Value};
use pretty_assertions::assert_eq;
use serde_json::Value as Json;
use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

use crate::support::{
    Stack, eventually,
    tree::{self, draw},
};

const FULL: [(&str, &str); 1] = [("TRACING_DETAIL", "full")];

fn attributes(row: &Row<'_>, prefix: &str) -> Vec<(String, String)> {
    let all = row.span.attributes.iter();
    let wanted = all.filter(|(name, _)| name.starts_with(prefix));
    wanted
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    expected.iter().map(owned).collect()
}

fn row<'a>(trace: &'a Trace, name: &str) -> Row<'a> {
    let mut rows = trace.rows();
    let found = rows.find(|row| row.span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {}", draw(trace)))
}

#[tokio::test]
async fn the_tree_of_a_request_ends_with_its_statement() {
    let stack = Stack::with(&FULL).await;
    let trace = stack.trace(&stack.get("/user/1").await, 9).await;
    let steps = ["take connection (-) internal", "SELECT users (-) client"];
    let steps = steps.map(|step| format!("{:14}{step}\n", ""));
    assert_eq!(tree::GET_USER.to_owned() + &steps.concat(), draw(&trace));
    assert!(trace.is_complete(), "{:?}", trace.gaps());
    assert!(trace.rows().all(|row| row.is_critical));
    assert_eq!(
        pairs(&[
            ("db.collection.name", "users"),
            ("db.namespace", "nats-serve.db"),
            ("db.operation.name", "SELECT"),
            ("db.query.summary", "SELECT users"),
            (
                "db.query.text",
                "SELECT id, name, email, last_login, theme, notifications FROM users WHERE id = ?"
            ),
            ("db.system.name", "sqlite"),
        ]),
        attributes(&row(&trace, "SELECT users"), "db.")
    );
}

#[tokio::test]
async fn the_tree_of_a_registration_has_its_statements_and_its_mail_and_no_value() {
    let stack = Stack::with(&FULL).await;
    let registered = stack
        .register("Quirinus Canary", "quirinus@canary.example")
        .await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let trace = stack.trace(&registered, 27).await;
    assert_eq!(
        "\
proxy_http_request (APIGateway) server
  proxy_route_to_replica (APIGateway) internal
    replica_handle_request (APIGateway) internal
      proxy_route_to_replica (UserService) client
        replica_handle_request (UserService) server
          proxy_route_to_replica (DatabaseService) client
            replica_handle_request (DatabaseService) server
              BEGIN (-) client
              DELETE registrations (-) client
              SELECT registrations (-) client
              INSERT users (-) client
              INSERT registrations (-) client
              INSERT outbox (-) client
              INSERT outbox (-) client
              COMMIT (-) client
              BEGIN (-) client
              UPDATE outbox (-) client
              COMMIT (-) client
          proxy_route_to_replica (NotificationService) client
            replica_handle_request (NotificationService) server
              mail write (-) internal
              mail rename (-) internal
              proxy_route_to_replica (DatabaseService) client
                replica_handle_request (DatabaseService) server
                  BEGIN (-) client
                  UPDATE outbox (-) client
                  COMMIT (-) client
",
        draw(&trace)
    );
    assert!(trace.is_complete(), "{:?}", trace.gaps());
    for file in std::fs::read_dir(stack.spans()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for canary in ["Quirinus", "quirinus", "canary.example"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}

#[tokio::test]
async fn a_statement_that_fails_is_an_error_that_says_why_by_a_class() {
    let stack = Stack::with(&FULL).await;
    let file = stack.folder().join(".nats-serve/nats-serve.db");
    let options = SqliteConnectOptions::new().filename(file);
    let mut other = options.connect().await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let refused = stack.register("Xenia", "x@example.com").await;
    refused.problem(503);
    let trace = eventually("the statement that failed", async || {
        let trace = stack.trace(&refused, 8).await;
        let failed = trace
            .rows()
            .any(|row| row.span.name == "BEGIN" && row.span.is_error());
        failed.then_some(trace)
    })
    .await;
    let begin = row(&trace, "BEGIN");
    assert_eq!(Some("SQLITE_BUSY"), begin.span.text("error.type"));
    let code = begin.span.attributes.get("db.response.status_code");
    assert_eq!(Some(&Value::String("5".to_owned())), code);
    assert_eq!(Some("BEGIN IMMEDIATE"), begin.span.text("db.query.text"));
}

#[tokio::test]
async fn a_mail_that_cant_be_written_is_an_error_that_names_no_file() {
    let stack = Stack::with(&FULL).await;
    let folder = stack.folder().join(".nats-serve/mails");
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let registered = stack.register("Xenia", "x@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let trace = eventually("the step that failed", async || {
        let trace = stack.trace(&registered, 9).await;
        let is_there = trace.rows().any(|row| row.span.name == "mail write");
        is_there.then_some(trace)
    })
    .await;
    let written = row(&trace, "mail write");
    assert!(written.span.is_error());
    assert_eq!(
        pairs(&[("error.type", "AlreadyExists")]),
        attributes(&written, "")
    );
}

#[tokio::test]
async fn what_is_in_no_trace_begins_none() {
    let mut stack = Stack::with(&FULL).await;
    stack.leave("notification-service").await;
    let registered = stack.register("Xenia", "x@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    stack.add("notification-2", "notification-service");
    stack.ready("notification-2").await;
    // By then the relay has looked for what is due, again and again.
    let of_relay = eventually("what the relay did", async || {
        let roots = roots(&stack);
        roots.contains("outbox_relay").then_some(roots)
    })
    .await;
    assert_eq!(
        BTreeSet::from(["outbox_relay".to_owned(), "proxy_http_request".to_owned()]),
        of_relay
    );
}

/// The names of all spans that have no parent.
fn roots(stack: &Stack) -> BTreeSet<String> {
    let files = std::fs::read_dir(stack.spans()).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let lines: Vec<Json> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect();
    let all = |list: &Json, key: &str| list[key].as_array().cloned().unwrap_or_default();
    let spans = lines
        .iter()
        .flat_map(|line| all(line, "resourceSpans"))
        .flat_map(|one| all(&one, "scopeSpans"))
        .flat_map(|one| all(&one, "spans"));
    spans
        .filter(|span| span["parentSpanId"].as_str().is_none_or(str::is_empty))
        .map(|span| span["name"].as_str().unwrap().to_owned())
        .collect()
}
