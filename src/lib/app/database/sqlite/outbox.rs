//! The outbox in SQLite.

use sqlx::{Row, sqlite::SqliteRow};

use super::{Connection, writer::Work};
use crate::app::{
    api::{
        User,
        outbox::{Delivery, Entry, Kind, Outbox, Outcome, RetryOutboxRequest},
    },
    database::{
        statement::statement,
        store::{
            AT_A_TIME, FAILED_KEPT, HELD, PATIENCE, SENT_KEPT, Settled, Taken, delivery, kind,
            milliseconds, pause_after, soon,
        },
    },
};

/// Takes what is due.
pub(super) struct Take {
    pub(super) kind: Kind,
    pub(super) holder: String,
    pub(super) at_most: u32,
}

impl Work for Take {
    type Output = Vec<Taken>;

    async fn run(
        &self,
        connection: &mut Connection<'_>,
        now: i64,
    ) -> Result<Vec<Taken>, sqlx::Error> {
        let rows = statement(
            "UPDATE outbox SET holder = ?1, due_at = ?2, tries = tries + 1
             WHERE (registration_id, kind) IN (
                 SELECT registration_id, kind FROM outbox
                 WHERE status = 'pending' AND due_at <= ?3 AND kind = ?5 ORDER BY due_at LIMIT ?4)
             RETURNING registration_id, kind, tries, traceparent, created_at, user_id,
                 (SELECT name FROM users WHERE id = user_id) AS name,
                 (SELECT email FROM users WHERE id = user_id) AS email",
        )
        .bind(&self.holder)
        .bind(now + milliseconds(HELD))
        .bind(now)
        .bind(self.at_most)
        .bind(self.kind.as_str())
        .fetch_all(connection)
        .await?;
        rows.iter().map(taken).collect()
    }
}

/// Notes what became of something. That it was sent is so whoever has it by now.
impl Work for Settled {
    type Output = ();

    async fn run(&self, connection: &mut Connection<'_>, now: i64) -> Result<(), sqlx::Error> {
        let settle = match self.outcome {
            Outcome::Sent => statement(
                "UPDATE outbox SET status = 'sent', holder = NULL
                 WHERE registration_id = ?1 AND kind = ?2",
            ),
            Outcome::Failed => statement(
                "UPDATE outbox SET status = 'failed', holder = NULL
                 WHERE registration_id = ?1 AND kind = ?2 AND status = 'pending' AND holder = ?3",
            ),
            Outcome::UnderWay => return self.under_way(connection, now).await,
            Outcome::NotBegun => return self.not_begun(connection, now).await,
            Outcome::Later => return self.later(connection, now).await,
        };
        settle
            .bind(&self.registration_id)
            .bind(self.kind.as_str())
            .bind(&self.holder)
            .execute(connection)
            .await
            .map(|_| ())
    }
}

impl Settled {
    async fn under_way(
        &self,
        connection: &mut Connection<'_>,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let held = statement(
            "UPDATE outbox SET due_at = ?4
             WHERE registration_id = ?1 AND kind = ?2 AND status = 'pending' AND holder = ?3",
        );
        held.bind(&self.registration_id)
            .bind(self.kind.as_str())
            .bind(&self.holder)
            .bind(now + milliseconds(HELD))
            .execute(connection)
            .await
            .map(|_| ())
    }

    /// That was no try, for a day; after that it is one.
    async fn not_begun(
        &self,
        connection: &mut Connection<'_>,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        let put_off = statement(
            "UPDATE outbox SET holder = NULL, tries = max(tries - 1, 0), due_at = ?4
             WHERE registration_id = ?1 AND kind = ?2 AND status = 'pending' AND holder = ?3 AND created_at > ?5",
        )
        .bind(&self.registration_id)
        .bind(self.kind.as_str())
        .bind(&self.holder)
        .bind(now + milliseconds(soon()))
        .bind(now - milliseconds(PATIENCE))
        .execute(&mut *connection)
        .await?;
        match put_off.rows_affected() {
            0 => self.later(connection, now).await,
            _ => Ok(()),
        }
    }

    async fn later(&self, connection: &mut Connection<'_>, now: i64) -> Result<(), sqlx::Error> {
        let held = statement(
            "SELECT tries FROM outbox
             WHERE registration_id = ? AND kind = ? AND status = 'pending' AND holder = ? AND due_at <= ?",
        )
        .bind(&self.registration_id)
        .bind(self.kind.as_str())
        .bind(&self.holder)
        .bind(now + self.ends_leases_of())
        .fetch_optional(&mut *connection)
        .await?;
        let Some(held) = held else {
            return Ok(());
        };
        let pause = pause_after(held.try_get("tries")?);
        statement(
            "UPDATE outbox SET holder = NULL, status = ?3, due_at = ?4
             WHERE registration_id = ?1 AND kind = ?2",
        )
        .bind(&self.registration_id)
        .bind(self.kind.as_str())
        .bind(pause.map_or("failed", |_| "pending"))
        .bind(now + pause.map_or(0, milliseconds))
        .execute(connection)
        .await
        .map(|_| ())
    }
}

/// Makes something due that nobody has.
pub(super) struct Retry(pub(super) RetryOutboxRequest);

