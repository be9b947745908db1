//! A PostgreSQL server with its default settings, in a folder of its own.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::driver::process::Process;

/// Looks whether it answers, how long each may take, and the pause before it.
const LOOKS: u32 = 100;
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// Where distributions put what is not for the `PATH`, by version.
const INSTALLED: &str = "/usr/lib/postgresql";

#[derive(Debug)]
pub(super) struct Postgres {
    process: Process,
    port: u16,
    databases: AtomicU32,
    _folder: TempDir,
}

/// Whom it runs as; it refuses root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Starts one; where none is installed that is said, and no error.
    pub(super) async fn start() -> anyhow::Result<Result<Self, String>> {
        let Some(programs) = installed().await else {
            return Ok(Err(format!(
                "no initdb where `pg_config --bindir` says, and none in {INSTALLED}/*/bin"
            )));
        };
        let owner = match rustix::process::geteuid().is_root() {
            false => None,
            true => match owner().await {
                Some(owner) => Some(owner),
                None => {
                    let missing = "it does not run as root, and there is no user postgres";
                    return Ok(Err(missing.to_owned()));
                }
            },
        };
        Self::start_from(&programs, owner).await.map(Ok)
    }

    async fn start_from(programs: &Path, owner: Option<Owner>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        if let Some(Owner { user, group }) = owner {
            chown(folder.path(), Some(user), Some(group))?;
        }
        let command = |name: &str| {
            let mut command = Command::new(programs.join(name));
            command.current_dir(folder.path()).kill_on_drop(true);
            if let Some(Owner { user, group }) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        let made = command("initdb")
            .args(
                "--pgdata data --username postgres --auth trust --encoding UTF8 --locale C"
                    .split(' '),
            )
            .output()
            .await
            .context("initdb can't be run")?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "initdb failed: {said}");
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = command("postgres");
        server
            .args(["-D", "data", "-h", "127.0.0.1", "-p", &port.to_string()])
            // Its default lies where only its package may write.
            .args(["-c", "unix_socket_directories="]);
        let mut process = Process::start(server, folder.path())?;
        for _ in 0..LOOKS {
            sleep(PAUSE).await;
            if let Some(said) = process.last_words() {
                bail!("PostgreSQL ended at once; its log: {said}");
            }
            let answering = timeout(ANSWER, PgConnection::connect(&url(port, "postgres")));
            if let Ok(Ok(connection)) = answering.await {
                let _ = connection.close().await;
                return Ok(Self {
                    process,
                    port,
                    databases: AtomicU32::new(0),
                    _folder: folder,
                });
            }
        }
        bail!("PostgreSQL does not answer");
    }

    /// Makes a database that nobody has used, and returns its URL.
    pub(super) async fn database(&self) -> anyhow::Result<String> {
        let name = format!("contender{}", self.databases.fetch_add(1, Relaxed));
        let mut connection = PgConnection::connect(&url(self.port, "postgres")).await?;
        let create = format!("CREATE DATABASE {name}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .context("no database can be made")?;
        connection.close().await?;
        Ok(url(self.port, &name))
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) async fn leave(self) {
        self.process.interrupt().await;
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// The folder of its programs: that of the `PATH`, or of the newest version.
async fn installed() -> Option<PathBuf> {
    let asked = Command::new("pg_config").arg("--bindir").output().await;
    let told = asked.ok().filter(|asked| asked.status.success());
    let told = told.map(|told| PathBuf::from(String::from_utf8_lossy(&told.stdout).trim()));
    let versions = fs::read_dir(INSTALLED).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let newest = versions.into_iter().rev().map(|(_, programs)| programs);
    let mut all = told.into_iter().chain(newest);
    all.find(|programs| programs.join("initdb").exists())
}

async fn owner() -> Option<Owner> {
    let id = async |which: &str| {
        let id = Command::new("id").args([which, "postgres"]).output();
        let id = id.await.ok().filter(|id| id.status.success())?;
        String::from_utf8_lossy(&id.stdout).trim().parse().ok()
    };
    Some(Owner {
        user: id("-u").await?,
        group: id("-g").await?,
    })
}
