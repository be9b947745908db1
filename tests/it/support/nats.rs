//! A real nats-server on a port of its own, the same that `up` runs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{Process, eventually};

/// The binary that the program itself finds or installs, with the configuration that it uses.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| nats_serve::cli::find_nats_server().unwrap())
}

#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    folder: tempfile::TempDir,
    port: u16,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_on(0).await
    }

    /// Starts on a port that an earlier one had; 0 takes a free one.
    pub(crate) async fn start_on(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/nats-server.conf");
        let asked = if port == 0 {
            "-1".to_owned()
        } else {
            port.to_string()
        };
        let ports = folder.path().join("ports");
        fs::create_dir(&ports).unwrap();
        let process = Process::start_program(
            binary(),
            folder.path(),
            &[
                "--config",
                config.to_str().unwrap(),
                "--addr",
                "127.0.0.1",
                "--port",
                &asked,
                "--ports_file_dir",
                ports.to_str().unwrap(),
            ],
            &[],
        );
        let port = eventually("nats-server's port", async || port_in(&ports)).await;
        Self {
            process,
            folder,
            port,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) {
        drop(self.process);
        drop(self.folder);
    }
}

fn port_in(ports: &Path) -> Option<u16> {
    let file = fs::read_dir(ports).ok()?.flatten().next()?;
    let text = fs::read_to_string(file.path()).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    json["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
}
