//! The SQLite store: one file, one host.
//!
//! WAL lets readers go on while one writes. SQLite has one writer at a time, and several connections
//! that want to write starve one another, so each process has one writing connection and queues for
//! it; between processes a short busy timeout decides, and beyond it the answer is `unavailable`.

mod outbox;
mod readers;
mod registrations;
mod writer;

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use sqlx::{
    Row, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::{
    statement::{self, failed, statement},
    store::{NewUser, Settled, Store, Stored, Taken, number},
};
use outbox::{Clean, Nothing, Retry, Take};
use readers::Readers;
use writer::Writer;

use crate::{
    Status,
    app::api::{
        User, answers,
        database::{Preferences, ProfileData, UserRecord},
        outbox::{Delivery, Kind, Outbox, RetryOutboxRequest},
    },
};

/// How long SQLite itself waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_millis(250);
/// How long work waits for the connection that writes.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long opening the file may take; a busy disk is no reason not to start.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

type Connection<'a> = statement::Connection<'a, sqlx::Sqlite>;

/// Reads and writes users; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    readers: Readers,
    writer: Writer,
    writing: SqlitePool,
    file: Arc<Place>,
    place: statement::Place,
}

/// Opens the connection that writes. Work waits a second for it; opening it may take longer.
async fn connect(options: SqliteConnectOptions) -> Result<SqlitePool, sqlx::Error> {
    let until = Instant::now() + OPEN_TIMEOUT;
    loop {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await;
        match pool {
            Err(sqlx::Error::PoolTimedOut) if Instant::now() < until => {}
            opened => return opened,
        }
    }
}

/// A file where it was found.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Sqlite {
    /// Opens the file, made new if need be, and brings its tables up to date.
    pub(super) async fn open(url: &str) -> anyhow::Result<Self> {
        // Not the URL itself in the message: one of another kind may hold a password.
        if !url.starts_with("sqlite://")
            || [":memory:", "mode=memory"]
                .iter()
                .any(|memory| url.contains(memory))
        {
            bail!("DATABASE_URL names no SQLite file; write sqlite:// and a path");
        }
        let options = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A registration that was answered survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true);
        let file = options.get_filename().to_owned();
        let opening = format!("opening {}", file.display());
        let path = file.to_path_buf();
        // Switching to WAL and migrating want the file alone; ten replicas may start together, and
        // sqlx has no lock for SQLite.
        let lock = tokio::task::spawn_blocking(move || lock_beside(&file)).await??;
        let writing = connect(options.clone()).await.context(opening)?;
        let mut migrator = sqlx::migrate!("src/lib/app/database/sqlite/migrations");
        // A newer version may have been here: old and new run side by side in a rolling update.
        migrator.set_ignore_missing(true);
        migrator
            .run(&writing)
            .await
            .context("the tables can't be brought up to date")?;
        drop(lock);
        let file = Arc::new(Place::of(path).await?);
        // Folders above it may be named after somebody.
        let name = file.path.file_name();
        let name = name.map(|name| name.to_string_lossy().into_owned());
        let place = statement::Place::new("sqlite", name);
        Ok(Self {
            readers: Readers::new(options),
            writer: Writer::start(writing.clone(), place.clone()),
            writing,
            file,
            place,
        })
    }

    /// Reads on a connection that nobody else has meanwhile.
    async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let lending = self.place.connecting();
        let mut reader = lending.around(self.readers.lend(), failed).await?;
        let done = work(&mut Connection::new(&mut reader, &self.place)).await;
        match &done {
            Err(error) if !is_busy(error) => reader.failed(),
            _ => reader.answered(),
        }
        done
    }

    async fn row_of(&self, id: i64) -> Result<Option<UserRecord>, sqlx::Error> {
        let select = statement(
            "SELECT id, name, email, last_login, theme, notifications FROM users WHERE id = ?",
        );
        let row = self.read(async |reader| select.bind(id).fetch_optional(reader).await);
        row.await?.as_ref().map(record).transpose()
    }

    async fn is_due(&self, kind: Kind) -> Result<bool, sqlx::Error> {
        self.read(async |reader| outbox::is_due(reader, kind).await)
            .await
    }

    async fn list(&self, only: Option<Delivery>, at_most: u32) -> Result<Outbox, sqlx::Error> {
        self.read(async |reader| outbox::list(reader, only, at_most).await)
            .await
    }
}

