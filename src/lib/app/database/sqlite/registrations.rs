//! A registration in SQLite: user, key and outbox in one transaction.

use sqlx::{Row, sqlite::SqliteRow};

use super::{Connection, writer::Work};
use crate::{
    Status,
    app::{
        api::{
            User, answers,
            database::Created,
            outbox::{Delivery, Kind, LEASE},
        },
        database::{
            statement::statement,
            store::{NewUser, Stored, delivery, lease_left, milliseconds, normalised},
        },
    },
};

/// Stores a user, or finds what its key stands for; the one writer does both at once.
impl Work for NewUser {
    type Output = Result<Stored, Status>;

    async fn run(
        &self,
        connection: &mut Connection<'_>,
        now: i64,
    ) -> Result<Self::Output, sqlx::Error> {
        if let Some(known) = self.known(connection, now).await? {
            return Ok(known);
        }
        let request = &self.request;
        let row = statement(
            "INSERT INTO users (name, email, email_normalised) VALUES (?, ?, ?)
             ON CONFLICT (email_normalised) DO NOTHING RETURNING id",
        )
        .bind(&request.name)
        .bind(&request.email)
        .bind(normalised(&request.email))
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else {
            return Ok(Err(answers::taken()));
        };
        let id: i64 = row.try_get("id")?;
        statement(
            "INSERT INTO registrations (key, body_hash, registration_id, user_id, created_at, expires_at)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&request.key.id)
        .bind(&request.key.body)
        .bind(&request.registration_id)
        .bind(id)
        .bind(now)
        .bind(now + 1000 * i64::from(request.key.keep_s))
        .execute(&mut *connection)
        .await?;
        for (kind, holder) in [
            (Kind::Mail, &request.holder),
            (Kind::Event, &self.publisher),
        ] {
            statement(
                "INSERT INTO outbox (registration_id, kind, user_id, due_at, holder, traceparent, created_at)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(&request.registration_id)
            .bind(kind.as_str())
            .bind(id)
            .bind(now + milliseconds(LEASE))
            .bind(holder)
            .bind(&self.traceparent)
            .bind(now)
            .execute(&mut *connection)
            .await?;
        }
        Ok(Ok(self.stored(id, now)))
    }
}

impl NewUser {
    /// Returns what the key stands for, if it does for anything.
    async fn known(
        &self,
        connection: &mut Connection<'_>,
        now: i64,
    ) -> Result<Option<Result<Stored, Status>>, sqlx::Error> {
        statement("DELETE FROM registrations WHERE key = ? AND expires_at <= ?")
            .bind(&self.request.key.id)
            .bind(now)
            .execute(&mut *connection)
            .await?;
        let row = statement(
            "SELECT r.body_hash, r.registration_id, r.created_at, u.id, u.name, u.email, o.status, o.holder, o.due_at
             FROM registrations r JOIN users u ON u.id = r.user_id
             LEFT JOIN outbox o ON o.registration_id = r.registration_id AND o.kind = 'mail'
             WHERE r.key = ?",
        )
        .bind(&self.request.key.id)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        if row.try_get::<&str, _>("body_hash")? != self.request.key.body {
            return Ok(Some(Err(answers::other_body())));
        }
        Ok(Some(Ok(Stored {
            created: self.found(&row, now)?,
            is_new: false,
        })))
    }

    fn found(&self, row: &SqliteRow, now: i64) -> Result<Created, sqlx::Error> {
        let holder: Option<&str> = row.try_get("holder")?;
        let due_at: Option<i64> = row.try_get("due_at")?;
        let mine = holder == Some(&self.request.holder);
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
}
