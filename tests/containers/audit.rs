//! The auditor on PostgreSQL.
//!
//!     NATS_SERVE_AUDITOR_REGISTRATIONS=10000 cargo test -p containers audit -- --nocapture

use std::time::Duration;

use crate::{
    auditor::{Plan, Row, Store, audit},
    bench::Bench,
    postgres::Server,
    support::eventually,
};

#[tokio::test]
async fn an_auditor_finds_nothing_lost_and_nothing_doubled_on_postgresql() {
    let mut server = Server::start().await;
    let settings = server.fresh().await;
    let variables: Vec<_> = settings
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    audit(Plan::or(500, 40), &Postgres(&server), &variables).await;
}

struct Postgres<'a>(&'a Server);

impl Store for Postgres<'_> {
    async fn lock(&self, _: &Bench, time: Duration) -> bool {
        let sql = format!(
            "BEGIN; LOCK TABLE users, outbox IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({}); COMMIT",
            time.as_secs_f64()
        );
        // One that has just crashed may not take it.
        self.0.query("test1", &sql).await.is_ok()
    }

    async fn crash(&self, _: &Bench) -> bool {
        self.0.crash("test1").await;
        eventually("the recovery", async || {
            let write = "CREATE TEMPORARY TABLE recovered (n INT)";
            self.0.query("test1", write).await.ok()
        })
        .await;
        true
    }

    async fn rows(&self, _: &Bench) -> Vec<Row> {
        let sql = "SELECT coalesce(json_agg(r), '[]') FROM (
                SELECT u.id, u.email, u.name, m.registration_id, m.status AS mail, e.status AS event FROM users u
                LEFT JOIN outbox m ON m.user_id = u.id AND m.kind = 'mail'
                LEFT JOIN outbox e ON e.user_id = u.id AND e.kind = 'event' WHERE u.id > 3) r";
        let said = self.0.query("test1", sql).await.unwrap();
        serde_json::from_str(&said).unwrap()
    }
}
