//! The one writer of a process: what waits is committed together.
//!
//! A commit costs a flush of the disk, whatever is in it. SQLite takes one writer at a time anyway, so
//! the writer gathers the work that came while it was at the last commit, and commits it in one
//! transaction. Each is answered only after that.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use opentelemetry::{Context, context::FutureExt};
use sqlx::{Connection as _, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{Connection, is_busy, status};
use crate::{
    Status,
    app::database::statement::{Place, failed},
    telemetry::spans::parent_of_steps,
};

/// Work that may wait for the writer; beyond it the service is busy.
const QUEUE: usize = 1024;
/// Work a commit, at most, so that nobody waits long for the others.
const BATCH: usize = 128;
/// IMMEDIATE: a transaction that reads first and writes then may fail without waiting.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Changes something, beside others in one transaction. An error undoes all of it.
pub(super) trait Work: Send + Sync + 'static {
    type Output: Send + 'static;

    /// `now` is the time of the transaction, in milliseconds since 1970.
    fn run(
        &self,
        connection: &mut Connection<'_>,
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

    /// Returns what tells of the work's steps, if anything does.
    fn parent(&self) -> Option<Context>;

    fn run<'a>(
        &'a mut self,
        connection: &'a mut Connection<'_>,
        now: i64,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Answers, once all is committed, or nothing.
    fn answer(self: Box<Self>, failure: Option<Arc<sqlx::Error>>);
}

struct Asked<W: Work> {
    work: W,
    /// The task of the writer is in no trace.
    parent: Option<Context>,
    output: Option<W::Output>,
    done: oneshot::Sender<Result<W::Output, Status>>,
}

impl<W: Work> Job for Asked<W> {
    fn is_given_up(&self) -> bool {
        self.done.is_closed()
    }

    fn parent(&self) -> Option<Context> {
        self.parent.clone()
    }

    fn run<'a>(
        &'a mut self,
        connection: &'a mut Connection<'_>,
        now: i64,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let work = self.work.run(connection, now);
            let done = match &self.parent {
                Some(parent) => work.with_context(parent.clone()).await,
                None => work.await,
            };
            self.output = Some(done?);
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
    pub(super) fn start(pool: SqlitePool, place: Place) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, place, jobs));
        Self { queue }
    }

    /// Does the work. It is committed when this returns; dropped before, it may or may not be.
    pub(super) async fn write<W: Work>(&self, work: W) -> Result<W::Output, Status> {
        let (done, answer) = oneshot::channel();
        let asked = Asked {
            work,
            parent: parent_of_steps(),
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

async fn run(pool: SqlitePool, place: Place, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.recv_many(&mut batch, BATCH).await > 0 {
        // Whoever has given up since shall not find it done behind his back.
        batch.retain(|job| !job.is_given_up());
        if batch.is_empty() {
            continue;
        }
        let committed = match pool.acquire().await {
            Ok(mut connection) => {
                let committed = commit(&mut connection, &place, &mut batch).await;
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
    place: &Place,
    batch: &mut [Box<dyn Job>],
) -> Result<(), sqlx::Error> {
    // Begin and end are steps of all of them.
    let parents = |batch: &[Box<dyn Job>]| -> Vec<Context> {
        batch.iter().filter_map(|job| job.parent()).collect()
    };
    let step = place.asking(BEGIN, parents(batch));
    let (mut transaction, now) = step.around(begin(connection), failed).await?;
    for job in &mut *batch {
        let mut connection = Connection::new(&mut transaction, place);
        job.run(&mut connection, now).await?;
    }
    let step = place.asking("COMMIT", parents(batch));
    step.around(transaction.commit(), failed).await
}

/// Begins a transaction, and reads the time that all in it has.
async fn begin(
    connection: &mut SqliteConnection,
) -> Result<(Transaction<'_, sqlx::Sqlite>, i64), sqlx::Error> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let now = sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)")
        .fetch_one(&mut *transaction)
        .await?;
    Ok((transaction, now))
}
