//! The one writer of a process: what waits is committed together.
//!
//! A commit costs a flush of the disk, whatever is in it. SQLite takes one writer at a time anyway, so
//! the writer gathers the users that came while it was at the last commit, and commits them in one
//! transaction. Each is answered only after that.

use sqlx::{Connection as _, Row, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::status;
use crate::{
    Status,
    app::{
        api::User,
        database::store::{normalised, taken},
    },
};

/// Users that may wait for the writer; beyond it the service is busy.
const QUEUE: usize = 1024;
/// Users a commit, at most, so that nobody waits long for the others.
const BATCH: usize = 128;

/// Hands users to the writing task, which ends with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Write>,
}

struct Write {
    name: String,
    email: String,
    done: oneshot::Sender<Result<User, Status>>,
}

impl Writer {
    /// Starts the task on a pool of one connection, which reopens it should it break.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (queue, writes) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, writes));
        Self { queue }
    }

    /// Stores a user. The row is committed when this returns; dropped before, it may or may not be.
    pub(super) async fn create(&self, name: &str, email: &str) -> Result<User, Status> {
        let busy = || Status::unavailable("the database is busy");
        let (done, answer) = oneshot::channel();
        let write = Write {
            name: name.to_owned(),
            email: email.to_owned(),
            done,
        };
        self.queue
            .try_send(write)
            .map_err(|_| busy().with_source("the queue of the writer is full"))?;
        answer
            .await
            .unwrap_or_else(|_| Err(busy().with_source("the writer has ended")))
    }
}

async fn run(pool: SqlitePool, mut writes: mpsc::Receiver<Write>) {
    let mut batch = Vec::with_capacity(BATCH);
    while writes.recv_many(&mut batch, BATCH).await > 0 {
        // Whoever has given up since shall not be stored behind his back.
        batch.retain(|write| !write.done.is_closed());
        if batch.is_empty() {
            continue;
        }
        let outcomes = match pool.acquire().await {
            Ok(mut connection) => commit(&mut connection, &batch).await,
            Err(error) => Err(error),
        };
        answer(&mut batch, outcomes);
    }
}

/// Stores all of a batch or nothing; `None` stands for an address that is taken.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &[Write],
) -> Result<Vec<Option<i64>>, sqlx::Error> {
    // IMMEDIATE: a transaction that reads first and writes then may fail without waiting.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut ids = Vec::with_capacity(batch.len());
    for write in batch {
        let inserted = sqlx::query(
            "INSERT INTO users (name, email, email_normalised) VALUES (?, ?, ?)
             ON CONFLICT (email_normalised) DO NOTHING RETURNING id",
        )
        .bind(&write.name)
        .bind(&write.email)
        .bind(normalised(&write.email))
        .fetch_optional(&mut *transaction)
        .await?;
        ids.push(inserted.map(|row| row.try_get("id")).transpose()?);
    }
    transaction.commit().await?;
    Ok(ids)
}

fn answer(batch: &mut Vec<Write>, outcomes: Result<Vec<Option<i64>>, sqlx::Error>) {
    let failure = match outcomes {
        Ok(ids) => {
            for (write, id) in batch.drain(..).zip(ids) {
                let user = id.map(|id| User {
                    id: id.to_string(),
                    name: write.name,
                    email: write.email,
                });
                let _ = write.done.send(user.ok_or_else(taken));
            }
            return;
        }
        Err(error) => std::sync::Arc::new(error),
    };
    for write in batch.drain(..) {
        let _ = write.done.send(Err(status(&failure)));
    }
}
