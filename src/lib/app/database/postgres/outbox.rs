//! The outbox in PostgreSQL.

use sqlx::{Row, postgres::PgRow};

use super::Connection;
use crate::app::{
    api::{
        User,
        outbox::{Delivery, Entry, Kind, Outbox, Outcome, RetryOutboxRequest},
    },
    database::{
        statement::statement,
        store::{
            AT_A_TIME, FAILED_KEPT, HELD, PATIENCE, PAUSES, SENT_KEPT, Settled, Taken, delivery,
            kind, milliseconds, soon,
        },
    },
};

/// Takes what is due; what another is about to take is passed over.
pub(super) async fn take(
    connection: &mut Connection<'_>,
    kind: Kind,
    holder: &str,
    at_most: u32,
) -> Result<Vec<Taken>, sqlx::Error> {
    let rows = statement(
        "WITH due AS MATERIALIZED (
             SELECT registration_id, kind FROM outbox WHERE status = 'pending' AND due_at <= now_ms() AND kind = $4
             ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         UPDATE outbox o SET holder = $1, due_at = now_ms() + $2, tries = tries + 1
         FROM users u, due d
         WHERE u.id = o.user_id AND o.registration_id = d.registration_id AND o.kind = d.kind
         RETURNING o.registration_id, o.kind, o.tries, o.traceparent, o.created_at, o.user_id, u.name, u.email",
    )
    .bind(holder)
    .bind(milliseconds(HELD))
    .bind(i64::from(at_most))
    .bind(kind.as_str())
    .fetch_all(connection)
    .await?;
    rows.iter().map(taken).collect()
}

/// Notes what became of something. That it was sent is so whoever has it by now; a holder has a name.
pub(super) async fn settle(
    connection: &mut Connection<'_>,
    settled: &Settled,
) -> Result<(), sqlx::Error> {
    let settle = match settled.outcome {
        Outcome::Sent => statement(
            "UPDATE outbox SET status = 'sent', holder = NULL
             WHERE registration_id = $1 AND kind = $2 AND $3 <> ''",
        ),
        Outcome::Failed => statement(
            "UPDATE outbox SET status = 'failed', holder = NULL
             WHERE registration_id = $1 AND kind = $2 AND status = 'pending' AND holder = $3",
        ),
        Outcome::UnderWay => return under_way(connection, settled).await,
        Outcome::NotBegun => return not_begun(connection, settled).await,
        Outcome::Later => return later(connection, settled).await,
    };
    settle
        .bind(&settled.registration_id)
        .bind(settled.kind.as_str())
        .bind(&settled.holder)
        .execute(connection)
        .await
        .map(|_| ())
}

async fn under_way(connection: &mut Connection<'_>, settled: &Settled) -> Result<(), sqlx::Error> {
    let held = statement(
        "UPDATE outbox SET due_at = now_ms() + $4
         WHERE registration_id = $1 AND kind = $2 AND status = 'pending' AND holder = $3",
    );
    held.bind(&settled.registration_id)
        .bind(settled.kind.as_str())
        .bind(&settled.holder)
        .bind(milliseconds(HELD))
        .execute(connection)
        .await
        .map(|_| ())
}

/// That was no try, for a day; after that it is one.
async fn not_begun(connection: &mut Connection<'_>, settled: &Settled) -> Result<(), sqlx::Error> {
    let put_off = statement(
        "UPDATE outbox SET holder = NULL, tries = greatest(tries - 1, 0), due_at = now_ms() + $4
         WHERE registration_id = $1 AND kind = $2 AND status = 'pending' AND holder = $3
             AND created_at > now_ms() - $5",
    )
    .bind(&settled.registration_id)
    .bind(settled.kind.as_str())
    .bind(&settled.holder)
    .bind(milliseconds(soon()))
    .bind(milliseconds(PATIENCE))
    .execute(&mut *connection)
    .await?;
    match put_off.rows_affected() {
        0 => later(connection, settled).await,
        _ => Ok(()),
    }
}

/// The pauses are those after the first, the second, … try; beyond the last it has failed.
async fn later(connection: &mut Connection<'_>, settled: &Settled) -> Result<(), sqlx::Error> {
    let jitter = rand::random_range(0.8..1.2);
    let pauses: Vec<i64> = PAUSES
        .iter()
        .map(|pause| milliseconds(pause.mul_f64(jitter)))
        .collect();
    statement(
        "UPDATE outbox SET holder = NULL, due_at = now_ms() + COALESCE($4[tries], 0),
             status = CASE WHEN $4[tries] IS NULL THEN 'failed' ELSE 'pending' END
         WHERE registration_id = $1 AND kind = $2 AND status = 'pending' AND holder = $3
             AND due_at <= now_ms() + $5",
    )
    .bind(&settled.registration_id)
    .bind(settled.kind.as_str())
    .bind(&settled.holder)
    .bind(pauses)
    .bind(settled.ends_leases_of())
    .execute(connection)
    .await
    .map(|_| ())
}

