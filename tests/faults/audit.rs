//! The auditor's short form, on SQLite: nothing lost, nothing doubled. That on PostgreSQL is in tests/containers.

use std::time::Duration;

use crate::{
    auditor::{Plan, Row, Store, audit},
    bench::{Bench, turn},
    python,
    support::process,
};

#[tokio::test]
async fn an_auditor_finds_nothing_lost_and_nothing_doubled() {
    let _turn = turn().await;
    audit(Plan::or(2_000, 80), &Sqlite, &[]).await;
}

/// The default store: a file in the processes' folder.
struct Sqlite;

impl Store for Sqlite {
    async fn lock(&self, bench: &Bench, time: Duration) -> bool {
        let code = format!(
            "import sqlite3, time; c = sqlite3.connect('.nats-serve/nats-serve.db', timeout=5); \
             c.execute('BEGIN EXCLUSIVE'); time.sleep({})",
            time.as_secs_f64()
        );
        let folder = bench.stack.folder();
        let command = process::command(python::python(), folder, &["-c", &code], &[]);
        let mut command = tokio::process::Command::from(command);
        // Busy for longer than it waits, it is not locked.
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() || said.contains("database is locked"),
            "{said}"
        );
        output.status.success()
    }

    /// It is in the processes, and crashes with them.
    async fn crash(&self, _: &Bench) -> bool {
        false
    }

    async fn rows(&self, bench: &Bench) -> Vec<Row> {
        let code = "import sqlite3, json; c = sqlite3.connect('.nats-serve/nats-serve.db'); \
             print(json.dumps([dict(zip(['id', 'email', 'name', 'registration_id', 'mail', 'event'], row)) \
             for row in c.execute(\"SELECT u.id, u.email, u.name, m.registration_id, m.status, e.status FROM users u \
             LEFT JOIN outbox m ON m.user_id = u.id AND m.kind = 'mail' \
             LEFT JOIN outbox e ON e.user_id = u.id AND e.kind = 'event' WHERE u.id > 3\")]))";
        let folder = bench.stack.folder();
        let command = process::command(python::python(), folder, &["-c", code], &[]);
        let output = tokio::process::Command::from(command)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
