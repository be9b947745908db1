//! A connection to PostgreSQL, with the statements of `src/lib/app/database/postgres`. Each is a commit.

use sqlx::{Connection as _, PgConnection};

use super::{HOLDER, KEPT_MS, KINDS, LEASE_MS, NAME, New, TRACEPARENT};

/// Registrations of different connections, far from each other.
const APART: u64 = 1 << 32;

#[derive(Debug)]
pub(in super::super) struct Store {
    connection: PgConnection,
    next: u64,
}

impl Store {
    /// Makes the tables, and connects so many times.
    pub(super) async fn open(url: &str, connections: usize) -> anyhow::Result<Vec<Self>> {
        let mut stores = Vec::new();
        for nth in 0..connections as u64 {
            let mut connection = PgConnection::connect(url).await?;
            if nth == 0 {
                sqlx::migrate!("../../src/lib/app/database/postgres/migrations")
                    .run(&mut connection)
                    .await?;
            }
            let next = nth * APART;
            stores.push(Self { connection, next });
        }
        Ok(stores)
    }

    /// Registers one, and notes what is sent of it.
    pub(super) async fn register(&mut self) -> sqlx::Result<()> {
        let new = New::nth(self.next);
        self.next += 1;
        sqlx::query(
            "WITH stored AS (
                 INSERT INTO users (name, email, email_normalised) VALUES ($1, $2, $3)
                 ON CONFLICT (email_normalised) DO NOTHING RETURNING id, now_ms() AS created_at
             ), registered AS (
                 INSERT INTO registrations (key, body_hash, registration_id, user_id, created_at, expires_at)
                 SELECT $4, $5, $6, id, created_at, created_at + $7 FROM stored
             ), sending AS (
                 INSERT INTO outbox (registration_id, kind, user_id, due_at, holder, traceparent, created_at)
                 SELECT $6, kind, id, created_at + $8, holder, $9, created_at
                 FROM stored, (VALUES ('mail', $10), ('event', $11)) AS each (kind, holder)
             )
             SELECT id, created_at FROM stored",
        )
        .bind(NAME)
        .bind(&new.email)
        .bind(&new.email)
        .bind(&new.key)
        .bind(&new.key)
        .bind(&new.registration)
        .bind(KEPT_MS)
        .bind(LEASE_MS)
        .bind(TRACEPARENT)
        .bind(HOLDER)
        .bind(HOLDER)
        .fetch_one(&mut self.connection)
        .await?;
        for kind in KINDS {
            sqlx::query(
                "UPDATE outbox SET status = 'sent', holder = NULL
                 WHERE registration_id = $1 AND kind = $2 AND $3 <> ''",
            )
            .bind(&new.registration)
            .bind(kind)
            .bind(HOLDER)
            .execute(&mut self.connection)
            .await?;
        }
        Ok(())
    }
}
