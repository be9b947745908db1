//! The one writer of a process: what waits is committed together.
//!
//! A commit costs a flush of the disk, whatever is in it. SQLite takes one writer at a time anyway, so
//! the writer gathers the work that came while it was at the last commit, and commits it in one
//! transaction. Each is answered only after that.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use super::{is_busy, status};
use crate::Status;

/// Work that may wait for the writer; beyond it the service is busy.
const QUEUE: usize = 1024;
/// Work a commit, at most, so that nobody waits long for the others.
const BATCH: usize = 128;

/// Changes something, beside others in one transaction. An error undoes all of it.
pub(super) trait Work: Send + Sync + 'static {
    type Output: Send + 'static;

    /// `now` is the time of the transaction, in milliseconds since 1970.
    fn run(
        &self,
        connection: &mut SqliteConnection,
        now: i64,
    ) -> impl Future<Output = Result<Self::Output, sqlx::Error>> + Send;
}

/// Hands work to the writing task, which ends with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
}

/// Work of any kind, with whoever waits for it.
trait Job: Send {
    fn is_given_up(&self) -> bool;

    fn run<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
        now: i64,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Answers, once all is committed, or nothing.
    fn answer(self: Box<Self>, failure: Option<Arc<sqlx::Error>>);
}

struct Asked<W: Work> {
    work: W,
    output: Option<W::Output>,
    done: oneshot::Sender<Result<W::Output, Status>>,
}

impl<W: Work> Job for Asked<W> {
    fn is_given_up(&self) -> bool {
        self.done.is_closed()
    }

    fn run<'a>(
        &'a mut self,
        connection: &'a mut SqliteConnection,
        now: i64,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            self.output = Some(self.work.run(connection, now).await?);
            Ok(())
        })
    }

    fn answer(self: Box<Self>, failure: Option<Arc<sqlx::Error>>) {
        let outcome = match (failure, self.output) {
            (None, Some(output)) => Ok(output),
            (failure, _) => Err(failure.map_or_else(busy, |failure| status(&failure))),
        };
        let _ = self.done.send(outcome);
    }
}

impl Writer {
    /// Starts the task on a pool of one connection, which reopens it should it break.
    pub(super) fn start(pool: SqlitePool) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, jobs));
        Self { queue }
    }

    /// Does the work. It is committed when this returns; dropped before, it may or may not be.
    pub(super) async fn write<W: Work>(&self, work: W) -> Result<W::Output, Status> {
        let (done, answer) = oneshot::channel();
        let asked = Asked {
            work,
            output: None,
            done,
        };
        self.queue
            .try_send(Box::new(asked))
            .map_err(|_| busy().with_source("the queue of the writer is full"))?;
        answer
            .await
            .unwrap_or_else(|_| Err(busy().with_source("the writer has ended")))
    }
}

fn busy() -> Status {
    Status::unavailable("the database is busy")
}

async fn run(pool: SqlitePool, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        // Whoever has given up since shall not find it done behind his back.
        batch.retain(|job| !job.is_given_up());
        if batch.is_empty() {
            continue;
        }
        let committed = match pool.acquire().await {
            Ok(mut connection) => {
                let committed = commit(&mut connection, &mut batch).await;
                // After an error of the disk SQLite has ended the transaction by itself, and sqlx believes that
                // one is still open.
                if committed.as_ref().is_err_and(|error| !is_busy(error)) {
                    connection.close_on_drop();
                }
                committed
            }
            Err(error) => Err(error),
        };
        let failure = committed.err().map(Arc::new);
        for job in batch.drain(..) {
            job.answer(failure.clone());
        }
    }
}

/// Does all of a batch or nothing.
async fn commit(
    connection: &mut SqliteConnection,
    batch: &mut [Box<dyn Job>],
) -> Result<(), sqlx::Error> {
    // IMMEDIATE: a transaction that reads first and writes then may fail without waiting.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let now = sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")
        .fetch_one(&mut *transaction)
        .await?;
    for job in batch {
        job.run(&mut transaction, now).await?;
    }
    transaction.commit().await
}
