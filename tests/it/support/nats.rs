//! A real nats-server on a port of its own, the same that `up` runs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use async_nats::ConnectOptions;
use futures_util::StreamExt;

use super::{Process, eventually, process};

/// The binary that the program itself finds or installs, with the configuration that it uses.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| nats_serve::cli::find_nats_server().unwrap())
}

#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    place: Place,
    port: u16,
    /// Where it tells about itself, if its configuration says so.
    monitor: Option<String>,
}

/// What a server leaves behind.
#[derive(Debug)]
struct Place {
    folder: tempfile::TempDir,
    config: PathBuf,
    /// The keys, if it asks for any.
    nkeys: Option<PathBuf>,
}

/// A server that is gone.
#[derive(Debug)]
pub(crate) struct Killed {
    place: Place,
    port: u16,
}

impl Server {
    /// Starts one that lets everybody do everything, for a stranger's services.
    pub(crate) async fn start() -> Self {
        Self::start_on(0).await
    }

    /// Starts on a port that an earlier one had; 0 takes a free one.
    pub(crate) async fn start_on(port: u16) -> Self {
        let place = Place {
            folder: tempfile::tempdir().unwrap(),
            config: sources().join("limits.conf"),
            nkeys: None,
        };
        Self::start_in(place, port).await
    }

    /// Starts one with the permissions of the application, and keys made for it.
    pub(crate) async fn start_secured() -> Self {
        Self::start_changed(&[]).await
    }

    /// The same with some words of its configuration replaced by others.
    pub(crate) async fn start_changed(changes: &[(&str, &str)]) -> Self {
        let folder = changed(&["limits.conf", "nats-server.conf"], changes);
        Self::start_with_own_keys(folder).await
    }

    /// Starts one node of a cluster, with keys that are there.
    #[allow(dead_code, reason = "tests/faults has a cluster")]
    pub(crate) async fn start_node(nkeys: &Path, changes: &[(&str, &str)]) -> Self {
        let files = [
            "limits.conf",
            "nats-server.conf",
            "container.conf",
            "tls.conf",
            "cluster/node.conf",
            "cluster/routes-tls.conf",
        ];
        let folder = changed(&files, changes);
        std::os::unix::fs::symlink(nkeys, folder.path().join("nkeys")).unwrap();
        let place = Place {
            config: folder.path().join("cluster/node.conf"),
            nkeys: Some(nkeys.to_owned()),
            folder,
        };
        Self::start_in(place, 0).await
    }

    /// Starts one that speaks TLS, with the certificates that lie in a folder.
    pub(crate) async fn start_with_tls(certificates: &Path) -> Self {
        let there = certificates.display().to_string();
        let changes = [
            (
                "include \"limits.conf\"",
                "include \"limits.conf\"\ninclude \"tls.conf\"",
            ),
            ("/etc/nats-serve/tls", there.as_str()),
        ];
        let folder = changed(&["limits.conf", "nats-server.conf", "tls.conf"], &changes);
        Self::start_with_own_keys(folder).await
    }

    async fn start_with_own_keys(folder: tempfile::TempDir) -> Self {
        make_keys(folder.path());
        let place = Place {
            config: folder.path().join("nats-server.conf"),
            nkeys: Some(folder.path().join("nkeys")),
            folder,
        };
        Self::start_in(place, 0).await
    }

    async fn start_in(place: Place, port: u16) -> Self {
        let asked = if port == 0 {
            "-1".to_owned()
        } else {
            port.to_string()
        };
        let ports = tempfile::tempdir_in(place.folder.path()).unwrap();
        // A node of a cluster asks for its name, and reads it as a value of its configuration.
        let folder = place.folder.path().file_name().unwrap().to_string_lossy();
        let name = format!("node-{}", folder.trim_start_matches('.'));
        let process = Process::start_program(
            binary(),
            place.folder.path(),
            &[
                "--config",
                place.config.to_str().unwrap(),
                "--addr",
                "127.0.0.1",
                "--port",
                &asked,
                "--ports_file_dir",
                ports.path().to_str().unwrap(),
            ],
            &[("NODE_NAME", &name)],
        );
        let listening = eventually("nats-server's port", async || listening(ports.path())).await;
        let place_of = |kind: &str| listening[kind][0].as_str().map(str::to_owned);
        let url = place_of("nats").or(place_of("tls")).unwrap();
        Self {
            process,
            place,
            port: url.rsplit_once(':').unwrap().1.parse().unwrap(),
            monitor: place_of("monitoring"),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    #[allow(dead_code, reason = "tests/faults asks it")]
    pub(crate) fn monitor(&self) -> Option<&str> {
        self.monitor.as_deref()
    }

    /// What it has said.
    #[allow(dead_code, reason = "tests/faults has one that is refused")]
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }

    /// The folder of the keys that it knows.
    pub(crate) fn nkeys(&self) -> Option<&Path> {
        self.place.nkeys.as_deref()
    }

    /// Has it read its configuration anew.
    pub(crate) fn reload(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// Makes the keys that are missing.
    pub(crate) fn make_keys(&self) {
        make_keys(self.place.folder.path());
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has ended by itself.
    #[allow(dead_code, reason = "tests/faults has one leave")]
    pub(crate) async fn ended(mut self) -> Killed {
        self.process.ended().await;
        self.kill()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) -> Killed {
        let Self { place, port, .. } = self;
        Killed { place, port }
    }
}

impl Killed {
    /// Starts it again, on its port and with its keys.
    pub(crate) async fn start_again(self) -> Server {
        Server::start_in(self.place, self.port).await
    }
}

/// The configuration as it is in the repository.
fn sources() -> PathBuf {
    // The manifest may be that of a package below.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let folders = above.find_map(|folder| Some(folder.join("nats")).filter(|nats| nats.is_dir()));
    folders.expect("the folder nats of this repository")
}

/// Copies files of the configuration, with some words replaced by others.
fn changed(files: &[&str], changes: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut left: Vec<&str> = changes.iter().map(|(before, _)| *before).collect();
    for file in files {
        let mut text = fs::read_to_string(sources().join(file)).unwrap();
        for (before, after) in changes {
            if text.contains(before) {
                left.retain(|one| one != before);
                text = text.replace(before, after);
            }
        }
        let copy = folder.path().join(file);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, text).unwrap();
    }
    assert!(left.is_empty(), "not in the configuration: {left:?}");
    folder
}

fn make_keys(folder: &Path) {
    let (good, text) = process::run(folder, &["keys", "--dir", "nkeys"], &[]);
    assert!(good, "{text}");
}

/// What a server that listens has written of its places.
fn listening(ports: &Path) -> Option<serde_json::Value> {
    let file = fs::read_dir(ports).ok()?.flatten().next()?;
    serde_json::from_str(&fs::read_to_string(file.path()).ok()?).ok()
}

/// Connects as a service would, by its key.
pub(crate) fn with_key_of(service: &str, nats: &Server) -> ConnectOptions {
    let file = nats.nkeys().unwrap().join(format!("{service}.nk"));
    ConnectOptions::with_nkey(fs::read_to_string(file).unwrap().trim().to_owned())
}

/// Waits until the server has done all that a client has sent, subscriptions above all: flushing only sends it.
pub(crate) async fn confirmed(client: &async_nats::Client) {
    let inbox = client.new_inbox();
    let mut own = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    let back = tokio::time::timeout(super::PATIENCE, own.next()).await;
    assert!(back.unwrap().is_some(), "the connection was closed");
}
