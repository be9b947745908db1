//! Discovery: what replicas say of themselves, read by a micro client that isn't ours.
//!
//! The documents are ADR-32's: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>.

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    python::script,
    support::{Server, Stack},
};

/// One answer: as it came, and as nats-py's type holds it.
struct Answer {
    said: Value,
    read: Value,
}

async fn ask(stack: &Stack, verb: &str, rest: &str, count: usize) -> Vec<Answer> {
    let subject = format!("$SRV.{verb}{rest}");
    let arguments = [verb, &subject, &count.to_string()];
    let answers = script("discover.py", stack, &arguments).await;
    let answers = answers.as_array().unwrap().iter();
    let answers: Vec<_> = answers
        .map(|answer| Answer {
            said: answer["said"].clone(),
            read: answer["read"].clone(),
        })
        .collect();
    assert_eq!(count, answers.len(), "answers to {subject}");
    let kind = format!("io.nats.micro.v1.{}_response", verb.to_lowercase());
    for Answer { said, .. } in &answers {
        assert_eq!(kind, said["type"]);
        check_identity(said);
    }
    answers
}

/// What ADR-32 asks of every answer.
#[track_caller]
fn check_identity(said: &Value) {
    let text = |name: &str| {
        said[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}: {said}"))
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    for name in ["name", "id"] {
        assert!(
            !text(name).is_empty() && text(name).chars().all(plain),
            "{said}"
        );
    }
    let parts: Vec<_> = text("version").split('.').map(str::parse::<u32>).collect();
    assert!(
        parts.len() == 3 && parts.iter().all(Result::is_ok),
        "{said}"
    );
    let metadata = said["metadata"].as_object().unwrap();
    assert!(metadata.values().all(Value::is_string), "{said}");
}

/// Without keys: nats-py can sign only with a library in C. tests/it/permissions.rs asks with a key.
async fn open_stack() -> Stack {
    Stack::on(Server::start().await, &[]).await
}

#[tokio::test]
async fn every_service_answers_a_ping_in_python() {
    let stack = open_stack().await;
    let answers = ask(&stack, "PING", "", 4).await;
    let names: Vec<_> = answers
        .iter()
        .map(|answer| answer.said["name"].clone())
        .collect();
    let expected = [
        "database-service",
        "gateway",
        "notification-service",
        "user-service",
    ];
    assert_eq!(expected.as_slice(), names);
    for Answer { said, read } in answers {
        assert_eq!(said, read);
        // The same process under each of its three subjects.
        let (name, id) = (said["name"].as_str().unwrap(), said["id"].as_str().unwrap());
        for narrower in [format!(".{name}"), format!(".{name}.{id}")] {
            let again = ask(&stack, "PING", &narrower, 1).await;
            assert_eq!(said, again[0].said, "{narrower}");
        }
    }
}

#[tokio::test]
async fn python_reads_which_operations_a_service_has() {
    let stack = open_stack().await;
    // Everybody's answer can be read, whatever it holds.
    for Answer { said, read } in ask(&stack, "INFO", "", 4).await {
        assert_eq!(said, read);
    }
    let Answer { read, .. } = ask(&stack, "INFO", ".database-service", 1).await.remove(0);
    assert_eq!("DatabaseService", read["description"]);
    let endpoint = |service: &str, name: &str, idempotent: &str| {
        json!({
            "name": name,
            "subject": format!("svc.{service}.{name}"),
            "queue_group": service,
            "metadata": {"idempotent": idempotent},
        })
    };
    let names = [
        "get_user",
        "create_user",
        "settle_mail",
        "list_outbox",
        "retry_outbox",
    ];
    assert_eq!(
        json!(names.map(|name| endpoint("database", name, "true"))),
        read["endpoints"]
    );
    let Answer { read, .. } = ask(&stack, "INFO", ".notification-service", 1)
        .await
        .remove(0);
    assert_eq!(
        json!([endpoint("notification", "send_welcome_email", "false")]),
        read["endpoints"]
    );
}

#[tokio::test]
async fn python_reads_what_a_service_has_done() {
    let stack = open_stack().await;
    assert_eq!(200, stack.get("/user/1").await.status);
    assert_eq!(404, stack.get("/user/99").await.status);

    let Answer { said, read } = ask(&stack, "STATS", ".database-service", 1).await.remove(0);
    check_statistics(&said);
    // nats-py reads the start only as RFC 3339 in UTC with a fraction; it keeps milliseconds.
    let started = said["started"].as_str().unwrap();
    assert!(started.starts_with(read["started"].as_str().unwrap().trim_end_matches('Z')));

    let get_user = &read["endpoints"][0];
    assert_eq!("get_user", get_user["name"]);
    // A user who doesn't exist is no failure of the service.
    assert_eq!(
        (&json!(2), &json!(0), &json!("")),
        (
            &get_user["num_requests"],
            &get_user["num_errors"],
            &get_user["last_error"]
        )
    );
    let all = get_user["processing_time"].as_u64().unwrap();
    assert!(all > 0);
    assert_eq!(
        all / 2,
        get_user["average_processing_time"].as_u64().unwrap()
    );
    assert_eq!(0, read["endpoints"][1]["num_requests"]);
}

#[tokio::test]
async fn python_reads_everybodys_statistics() {
    let stack = open_stack().await;
    for Answer { said, .. } in ask(&stack, "STATS", "", 4).await {
        check_statistics(&said);
    }
}

#[track_caller]
fn check_statistics(said: &Value) {
    assert!(said["started"].is_string(), "{said}");
    let endpoints = said["endpoints"].as_array().unwrap();
    assert!(!endpoints.is_empty(), "{said}");
    for endpoint in endpoints {
        for text in ["name", "subject", "queue_group", "last_error"] {
            assert!(endpoint[text].is_string(), "{text}: {endpoint}");
        }
        for number in [
            "num_requests",
            "num_errors",
            "processing_time",
            "average_processing_time",
        ] {
            assert!(endpoint[number].is_u64(), "{number}: {endpoint}");
        }
    }
}