impl Store for Sqlite {
    async fn user(&self, id: &str) -> Result<UserRecord, Status> {
        let record = self.row_of(number(id)?).await;
        record
            .map_err(|error| status(&Arc::new(error)))?
            .ok_or_else(answers::unknown)
    }

    async fn create(&self, new: NewUser) -> Result<Stored, Status> {
        self.writer.write(new).await?
    }

    async fn take(&self, kind: Kind, holder: &str, at_most: u32) -> Result<Vec<Taken>, Status> {
        let is_due = self.is_due(kind).await;
        if !is_due.map_err(|error| status(&Arc::new(error)))? {
            return Ok(Vec::new());
        }
        let holder = holder.to_owned();
        let take = Take {
            kind,
            holder,
            at_most,
        };
        self.writer.write(take).await
    }

    async fn settle(&self, settled: Settled) -> Result<(), Status> {
        self.writer.write(settled).await
    }

    async fn outbox(&self, only: Option<Delivery>, at_most: u32) -> Result<Outbox, Status> {
        let listed = self.list(only, at_most).await;
        listed.map_err(|error| status(&Arc::new(error)))
    }

    async fn retry(&self, what: RetryOutboxRequest) -> Result<u64, Status> {
        self.writer.write(Retry(what)).await
    }

    async fn try_write(&self) -> Result<(), Status> {
        self.writer.write(Nothing).await
    }

    async fn clean(&self) -> Result<u64, Status> {
        self.writer.write(Clean).await
    }

    /// Sees that users can be read, and that the file is still the one that everybody opens: SQLite goes on
    /// with one that was removed, and what it writes there is lost.
    async fn probe(&self) -> Result<(), String> {
        match Place::of(self.file.path.clone()).await {
            Ok(now) if now == *self.file => {}
            Ok(_) => return Err("the database file was replaced by another".to_owned()),
            Err(_) => return Err("the database file is gone".to_owned()),
        }
        let look = statement("SELECT id FROM users LIMIT 1");
        match self
            .read(async |reader| look.fetch_optional(reader).await)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) => Err(status(&Arc::new(error)).message().to_owned()),
        }
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writing.close().await;
    }
}

impl Place {
    async fn of(path: PathBuf) -> std::io::Result<Self> {
        let found = tokio::fs::metadata(&path).await?;
        Ok(Self {
            path,
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

/// Waits for the file's owner of the moment; the lock goes with the handle, even if the process dies.
fn lock_beside(file: &Path) -> anyhow::Result<File> {
    let path = file.with_extension("lock");
    let lock = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    lock.lock()
        .with_context(|| format!("can't lock {}", path.display()))?;
    Ok(lock)
}

fn record(row: &SqliteRow) -> Result<UserRecord, sqlx::Error> {
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

/// What a database error means to the caller; its words stay here, they may quote values.
///
/// It may have hit several callers, so each gets a share.
fn status(error: &Arc<sqlx::Error>) -> Status {
    let away = match (&**error, primary_code(error)) {
        (sqlx::Error::PoolTimedOut, _) => "the database is busy",
        _ if is_busy(error) => "the database is busy",
        // SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN.
        (_, Some(10 | 13 | 14)) => "the disk of the database is full, or fails",
        _ => return Status::internal(Arc::clone(error)),
    };
    Status::unavailable(away).with_source(Arc::clone(error))
}

/// Another process writes: SQLITE_BUSY, SQLITE_LOCKED.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(5 | 6))
}

/// The last byte of a code, which an extended one shares with it: <https://www.sqlite.org/rescode.html>.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}
