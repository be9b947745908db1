//! Connections that read, each lent to one request at a time.
//!
//! A pool of sqlx asks a connection whether it lives before it lends it and when it is back. Each such question goes to
//! the connection's thread and comes back, as the statement itself does, so reading a user took three such ways. Here
//! only one is asked whose request gave up, and one that failed is closed.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// Connections at most, with those that are opened, or finish, what nobody waits for any more.
const READERS: u32 = 4;
/// How long a request waits for one, and the end for those that are lent.
const LEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Opens connections as they are needed, and keeps them; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Readers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: SqliteConnectOptions,
    places: Arc<Semaphore>,
    free: Mutex<Vec<SqliteConnection>>,
}

/// A connection that one request has for itself.
#[derive(Debug)]
pub(super) struct Reader {
    /// There until this is dropped.
    lent: Option<Lent>,
    state: State,
    shared: Arc<Shared>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Its thread may still do what it was asked.
    Asked,
    Answered,
    /// The last answer was an error, after which it is not to be had again.
    Failed,
}

#[derive(Debug)]
struct Lent {
    connection: SqliteConnection,
    place: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self(Arc::new(Shared {
            options: options.read_only(true),
            places: Arc::new(Semaphore::new(READERS as usize)),
            free: Mutex::default(),
        }))
    }

    /// Waits for a connection that is free, or opens one.
    pub(super) async fn lend(&self) -> Result<Reader, sqlx::Error> {
        let lent = timeout(LEND_TIMEOUT, self.0.lend()).await;
        Ok(Reader {
            lent: Some(lent.unwrap_or(Err(sqlx::Error::PoolTimedOut))?),
            state: State::Asked,
            shared: Arc::clone(&self.0),
        })
    }

    /// Lends no more, waits for what is lent, and closes all.
    pub(super) async fn close(&self) {
        let Shared { places, .. } = &*self.0;
        let back = timeout(LEND_TIMEOUT, places.acquire_many(READERS)).await;
        places.close();
        drop(back);
        let free = std::mem::take(&mut *self.0.free());
        for connection in free {
            // It has only read.
            let _ = connection.close().await;
        }
    }
}

impl Shared {
    async fn lend(self: &Arc<Self>) -> Result<Lent, sqlx::Error> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        if let Some(connection) = self.free().pop() {
            return Ok(Lent { connection, place });
        }
        // In a task of its own, which whoever gives up does not end: the thread that opens the file would go on without
        // a place, and the next request begin another.
        let shared = Arc::clone(self);
        let (opened, opening) = oneshot::channel();
        tokio::spawn(async move {
            let connection = SqliteConnection::connect_with(&shared.options).await;
            let lent = connection.map(|connection| Lent { connection, place });
            if let Err(Ok(lent)) = opened.send(lent) {
                shared.keep(lent);
            }
        });
        opening.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }

    /// Keeps a connection for the next request.
    fn keep(&self, lent: Lent) {
        let Lent { connection, place } = lent;
        if !self.places.is_closed() {
            self.free().push(connection);
        }
        drop(place);
    }

    /// Nothing panics while the lock is held, so a poisoned one is as good as new.
    fn free(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Notes that nothing is on its way any more, so that another request may have it.
    pub(super) fn answered(&mut self) {
        self.state = State::Answered;
    }

    /// Notes that the answer was an error, so that nobody has it again.
    pub(super) fn failed(&mut self) {
        self.state = State::Failed;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(mut lent) = self.lent.take() else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        match (self.state, Handle::try_current()) {
            (State::Answered, _) => shared.keep(lent),
            // It has its place for as long as its thread works: on a disk that is stuck there would be more and more of
            // them. The task ends with the thread's answer.
            (State::Asked, Ok(runtime)) => drop(runtime.spawn(async move {
                if lent.connection.ping().await.is_ok() {
                    shared.keep(lent);
                }
            })),
            (State::Asked, Err(_)) | (State::Failed, _) => {}
        }
    }
}

impl Deref for Reader {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        let lent = self.lent.as_ref();
        &lent.expect("it is there until this is dropped").connection
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        let lent = self.lent.as_mut();
        &mut lent.expect("it is there until this is dropped").connection
    }
}
