//! SQLite with the settings of `src/lib/app/database/sqlite.rs`, one connection, in the thread that asks: what its own
//! library does, with nobody between.

use anyhow::Context as _;
use rusqlite::{
    Connection, OptionalExtension as _, Result, Transaction, TransactionBehavior, params,
};
use sqlx::Connection as _;
use tempfile::TempDir;

use super::{HOLDER, KEPT_MS, KINDS, LEASE_MS, NAME, New, TRACEPARENT};

#[derive(Debug)]
pub(in super::super) struct Store {
    connection: Connection,
    next: u64,
    /// Who is registered and not noted yet.
    unnoted: Vec<String>,
    _folder: TempDir,
}

impl Store {
    pub(super) async fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let file = folder.path().join("users.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true);
        let mut tables = sqlx::SqliteConnection::connect_with(&options).await?;
        sqlx::migrate!("../../src/lib/app/database/sqlite/migrations")
            .run(&mut tables)
            .await?;
        tables.close().await?;
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self {
            connection,
            next: 0,
            unnoted: Vec::new(),
            _folder: folder,
        })
    }

    /// Registers so many in one commit, with the notes of those before. Of a single one each note is a commit of its own,
    /// as nobody else waits for one.
    pub(super) fn register(&mut self, at_once: usize) -> Result<()> {
        let mut unnoted = std::mem::take(&mut self.unnoted);
        if at_once == 1 {
            for registration in unnoted.drain(..) {
                for kind in KINDS {
                    let transaction = self.begin()?;
                    now(&transaction)?;
                    note(&transaction, &registration, kind)?;
                    transaction.commit()?;
                }
            }
        }
        let next = self.next;
        self.next += at_once as u64;
        let transaction = self.begin()?;
        let now = now(&transaction)?;
        let mut stored = Vec::new();
        for nth in next..next + at_once as u64 {
            let new = New::nth(nth);
            store(&transaction, &new, now)?;
            stored.push(new.registration);
        }
        for registration in &unnoted {
            for kind in KINDS {
                note(&transaction, registration, kind)?;
            }
        }
        transaction.commit()?;
        self.unnoted = stored;
        Ok(())
    }

    /// As `BEGIN IMMEDIATE` does it.
    fn begin(&mut self) -> Result<Transaction<'_>> {
        let immediate = TransactionBehavior::Immediate;
        self.connection.transaction_with_behavior(immediate)
    }
}

fn now(connection: &Connection) -> Result<i64> {
    let now = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    let mut statement = connection.prepare_cached(now)?;
    statement.query_row([], |row| row.get(0))
}

fn store(connection: &Connection, new: &New, now: i64) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM registrations WHERE key = ? AND expires_at <= ?")?
        .execute(params![new.key, now])?;
    connection
        .prepare_cached(
            "SELECT r.body_hash, r.registration_id, r.created_at, u.id, u.name, u.email, o.status, o.holder, o.due_at
             FROM registrations r JOIN users u ON u.id = r.user_id
             LEFT JOIN outbox o ON o.registration_id = r.registration_id AND o.kind = 'mail'
             WHERE r.key = ?",
        )?
        .query_row(params![new.key], |_| Ok(()))
        .optional()?;
    let id: i64 = connection
        .prepare_cached(
            "INSERT INTO users (name, email, email_normalised) VALUES (?, ?, ?)
             ON CONFLICT (email_normalised) DO NOTHING RETURNING id",
        )?
        .query_row(params![NAME, new.email, new.email], |row| row.get(0))?;
    connection
        .prepare_cached(
            "INSERT INTO registrations (key, body_hash, registration_id, user_id, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            new.key,
            new.key,
            new.registration,
            id,
            now,
            now + KEPT_MS
        ])?;
    for kind in KINDS {
        connection
            .prepare_cached(
                "INSERT INTO outbox (registration_id, kind, user_id, due_at, holder, traceparent, created_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                new.registration,
                kind,
                id,
                now + LEASE_MS,
                HOLDER,
                TRACEPARENT,
                now
            ])?;
    }
    Ok(())
}

fn note(connection: &Connection, registration: &str, kind: &str) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE outbox SET status = 'sent', holder = NULL
             WHERE registration_id = ?1 AND kind = ?2",
        )?
        .execute(params![registration, kind])?;
    Ok(())
}
