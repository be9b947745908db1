//! A registration in PostgreSQL: user, key and outbox in one statement.

use sqlx::{Row, postgres::PgRow};

use super::Connection;
use crate::app::{
    api::{
        User,
        database::Created,
        outbox::{Delivery, LEASE},
    },
    database::{
        statement::statement,
        store::{NewUser, Stored, delivery, lease_left, milliseconds, normalised},
    },
};

/// What became of a registration.
pub(super) enum Registered {
    Stored(Stored),
    EmailTaken,
    OtherBody,
}

/// Stores a user, or finds what its key stands for.
///
/// One statement is one transaction and one round trip, and nobody who freezes in the middle holds a lock.
/// An address or a key that another registration is about to store is waited for.
pub(super) async fn register(
    connection: &mut Connection<'_>,
    new: &NewUser,
) -> Result<Registered, sqlx::Error> {
    // A key that is past its time is removed, and then the second turn finds nothing in its way.
    for _ in 0..2 {
        match insert(connection, new).await {
            Ok(Some(row)) => {
                let stored = new.stored(row.try_get("id")?, row.try_get("created_at")?);
                return Ok(Registered::Stored(stored));
            }
            // The address is there, or the key.
            Ok(None) => {}
            Err(error) if is_about_the_key(&error) => {}
            Err(error) => return Err(error),
        }
        let Some(row) = known(connection, new).await? else {
            return Ok(Registered::EmailTaken);
        };
        if row.try_get("is_over")? {
            statement("DELETE FROM registrations WHERE key = $1 AND expires_at <= now_ms()")
                .bind(&new.request.key.id)
                .execute(&mut *connection)
                .await?;
        } else if row.try_get::<&str, _>("body_hash")? != new.request.key.body {
            return Ok(Registered::OtherBody);
        } else {
            return Ok(Registered::Stored(Stored {
                created: found(&row, new)?,
                is_new: false,
            }));
        }
    }
    Ok(Registered::EmailTaken)
}

async fn insert(
    connection: &mut Connection<'_>,
    new: &NewUser,
) -> Result<Option<PgRow>, sqlx::Error> {
    let request = &new.request;
    statement(
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
    .bind(&request.name)
    .bind(&request.email)
    .bind(normalised(&request.email))
    .bind(&request.key.id)
    .bind(&request.key.body)
    .bind(&request.registration_id)
    .bind(1000 * i64::from(request.key.keep_s))
    .bind(milliseconds(LEASE))
    .bind(&new.traceparent)
    .bind(&request.holder)
    .bind(&new.publisher)
    .fetch_optional(connection)
    .await
}

/// Tells whether a statement failed because the key is there: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn is_about_the_key(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.is_unique_violation() && error.constraint() == Some("registrations_pkey")
    })
}

async fn known(
    connection: &mut Connection<'_>,
    new: &NewUser,
) -> Result<Option<PgRow>, sqlx::Error> {
    statement(
        "SELECT r.body_hash, r.registration_id, r.created_at, r.expires_at <= now_ms() AS is_over, now_ms() AS now,
             u.id, u.name, u.email, o.status, o.holder, o.due_at
         FROM registrations r JOIN users u ON u.id = r.user_id
         LEFT JOIN outbox o ON o.registration_id = r.registration_id AND o.kind = 'mail'
         WHERE r.key = $1",
    )
    .bind(&new.request.key.id)
    .fetch_optional(connection)
    .await
}

fn found(row: &PgRow, new: &NewUser) -> Result<Created, sqlx::Error> {
    let holder: Option<&str> = row.try_get("holder")?;
    let due_at: Option<i64> = row.try_get("due_at")?;
    let now = row.try_get("now")?;
    let mine = holder == Some(&new.request.holder);
    let status: Option<&str> = row.try_get("status")?;
    Ok(Created {
        user: User {
            id: row.try_get::<i64, _>("id")?.to_string(),
            name: row.try_get("name")?,
            email: row.try_get("email")?,
        },
        created_at_ms: row.try_get("created_at")?,
        registration_id: row.try_get("registration_id")?,
        mail: status.map_or(Delivery::Sent, delivery),
        lease_ms: due_at.filter(|_| mine).and_then(|at| lease_left(at, now)),
    })
}
