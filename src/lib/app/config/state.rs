//! The state folder, `.nats-serve/` in the current directory: what lies where, and who runs here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

pub(crate) const FOLDER: &str = ".nats-serve";
pub(crate) const SPANS: &str = ".nats-serve/spans";
pub(crate) const MAILS: &str = ".nats-serve/mails";
pub(crate) const DATABASE: &str = ".nats-serve/nats-serve.db";
pub(crate) const NATS_CONFIG: &str = ".nats-serve/nats-server.conf";
pub(crate) const NATS_LIMITS: &str = ".nats-serve/limits.conf";
pub(crate) const NKEYS: &str = ".nats-serve/nkeys";
pub(crate) const NATS_PORTS: &str = ".nats-serve/nats-ports";
const LOCK: &str = ".nats-serve/up.lock";
const RUN_FILE: &str = ".nats-serve/run.json";
/// Who only looks whether the lock is held has it for an instant himself.
const LOOKS: u32 = 10;
const LOOK: Duration = Duration::from_millis(10);

/// What a running `up` tells the other programs in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) nats_url: String,
    /// What services show to this NATS, as in `NATS_NKEY_FILE`. Files of earlier versions have none.
    pub(crate) nats_nkeys: Option<PathBuf>,
    /// Of `up` itself, for whoever wants to signal it.
    pub(crate) pid: u32,
    /// Where its services keep things, so that a replica from a second terminal keeps them there too.
    pub(crate) database_url: String,
    pub(crate) database_password_file: Option<PathBuf>,
    pub(crate) mails_dir: PathBuf,
    /// An SMTP server takes mails in place of the folder.
    pub(crate) smtp_url: Option<String>,
    pub(crate) smtp_password_file: Option<PathBuf>,
    pub(crate) spans_dir: PathBuf,
}

impl RunFile {
    /// Reads what the last `up` in this folder wrote; `None` where there was none.
    pub(crate) fn read() -> anyhow::Result<Option<Self>> {
        match fs::read(RUN_FILE) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).with_context(|| {
                format!("{RUN_FILE} can't be read; remove it and start `nats-serve up` again")
            })?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{RUN_FILE} can't be read")),
        }
    }

    /// Replaces the file in one step, so that nobody reads half of it.
    ///
    /// The URL may hold a password, so it is for its owner alone.
    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let next = format!("{RUN_FILE}.new");
        let bytes = serde_json::to_vec(self)?;
        let mut private = OpenOptions::new();
        private.write(true).create(true).truncate(true).mode(0o600);
        private
            .open(&next)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| fs::rename(&next, RUN_FILE))
            .with_context(|| format!("{RUN_FILE} can't be written"))
    }
}

/// Returns where to keep something: as it was set, else where the running system of this folder keeps it,
/// else the default.
pub(super) fn place<T: Clone>(
    set: Option<&T>,
    of_running_system: fn(RunFile) -> T,
    default: impl Into<T>,
) -> anyhow::Result<T> {
    match set {
        Some(set) => Ok(set.clone()),
        None => Ok(RunFile::read()?.map_or_else(|| default.into(), of_running_system)),
    }
}

/// Makes the folder, for its owner alone: it holds users and their mails. One that is there stays as it is.
pub(crate) fn make() -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(FOLDER)
}

/// The same, if a path lies in it.
pub(crate) fn make_for(path: &Path) -> io::Result<()> {
    match path.starts_with(FOLDER) {
        true => make(),
        false => Ok(()),
    }
}

/// Tells whether an `up` runs in this folder. Its process id would tell less: another may have it by now.
pub(crate) fn is_held() -> bool {
    let lock = File::open(LOCK);
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..LOOKS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK),
            taken => return taken,
        }
    }
    lock.try_lock()
}

/// The folder, held by this process alone until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Held {
    _lock: File,
}

impl Held {
    pub(crate) fn take() -> anyhow::Result<Self> {
        let place = || {
            let here = std::env::current_dir().unwrap_or_default();
            format!("{}", here.join(FOLDER).display())
        };
        make()
            .and_then(|()| File::create(LOCK))
            .with_context(|| {
                format!("can't write {}; change to a folder that you may write to", place())
            })
            .and_then(|lock| match take(&lock) {
                Ok(()) => Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) => bail!(
                    "{} is in use by another `nats-serve up`; stop that one, or start this one in another folder",
                    place()
                ),
                Err(TryLockError::Error(error)) => {
                    Err(error).with_context(|| format!("can't lock {}", place()))
                }
            })
    }
}
