//! SQLite with the settings of `src/lib/app/database/sqlite.rs`, one connection.

use anyhow::Context as _;
use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tempfile::TempDir;

use super::{HOLDER, KEPT_MS, KINDS, LEASE_MS, NAME, New, TRACEPARENT};

const BEGIN: &str = "BEGIN IMMEDIATE";

#[derive(Debug)]
pub(in super::super) struct Store {
    connection: SqliteConnection,
    next: u64,
    /// Who is registered and not noted yet.
    unnoted: Vec<String>,
    _folder: TempDir,
}

impl Store {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("users.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        sqlx::migrate!("../../src/lib/app/database/sqlite/migrations")
            .run(&mut connection)
            .await?;
        Ok(Self {
            connection,
            next: 0,
            unnoted: Vec::new(),
            _folder: folder,
        })
    }

    /// Registers so many in one commit, with the notes of those before. Of a single one each note is a commit of its own,
    /// as nobody else waits for one.
    pub(super) async fn register(&mut self, at_once: usize) -> sqlx::Result<()> {
        let mut unnoted = std::mem::take(&mut self.unnoted);
        if at_once == 1 {
            for registration in unnoted.drain(..) {
                for kind in KINDS {
                    let mut transaction = self.connection.begin_with(BEGIN).await?;
                    now(&mut transaction).await?;
                    note(&mut transaction, &registration, kind).await?;
                    transaction.commit().await?;
                }
            }
        }
        let mut transaction = self.connection.begin_with(BEGIN).await?;
        let now = now(&mut transaction).await?;
        for _ in 0..at_once {
            let new = New::nth(self.next);
            self.next += 1;
            store(&mut transaction, &new, now).await?;
            self.unnoted.push(new.registration);
        }
        for registration in &unnoted {
            for kind in KINDS {
                note(&mut transaction, registration, kind).await?;
            }
        }
        transaction.commit().await
    }
}

async fn now(connection: &mut SqliteConnection) -> sqlx::Result<i64> {
    let now = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    sqlx::query_scalar(now).fetch_one(connection).await
}

async fn store(connection: &mut SqliteConnection, new: &New, now: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM registrations WHERE key = ? AND expires_at <= ?")
        .bind(&new.key)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "SELECT r.body_hash, r.registration_id, r.created_at, u.id, u.name, u.email, o.status, o.holder, o.due_at
         FROM registrations r JOIN users u ON u.id = r.user_id
         LEFT JOIN outbox o ON o.registration_id = r.registration_id AND o.kind = 'mail'
         WHERE r.key = ?",
    )
    .bind(&new.key)
    .fetch_optional(&mut *connection)
    .await?;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO users (name, email, email_normalised) VALUES (?, ?, ?)
         ON CONFLICT (email_normalised) DO NOTHING RETURNING id",
    )
    .bind(NAME)
    .bind(&new.email)
    .bind(&new.email)
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO registrations (key, body_hash, registration_id, user_id, created_at, expires_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.key)
    .bind(&new.key)
    .bind(&new.registration)
    .bind(id)
    .bind(now)
    .bind(now + KEPT_MS)
    .execute(&mut *connection)
    .await?;
    for kind in KINDS {
        sqlx::query(
            "INSERT INTO outbox (registration_id, kind, user_id, due_at, holder, traceparent, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&new.registration)
        .bind(kind)
        .bind(id)
        .bind(now + LEASE_MS)
        .bind(HOLDER)
        .bind(TRACEPARENT)
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn note(
    connection: &mut SqliteConnection,
    registration: &str,
    kind: &str,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE outbox SET status = 'sent', holder = NULL
         WHERE registration_id = ?1 AND kind = ?2",
    )
    .bind(registration)
    .bind(kind)
    .execute(connection)
    .await?;
    Ok(())
}