/// Makes something due that nobody has.
pub(super) async fn retry(
    connection: &mut Connection<'_>,
    what: &RetryOutboxRequest,
) -> Result<u64, sqlx::Error> {
    let (registration, failed, pending) = match what {
        RetryOutboxRequest::Registration(id) => (Some(id), true, true),
        RetryOutboxRequest::Failed => (None, true, false),
        RetryOutboxRequest::Pending => (None, false, true),
    };
    let changed = statement(
        "UPDATE outbox SET status = 'pending', tries = 0, holder = NULL, due_at = now_ms()
         WHERE ($1::TEXT IS NULL OR registration_id = $1)
             AND (($2 AND status = 'failed')
                 OR ($3 AND status = 'pending' AND (holder IS NULL OR due_at <= now_ms())))",
    )
    .bind(registration)
    .bind(failed)
    .bind(pending)
    .execute(connection)
    .await?;
    Ok(changed.rows_affected())
}

/// Writes nothing, as one who writes: a table that is locked, or a server that only reads, is an error.
pub(super) async fn write_nothing(connection: &mut Connection<'_>) -> Result<(), sqlx::Error> {
    let nothing = statement("UPDATE outbox SET tries = tries WHERE FALSE");
    nothing.execute(connection).await.map(|_| ())
}

/// Removes what is past its time.
pub(super) async fn clean(connection: &mut Connection<'_>) -> Result<u64, sqlx::Error> {
    let at_a_time = i64::from(AT_A_TIME);
    let keys = statement(
        "DELETE FROM registrations WHERE key IN
             (SELECT key FROM registrations WHERE expires_at <= now_ms() LIMIT $1 FOR UPDATE SKIP LOCKED)",
    )
    .bind(at_a_time)
    .execute(&mut *connection)
    .await?;
    let mut removed = keys.rows_affected();
    for (status, kept) in [("sent", SENT_KEPT), ("failed", FAILED_KEPT)] {
        let entries = statement(
            "DELETE FROM outbox WHERE (registration_id, kind) IN
                 (SELECT registration_id, kind FROM outbox
                  WHERE status = $1 AND created_at <= now_ms() - $2 LIMIT $3 FOR UPDATE SKIP LOCKED)",
        )
        .bind(status)
        .bind(milliseconds(kept))
        .bind(at_a_time)
        .execute(&mut *connection)
        .await?;
        removed += entries.rows_affected();
    }
    Ok(removed)
}

/// Lists what is not sent.
pub(super) async fn list(
    connection: &mut Connection<'_>,
    only: Option<Delivery>,
    at_most: u32,
) -> Result<Outbox, sqlx::Error> {
    let rows = statement(
        "SELECT registration_id, kind, user_id, status, tries, holder, created_at, due_at - now_ms() AS due_in
         FROM outbox WHERE status IN ('pending', 'failed') AND ($1::TEXT IS NULL OR status = $1)
         ORDER BY created_at, registration_id, kind LIMIT $2",
    )
    .bind(only.map(Delivery::as_str))
    .bind(i64::from(at_most))
    .fetch_all(&mut *connection)
    .await?;
    let counts = statement(
        "SELECT count(*) FILTER (WHERE status = 'pending') AS pending,
             count(*) FILTER (WHERE status = 'failed') AS failed
         FROM outbox WHERE status IN ('pending', 'failed')",
    )
    .fetch_one(connection)
    .await?;
    Ok(Outbox {
        entries: rows.iter().map(entry).collect::<Result<_, _>>()?,
        pending: counts.try_get::<i64, _>("pending")?.unsigned_abs(),
        failed: counts.try_get::<i64, _>("failed")?.unsigned_abs(),
    })
}

fn taken(row: &PgRow) -> Result<Taken, sqlx::Error> {
    Ok(Taken {
        registration_id: row.try_get("registration_id")?,
        kind: kind(row.try_get("kind")?),
        user: User {
            id: row.try_get::<i64, _>("user_id")?.to_string(),
            name: row.try_get("name")?,
            email: row.try_get("email")?,
        },
        tries: row.try_get::<i32, _>("tries")?.unsigned_abs(),
        created_at_ms: row.try_get("created_at")?,
        traceparent: row.try_get("traceparent")?,
    })
}

fn entry(row: &PgRow) -> Result<Entry, sqlx::Error> {
    let due_in_ms = row.try_get("due_in")?;
    Ok(Entry {
        registration_id: row.try_get("registration_id")?,
        kind: kind(row.try_get("kind")?),
        user_id: row.try_get::<i64, _>("user_id")?.to_string(),
        delivery: delivery(row.try_get("status")?),
        tries: row.try_get::<i32, _>("tries")?.unsigned_abs(),
        due_in_ms,
        is_leased: row.try_get::<Option<&str>, _>("holder")?.is_some() && due_in_ms > 0,
        created_at_ms: row.try_get("created_at")?,
    })
}
