//! Where users are kept.

use clap::Args;

use super::state;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct Database {
    /// A SQLite file, sqlite://path. Replicas share one file, so they run on one host [default: that of the last `up` in this folder, else sqlite://.nats-serve/nats-serve.db]
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
}

impl Database {
    /// Tells whether nobody has said where: then a replica elsewhere would keep users of its own.
    pub(crate) fn is_default(&self) -> bool {
        self.database_url.is_none()
    }

    /// Returns the URL, for services that join a running system.
    pub(crate) fn url(&self) -> anyhow::Result<String> {
        let set = self.database_url.as_ref();
        state::place(set, |run| run.database_url, default_url())
    }

    /// Returns the URL of a system that is about to start.
    pub(crate) fn url_of_new_system(&self) -> String {
        self.database_url.clone().unwrap_or_else(default_url)
    }
}

fn default_url() -> String {
    format!("sqlite://{}", state::DATABASE)
}