impl Work for Retry {
    type Output = u64;

    async fn run(&self, connection: &mut Connection<'_>, now: i64) -> Result<u64, sqlx::Error> {
        let (registration, failed, pending) = match &self.0 {
            RetryOutboxRequest::Registration(id) => (Some(id), true, true),
            RetryOutboxRequest::Failed => (None, true, false),
            RetryOutboxRequest::Pending => (None, false, true),
        };
        let changed = statement(
            "UPDATE outbox SET status = 'pending', tries = 0, holder = NULL, due_at = ?1
             WHERE (?2 IS NULL OR registration_id = ?2)
                 AND ((?3 AND status = 'failed')
                     OR (?4 AND status = 'pending' AND (holder IS NULL OR due_at <= ?1)))",
        )
        .bind(now)
        .bind(registration)
        .bind(failed)
        .bind(pending)
        .execute(connection)
        .await?;
        Ok(changed.rows_affected())
    }
}

/// Writes nothing, as one who writes.
pub(super) struct Nothing;

impl Work for Nothing {
    type Output = ();

    async fn run(&self, connection: &mut Connection<'_>, _now: i64) -> Result<(), sqlx::Error> {
        let nothing = statement("UPDATE outbox SET tries = tries WHERE FALSE");
        nothing.execute(connection).await.map(|_| ())
    }
}

/// Removes what is past its time.
pub(super) struct Clean;

impl Work for Clean {
    type Output = u64;

    async fn run(&self, connection: &mut Connection<'_>, now: i64) -> Result<u64, sqlx::Error> {
        let keys = statement(
            "DELETE FROM registrations WHERE key IN
                 (SELECT key FROM registrations WHERE expires_at <= ? LIMIT ?)",
        )
        .bind(now)
        .bind(AT_A_TIME)
        .execute(&mut *connection)
        .await?;
        let mut removed = keys.rows_affected();
        for (status, kept) in [("sent", SENT_KEPT), ("failed", FAILED_KEPT)] {
            let entries = statement(
                "DELETE FROM outbox WHERE (registration_id, kind) IN
                     (SELECT registration_id, kind FROM outbox WHERE status = ? AND created_at <= ? LIMIT ?)",
            )
            .bind(status)
            .bind(now - milliseconds(kept))
            .bind(AT_A_TIME)
            .execute(&mut *connection)
            .await?;
            removed += entries.rows_affected();
        }
        Ok(removed)
    }
}

/// Lists what is not sent.
pub(super) async fn list(
    reader: &mut Connection<'_>,
    only: Option<Delivery>,
    at_most: u32,
) -> Result<Outbox, sqlx::Error> {
    let rows = statement(
        "SELECT registration_id, kind, user_id, status, tries, holder, created_at,
             due_at - CAST(unixepoch('subsec') * 1000 AS INTEGER) AS due_in
         FROM outbox WHERE status IN ('pending', 'failed') AND (?1 IS NULL OR status = ?1)
         ORDER BY created_at, registration_id, kind LIMIT ?2",
    )
    .bind(only.map(Delivery::as_str))
    .bind(at_most)
    .fetch_all(&mut *reader)
    .await?;
    let counts = statement(
        "SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
             count(*) FILTER (WHERE status = 'failed') AS failed
         FROM outbox WHERE status IN ('pending', 'failed')",
    )
    .fetch_one(reader)
    .await?;
    Ok(Outbox {
        entries: rows.iter().map(entry).collect::<Result<_, _>>()?,
        pending: counts.try_get::<i64, _>("pending")?.unsigned_abs(),
        failed: counts.try_get::<i64, _>("failed")?.unsigned_abs(),
    })
}

/// Tells whether anything is due, without disturbing who writes.
pub(super) async fn is_due(reader: &mut Connection<'_>, kind: Kind) -> Result<bool, sqlx::Error> {
    statement(
        "SELECT EXISTS (SELECT 1 FROM outbox
         WHERE status = 'pending' AND due_at <= CAST(unixepoch('subsec') * 1000 AS INTEGER) AND kind = ?)",
    )
    .bind(kind.as_str())
    .fetch_one(reader)
    .await?
    .try_get(0)
}

fn taken(row: &SqliteRow) -> Result<Taken, sqlx::Error> {
    Ok(Taken {
        registration_id: row.try_get("registration_id")?,
        kind: kind(row.try_get("kind")?),
        user: User {
            id: row.try_get::<i64, _>("user_id")?.to_string(),
            name: row.try_get("name")?,
            email: row.try_get("email")?,
        },
        tries: row.try_get("tries")?,
        created_at_ms: row.try_get("created_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}

fn entry(row: &SqliteRow) -> Result<Entry, sqlx::Error> {
    let due_in_ms = row.try_get("due_in")?;
    Ok(Entry {
        registration_id: row.try_get("registration_id")?,
        kind: kind(row.try_get("kind")?),
        user_id: row.try_get::<i64, _>("user_id")?.to_string(),
        delivery: delivery(row.try_get("status")?),
        tries: row.try_get("tries")?,
        due_in_ms,
        is_leased: row.try_get::<Option<&str>, _>("holder")?.is_some() && due_in_ms > 0,
        created_at_ms: row.try_get("created_at")?,
    })
}
