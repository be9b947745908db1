//! The PostgreSQL store: any number of hosts.
//!
//! Nothing here waits without a bound. A connection that is given up on in the middle of a question is
//! closed, because a pool that takes it back waits for the rest of the answer, however long that takes.

mod trouble;

use std::{str::FromStr, time::Duration};

use anyhow::Context as _;
use rand::Rng as _;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Row,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use tokio::time::{sleep, timeout};
use url::Url;

use super::store::{Store, normalised, number, taken, unknown};
use crate::{
    Health, Status,
    app::api::{
        User,
        database::{Preferences, ProfileData, UserRecord},
    },
};
use trouble::{is_away, status, words};

/// How long a request waits for a connection, new or free.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the first connection may take, and how long a used one may take to prove that it is well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the tables may take, another process's work on them included.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// The server gives up by itself what nobody waits for any more: no request may take longer.
const SERVER_TIMEOUTS: &str =
    "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '30s'";
/// Pauses between two looks at a server that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Reads and writes users; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    /// Waits for the server and brings its tables up to date.
    ///
    /// A server that is away or starts up is waited for, and `health` says so: who starts everything at once
    /// need not mind the order. One that refuses us is an error.
    pub(super) async fn open(
        url: &Url,
        max_connections: u32,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url.as_str())
            .context("DATABASE_URL can't be read")?
            .application_name("nats-serve database-service")
            // Statements in the log would have nothing but their texts, which are in this file.
            .disable_statement_logging();
        let mut pause = FIRST_PAUSE;
        while let Err(error) = migrate(&options).await {
            if !is_away(&error) {
                return Err(error).context("the tables can't be brought up to date");
            }
            let reason = format!("PostgreSQL is away: {}", words(&error));
            if pause == FIRST_PAUSE {
                tracing::warn!("{reason}; waiting for it");
            }
            health.fail("store", reason);
            sleep(pause.mul_f64(rand::rng().random_range(0.8..1.2))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async {
                    connection.execute(SERVER_TIMEOUTS).await?;
                    Ok(())
                })
            })
            .after_release(|connection, _| {
                Box::pin(async {
                    let well = timeout(RELEASE_TIMEOUT, connection.ping()).await;
                    well.unwrap_or(Err(sqlx::Error::PoolTimedOut))
                        .map(|()| true)
                })
            })
            .connect_lazy_with(options);
        let store = Self { pool };
        // The first request shall find a connection.
        store.look().await.context("users can't be read")?;
        Ok(store)
    }

    async fn borrow(&self) -> Result<Borrowed, sqlx::Error> {
        Ok(Borrowed {
            connection: self.pool.acquire().await?,
            is_asked: true,
        })
    }

    async fn row_of(&self, id: i64) -> Result<Option<UserRecord>, sqlx::Error> {
        let mut borrowed = self.borrow().await?;
        // The text is that of SQLite's rows.
        let row = sqlx::query(
            r#"SELECT id, name, email, theme, notifications,
                   to_char(last_login AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS last_login
               FROM users WHERE id = $1"#,
        )
        .bind(id)
        .fetch_optional(&mut *borrowed.connection)
        .await;
        borrowed.answered();
        row?.as_ref().map(record).transpose()
    }

    async fn insert(&self, name: &str, email: &str) -> Result<Option<i64>, sqlx::Error> {
        let mut borrowed = self.borrow().await?;
        let row = sqlx::query(
            "INSERT INTO users (name, email, email_normalised) VALUES ($1, $2, $3)
             ON CONFLICT (email_normalised) DO NOTHING RETURNING id",
        )
        .bind(name)
        .bind(email)
        .bind(normalised(email))
        .fetch_optional(&mut *borrowed.connection)
        .await;
        borrowed.answered();
        row?.map(|row| row.try_get("id")).transpose()
    }

    async fn look(&self) -> Result<(), sqlx::Error> {
        let mut borrowed = self.borrow().await?;
        let row = sqlx::query("SELECT id FROM users LIMIT 1");
        let row = row.fetch_optional(&mut *borrowed.connection).await;
        borrowed.answered();
        row.map(|_| ())
    }
}

impl Store for Postgres {
    async fn user(&self, id: &str) -> Result<UserRecord, Status> {
        let record = self.row_of(number(id)?).await;
        record.map_err(|error| status(&error))?.ok_or_else(unknown)
    }

    async fn create(&self, name: &str, email: &str) -> Result<User, Status> {
        let id = self.insert(name, email).await;
        let id = id.map_err(|error| status(&error))?.ok_or_else(taken)?;
        Ok(User {
            id: id.to_string(),
            name: name.to_owned(),
            email: email.to_owned(),
        })
    }

    async fn probe(&self) -> Result<(), String> {
        let looked = self.look().await;
        looked.map_err(|error| format!("PostgreSQL is away: {}", words(&error)))
    }

    async fn close(&self) {
        // What is stuck in one of them has no request any more.
        let _ = timeout(RELEASE_TIMEOUT, self.pool.close()).await;
    }
}

/// A connection that one request has for itself.
struct Borrowed {
    connection: PoolConnection<sqlx::Postgres>,
    is_asked: bool,
}

impl Borrowed {
    /// Notes that nothing is on its way any more, so that another request may have it.
    fn answered(&mut self) {
        self.is_asked = false;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        if self.is_asked {
            self.connection.close_on_drop();
        }
    }
}

/// Makes the tables, or waits until another process has: the migrator holds a lock in the database.
///
/// On a connection of its own, without the time limit that the server has for requests.
async fn migrate(options: &PgConnectOptions) -> Result<(), sqlx::Error> {
    let connecting = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await;
    let mut connection = connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    let migrator = sqlx::migrate!("src/lib/app/database/postgres/migrations");
    let run = timeout(MIGRATION_TIMEOUT, migrator.run(&mut connection)).await;
    run.map_err(|_| sqlx::Error::PoolTimedOut)?
        .map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => error,
            other => other.into(),
        })?;
    let _ = timeout(RELEASE_TIMEOUT, connection.close()).await;
    Ok(())
}

fn record(row: &PgRow) -> Result<UserRecord, sqlx::Error> {
    Ok(UserRecord {
        user: User {
            id: row.try_get::<i64, _>("id")?.to_string(),
            name: row.try_get("name")?,
            email: row.try_get("email")?,
        },
        profile_data: ProfileData {
            last_login: row.try_get("last_login")?,
            preferences: Preferences {
                theme: row.try_get("theme")?,
                notifications: row.try_get("notifications")?,
            },
        },
    })
}
