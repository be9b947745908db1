//! An SMTP server that isn't ours, and the mails that it has got.

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    python::python,
    support::{Process, eventually},
};

const LOGIN: &str = "mailer:hunter2/@: x";
pub(crate) const PASSWORD: &str = "hunter2/@: x";

/// A running smtp.py.
pub(crate) struct Mails {
    pub(crate) process: Process,
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
}

impl Mails {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, arguments).await
    }

    async fn start_in(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/smtp.py");
        let mut all = vec![script];
        all.extend(arguments);
        let process = Process::start_program(python(), folder.path(), &all, &[]);
        let mut process = process.with_mails();
        process.says("\"port\"").await;
        let first: Value = serde_json::from_str(process.output().lines().next().unwrap()).unwrap();
        let port = u16::try_from(first["port"].as_u64().unwrap()).unwrap();
        Self {
            process,
            port,
            folder,
        }
    }

    /// Starts one that wants TLS and a login, and knows them by a certificate of its own making.
    pub(crate) async fn guarded(tls: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split(' '))
            .args("-addext subjectAltName=DNS:localhost".split(' '))
            .args("-addext basicConstraints=critical,CA:FALSE".split(' '))
            .args("-keyout key.pem -out certificate.pem".split(' '))
            .current_dir(folder.path())
            .output()
            .expect("this test needs openssl");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let arguments = [
            "--tls",
            tls,
            "--certificate",
            "certificate.pem",
            "--key",
            "key.pem",
            "--login",
            LOGIN,
        ];
        Self::start_in(folder, &arguments).await
    }

    /// The first that it has accepted: what it says of it may come after what it answers.
    pub(crate) async fn first(&self) -> Value {
        eventually("a mail", async || self.accepted().into_iter().next()).await
    }

    pub(crate) fn accepted(&self) -> Vec<Value> {
        let output = self.process.output();
        let lines = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line.get("to").is_some()).collect()
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }
}
