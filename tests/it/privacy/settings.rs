//! Secrets in settings that are wrong, or whose servers are away.

use std::fs;

use crate::support::{Process, Server, Stack, eventually, process::run, up};

/// Nobody listens on this port, and only root could.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn a_setting_that_cant_be_used_is_named_and_its_secret_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("secrets"), "hunter2").unwrap();
    let nats = ("NATS_URL", "nats://127.0.0.1:1");
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let user = "user-service";
    let database = "database-service";
    let mail = "notification-service";
    for (service, variables) in [
        (user, vec![("NATS_URL", "nats://quirinus:hunter2@[::1")]),
        (user, vec![("NATS_URL", "nats://quirinus:hunter2@x:y")]),
        (
            user,
            vec![("NATS_URL", "nats://quirinus:hunter2,hunter2@x")],
        ),
        (user, vec![("NATS_URL", "hunter2:x@::")]),
        (user, vec![nats, ("NATS_NKEY_FILE", "secrets")]),
        (
            user,
            vec![nats, (endpoint, "http://quirinus:hunter2@[::1"), grpc],
        ),
        (
            user,
            vec![nats, (endpoint, "http://quirinus:hunter2@[::1"), http],
        ),
        (
            database,
            vec![nats, ("DATABASE_URL", "postgres://quirinus:hunter2@[::1/x")],
        ),
        (
            database,
            vec![nats, ("DATABASE_URL", "postgres://quirinus:hunter2@db/x")],
        ),
        (
            database,
            vec![nats, ("DATABASE_URL", "mysql://quirinus:hunter2@db/x")],
        ),
        (
            database,
            vec![nats, ("DATABASE_URL", "postgres://db/x?password=hunter2")],
        ),
        (
            mail,
            vec![nats, ("SMTP_URL", "smtp://quirinus:hunter2@mail")],
        ),
        (
            mail,
            vec![nats, ("SMTP_URL", "imap://quirinus:hunter2@127.0.0.1")],
        ),
        (
            mail,
            vec![nats, ("SMTP_URL", "smtps://quirinus:hunter2@[::1")],
        ),
        ("gateway", vec![nats, ("TOKENS_FILE", "secrets")]),
    ] {
        // What it says is searched as it is read.
        let (good, said) = run(folder.path(), &[service], &variables);
        assert!(!good && said.len() > 20, "{variables:?}: {said}");
    }
}

#[tokio::test]
async fn servers_that_are_away_are_named_and_their_passwords_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let nats = format!("nats://quirinus:hunter2@{NOBODY}");
    let postgres = format!("postgres://quirinus:hunter2@{NOBODY}/x");
    let variables = [("NATS_URL", nats.as_str()), ("DATABASE_URL", &postgres)];
    let mut database = Process::start(folder.path(), &["database-service"], &variables);
    database.says("PostgreSQL is away").await;
    database.says("can't reach NATS at nats://***@").await;
    let (good, said) = run(folder.path(), &["status"], &variables);
    assert!(!good && said.contains("***@"), "{said}");
}

#[tokio::test]
async fn a_collector_that_is_away_is_complained_of_without_its_password() {
    let endpoint = format!("http://quirinus:hunter2@{NOBODY}?key=hunter2");
    for protocol in ["grpc", "http/protobuf"] {
        let stack = Stack::with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ])
        .await;
        assert_eq!(200, stack.get("/user/1").await.status);
        let complaint = format!("sending spans by OTLP to http://***@{NOBODY}: ");
        let said = eventually("a complaint", async || {
            let said = stack.processes["gateway"].output();
            said.contains(&complaint).then_some(said)
        })
        .await;
        assert!(said.contains("Connection refused"), "{said}");
    }
}

#[tokio::test]
async fn up_hands_passwords_on_and_shows_them_to_nobody() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "hunter2-0123456789").unwrap();
    let nats = format!("nats://quirinus:hunter2@127.0.0.1:{}", server.port());
    let smtp = format!("smtp://quirinus:hunter2@{NOBODY}");
    let variables = [
        up::ANY_PORT,
        ("NATS_URL", nats.as_str()),
        ("SMTP_URL", &smtp),
        ("TOKENS_FILE", tokens.to_str().unwrap()),
        ("TRACING_DETAIL", "full"),
    ];
    let mut up = Process::start(folder.path(), &["up"], &variables);
    up.says("Ctrl-C stops everything").await;
    let output = up.output();
    let base = up::between(&output, "nats-serve is up at ", "\n").to_owned();
    let client = reqwest::Client::new();
    let registering = client
        .post(format!("{base}/register"))
        .bearer_auth("hunter2-0123456789")
        .json(&serde_json::json!({"name": "Quirinus", "email": "quirinus@canary.example"}));
    let registered = registering.send().await.unwrap();
    assert_eq!(201, registered.status());
    up.says("the SMTP server can't be reached").await;
    let arguments = up::children(up.pid());
    assert!(arguments.len() >= 4, "{arguments:?}");
    let told = format!("{arguments:?}");
    crate::support::canaries::see_that_none_is_in("the arguments of children", told.as_bytes());
    let (good, said) = run(folder.path(), &["status"], &[]);
    assert!(good && said.contains("gateway"), "{said}");
    run(folder.path(), &["outbox"], &[]);
    run(folder.path(), &["trace", "last"], &[]);
    up.signal(rustix::process::Signal::TERM);
    assert!(up.ended().await.success());
}
