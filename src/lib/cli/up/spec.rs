//! How a child is started.

use std::{path::PathBuf, time::Duration};

use tokio::process::Command;

use super::nats::Nats;
use crate::Service;

/// How to start a child, each time.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<String>,
    pub(super) variables: Vec<(String, String)>,
    /// Whether it says when it is ready and stops when its standard input closes.
    pub(super) is_service: bool,
    /// How long its requests may take to finish when it leaves.
    pub(super) grace: Duration,
}

impl Spec {
    pub(super) fn service(
        service: Service,
        nats: &Nats,
        handed_on: &[(String, String)],
        grace: Duration,
    ) -> Self {
        let mut variables = handed_on.to_vec();
        variables.push(("NATS_URL".to_owned(), nats.url.clone()));
        if let Some(keys) = &nats.nkeys {
            variables.push(("NATS_NKEY_FILE".to_owned(), keys.display().to_string()));
        }
        Self {
            name: service.name(),
            arguments: vec![service.name().to_owned(), "--supervised".to_owned()],
            variables,
            is_service: true,
            grace,
        }
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(this_program());
        command
            .arg0("nats-serve")
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            // The terminal's Ctrl-C is for us; the children stop in order.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// Where this program is. After a rebuild its file is another, or gone: then the kernel still knows it.
fn this_program() -> PathBuf {
    match std::env::current_exe() {
        Ok(program) if program.exists() => program,
        _ => "/proc/self/exe".into(),
    }
}
