//! The PostgreSQL store: any number of hosts.
//!
//! Nothing here waits without a bound. A connection that is given up on in the middle of a question is
//! closed, because a pool that takes it back waits for the rest of the answer, however long that takes.

mod outbox;
mod registrations;
mod trouble;

use std::{
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rand::Rng as _;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, Row,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use url::Url;

use super::{
    statement::{self, Place, failed, statement},
    store::{NewUser, Settled, Store, Stored, Taken, number},
};
use crate::{
    Health, Status,
    app::api::{
        User, answers,
        database::{Preferences, ProfileData, UserRecord},
        outbox::{Delivery, Kind, Outbox, RetryOutboxRequest},
    },
    pace::Pace,
};
use registrations::{Registered, register};
use trouble::{is_away, is_locked, status, words};

/// How long a request waits for a connection, new or free.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a new connection may take, whether or not anybody still waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a used one may take to prove that it is well.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long another process's work on the tables is waited for at a time; the server ends that wait by itself, and a
/// question that broke off leaves nothing behind there.
const MIGRATION_WAIT: &str = "SET lock_timeout = '10s'; SET statement_timeout = 0";
/// How long our own work on them may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);
/// How long nobody else tries after it was found that the server can't be reached.
const AWAY: Duration = Duration::from_millis(500);
/// The server gives up by itself what nobody waits for any more: no request may take longer. What another
/// transaction is about to store is waited for a second.
const SERVER_TIMEOUTS: &str = "SET statement_timeout = '30s'; SET lock_timeout = '1s';
    SET idle_in_transaction_session_timeout = '30s'";
/// Pauses between two looks at a server that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

type Connection<'a> = statement::Connection<'a, sqlx::Postgres>;

/// Reads and writes users; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    pool: PgPool,
    /// One for each connection.
    places: Arc<Semaphore>,
    /// Connections that requests have.
    lent: Arc<AtomicUsize>,
    /// Until when the server counts as away.
    away: Arc<Mutex<Option<Instant>>>,
    place: Place,
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
        let place = Place::new("postgresql", options.get_database().map(str::to_owned));
        let place = place.at(options.get_host().to_owned(), options.get_port());
        let mut pause = FIRST_PAUSE;
        let waiting = Pace::default();
        while let Err(error) = migrate(&options).await {
            if !is_away(&error) {
                return Err(error).context("the tables can't be brought up to date");
            }
            let reason = format!("PostgreSQL is away: {}", words(&error));
            if waiting.is_due() {
                tracing::warn!("{reason}; waiting for it");
            }
            health.fail("store", reason);
            sleep(pause.mul_f64(rand::rng().random_range(0.8..1.2))).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(CONNECT_TIMEOUT)
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
        let store = Self {
            pool,
            places: Arc::new(Semaphore::new(max_connections as usize)),
            lent: Arc::default(),
            away: Arc::default(),
            place,
        };
        // The first request shall find a connection.
        let looked = timeout(CONNECT_TIMEOUT, store.look()).await;
        looked
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .context("users can't be read")?;
        Ok(store)
    }

    /// Tells whether somebody has just waited for a connection in vain, while there was none.
    fn is_away(&self) -> bool {
        let away = *self.away.lock().unwrap_or_else(PoisonError::into_inner);
        // Attempts to connect count in the pool's own size.
        let has_none = self.lent.load(Relaxed) == 0 && self.pool.num_idle() == 0;
        has_none && away.is_some_and(|until| Instant::now() < until)
    }

    async fn borrow(&self) -> Result<Borrowed, sqlx::Error> {
        let connecting = self.place.connecting();
        connecting.around(self.free(), failed).await
    }

    async fn free(&self) -> Result<Borrowed, sqlx::Error> {
        if self.is_away() {
            return Err(sqlx::Error::PoolTimedOut);
        }
        let connecting = timeout(ACQUIRE_TIMEOUT, self.connect()).await;
        let connecting = connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        connecting.inspect_err(|_| {
            let until = Some(Instant::now() + AWAY);
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = until;
        })
    }

    /// Waits for a connection that is free, or a new one.
    ///
    /// In a task of its own, which whoever gives up does not end: where a login takes longer than requests are
    /// patient, on a busy machine, no connection would ever come about. Those tasks have the places, so there are no
    /// more of them than connections.
    async fn connect(&self) -> Result<Borrowed, sqlx::Error> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let pool = self.pool.clone();
        let connecting = tokio::spawn(async move {
            let connection = pool.acquire().await?;
            Ok::<_, sqlx::Error>(Free { connection, place })
        });
        let free: Free = connecting.await.map_err(|_| sqlx::Error::WorkerCrashed)??;
        self.lent.fetch_add(1, Relaxed);
        Ok(Borrowed {
            connection: free.connection,
            is_asked: true,
            lent: Arc::clone(&self.lent),
            _place: free.place,
        })
    }

    async fn row_of(&self, id: i64) -> Result<Option<UserRecord>, sqlx::Error> {
        let mut borrowed = self.borrow().await?;
        // The text is that of SQLite's rows.
        let row = statement(
            r#"SELECT id, name, email, theme, notifications,
                   to_char(last_login AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS last_login
               FROM users WHERE id = $1"#,
        )
        .bind(id)
        .fetch_optional(&mut Connection::new(&mut borrowed.connection, &self.place))
        .await;
        borrowed.answered();
        row?.as_ref().map(record).transpose()
    }

    /// Does something on a connection that nobody else has meanwhile.
    async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let mut borrowed = self.borrow().await?;
        let done = work(&mut Connection::new(&mut borrowed.connection, &self.place)).await;
        // One to a server that can't is not kept: after a failover it may be the wrong server.
        if done.as_ref().is_ok() || done.as_ref().is_err_and(|error| !is_away(error)) {
            borrowed.answered();
        }
        done
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
        record
            .map_err(|error| status(&error))?
            .ok_or_else(answers::unknown)
    }

    async fn create(&self, new: NewUser) -> Result<Stored, Status> {
        let done = self.with(async |connection| register(connection, &new).await);
        match done.await {
            Ok(Registered::Stored(stored)) => Ok(stored),
            Ok(Registered::EmailTaken) => Err(answers::taken()),
            Ok(Registered::OtherBody) => Err(answers::other_body()),
            // Somebody who asks for the first time is not told of what our own other attempt holds.
            Err(error) if is_locked(&error) && !new.request.is_repeated => {
                Err(answers::under_way().with_source(words(&error)))
            }
            Err(error) => Err(status(&error)),
        }
    }

    async fn take(&self, kind: Kind, holder: &str, at_most: u32) -> Result<Vec<Taken>, Status> {
        let taken =
            self.with(async |connection| outbox::take(connection, kind, holder, at_most).await);
        taken.await.map_err(|error| status(&error))
    }

    async fn settle(&self, settled: Settled) -> Result<(), Status> {
        let done = self.with(async |connection| outbox::settle(connection, &settled).await);
        done.await.map_err(|error| status(&error))
    }

    async fn outbox(&self, only: Option<Delivery>, at_most: u32) -> Result<Outbox, Status> {
        let listed = self.with(async |connection| outbox::list(connection, only, at_most).await);
        listed.await.map_err(|error| status(&error))
    }

    async fn retry(&self, what: RetryOutboxRequest) -> Result<u64, Status> {
        let retried = self.with(async |connection| outbox::retry(connection, &what).await);
        retried.await.map_err(|error| status(&error))
    }

    async fn try_write(&self) -> Result<(), Status> {
        let written = self.with(async |connection| outbox::write_nothing(connection).await);
        written.await.map_err(|error| status(&error))
    }

    async fn clean(&self) -> Result<u64, Status> {
        let cleaned = self.with(async |connection| outbox::clean(connection).await);
        cleaned.await.map_err(|error| status(&error))
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

/// A connection that nobody has asked anything yet.
struct Free {
    connection: PoolConnection<sqlx::Postgres>,
    place: OwnedSemaphorePermit,
}

/// A connection that one request has for itself.
struct Borrowed {
    connection: PoolConnection<sqlx::Postgres>,
    is_asked: bool,
    lent: Arc<AtomicUsize>,
    _place: OwnedSemaphorePermit,
}

impl Borrowed {
    /// Notes that nothing is on its way any more, so that another request may have it.
    fn answered(&mut self) {
        self.is_asked = false;
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.lent.fetch_sub(1, Relaxed);
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
    connection.execute(MIGRATION_WAIT).await?;
    let mut migrator = sqlx::migrate!("src/lib/app/database/postgres/migrations");
    // A newer version may have been here: old and new run side by side in a rolling update.
    migrator.set_ignore_missing(true);
    let run = timeout(MIGRATION_TIMEOUT, migrator.run(&mut connection)).await;
    run.map_err(|_| sqlx::Error::PoolTimedOut)?
        .map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error)
            | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => error,
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
