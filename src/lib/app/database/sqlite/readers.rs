//! Connections that read, each lent to one request at a time.
//!
//! A pool of sqlx asks a connection whether it lives before it lends it and when it is back. Each such question goes to
//! the connection's thread and comes back, as the statement itself does, so reading a user took three such ways.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Connections at most.
const READERS: usize = 4;
/// How long a request waits for one.
const LEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens connections as they are needed, and keeps them; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: SqliteConnectOptions,
    places: Semaphore,
    free: Mutex<Vec<SqliteConnection>>,
}

/// A connection that one request has for itself. Dropping it closes it: something may be on its way there.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) connection: SqliteConnection,
    readers: &'a Shared,
    _place: SemaphorePermit<'a>,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self(Arc::new(Shared {
            options: options.read_only(true),
            places: Semaphore::new(READERS),
            free: Mutex::default(),
        }))
    }

    /// Waits for a connection that is free, or opens one.
    pub(super) async fn lend(&self) -> Result<Reader<'_>, sqlx::Error> {
        let lending = timeout(LEND_TIMEOUT, self.0.lend()).await;
        lending.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    /// Lends no more, and closes what is free.
    pub(super) async fn close(&self) {
        self.0.places.close();
        let free = std::mem::take(&mut *self.0.free());
        for connection in free {
            // It has only read.
            let _ = connection.close().await;
        }
    }
}

impl Shared {
    async fn lend(&self) -> Result<Reader<'_>, sqlx::Error> {
        let place = self.places.acquire().await;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        let free = self.free().pop();
        let connection = match free {
            Some(connection) => connection,
            None => SqliteConnection::connect_with(&self.options).await?,
        };
        Ok(Reader {
            connection,
            readers: self,
            _place: place,
        })
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn free(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader<'_> {
    /// Keeps it for the next request: all that was asked is answered.
    pub(super) fn give_back(self) {
        self.readers.free().push(self.connection);
    }
}
