//! Where users are kept.

use std::{fmt, path::PathBuf};

use anyhow::bail;
use clap::Args;
use url::Url;

use super::{
    exposure::is_loopback,
    secret::Variables,
    state::{self, RunFile},
};
use crate::client::without_credentials;

const VARIABLES: Variables = Variables {
    url: "DATABASE_URL",
    password_file: "DATABASE_PASSWORD_FILE",
};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct Database {
    /// A SQLite file, sqlite://path, for replicas on one host; or PostgreSQL, postgres://user@host/database, for
    /// any number of hosts, with ?sslmode=verify-full (or disable, where the network is trusted) and sslrootcert,
    /// sslcert, sslkey as libpq has them [default: that of the last `up` in this folder, else
    /// sqlite://.nats-serve/nats-serve.db]
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// File with PostgreSQL's password, so that DATABASE_URL need not hold it.
    #[arg(long, env = "DATABASE_PASSWORD_FILE", value_name = "FILE")]
    database_password_file: Option<PathBuf>,
    /// Connections that one process has to PostgreSQL.
    #[arg(long, env = "DATABASE_MAX_CONNECTIONS", value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) database_max_connections: u32,
}

/// A store, and how to reach it. It has no `Debug`: the password is in it.
pub(crate) enum Store {
    /// A URL for sqlx, not judged yet.
    Sqlite(String),
    Postgres(Url),
}

/// A store as it is written down for others, without its password.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) password_file: Option<PathBuf>,
}

impl Database {
    /// Tells whether nobody has said where: then a replica elsewhere would keep users of its own.
    pub(crate) fn is_default(&self) -> bool {
        self.database_url.is_none()
    }

    /// Returns the store, for services that join a running system.
    pub(crate) fn store(&self) -> anyhow::Result<Store> {
        let set = self.set()?;
        let of_running_system = |run: RunFile| Place {
            url: run.database_url,
            password_file: run.database_password_file,
        };
        state::place(set.as_ref(), of_running_system, Place::default())?.store()
    }

    /// Returns the place of a system that is about to start.
    pub(crate) fn place_of_new_system(&self) -> anyhow::Result<Place> {
        Ok(self.set()?.unwrap_or_default())
    }

    fn set(&self) -> anyhow::Result<Option<Place>> {
        match (&self.database_url, &self.database_password_file) {
            (Some(url), file) => Ok(Some(Place {
                url: url.clone(),
                password_file: file.clone(),
            })),
            (None, Some(_)) => bail!("DATABASE_PASSWORD_FILE is set and DATABASE_URL is not"),
            (None, None) => Ok(None),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_credentials(&self.url))
    }
}

impl Default for Place {
    fn default() -> Self {
        Self {
            url: format!("sqlite://{}", state::DATABASE),
            password_file: None,
        }
    }
}

impl Place {
    fn store(self) -> anyhow::Result<Store> {
        if self.url.starts_with("postgres://") || self.url.starts_with("postgresql://") {
            let url = VARIABLES.join(&self.url, self.password_file.as_deref())?;
            see_that_it_is_safe(&url)?;
            return Ok(Store::Postgres(url));
        }
        if self.url.starts_with("sqlite:") {
            if self.password_file.is_some() {
                bail!("DATABASE_PASSWORD_FILE is set, and a SQLite file has no password");
            }
            return Ok(Store::Sqlite(self.url));
        }
        // Not the URL itself in the message: it may hold a password.
        bail!(
            "DATABASE_URL names no store that is known here; write sqlite:// and a path, or postgres://user@host/database"
        )
    }
}

/// Parameters that a URL of PostgreSQL may have. sqlx logs another one with its value, which may be a secret.
const PARAMETERS: [&str; 7] = [
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Modes that say whether there is TLS; the first two check who answers.
const SAID: [&str; 4] = ["verify-full", "verify-ca", "require", "disable"];

/// Without TLS, or where TLS is only offered, whoever is on the way reads the password, or asks for it.
fn see_that_it_is_safe(url: &Url) -> anyhow::Result<()> {
    let mut mode = None;
    for (name, value) in url.query_pairs() {
        if !PARAMETERS.contains(&name.as_ref()) {
            bail!(
                "DATABASE_URL has a parameter {name:?} that is not known here; known are {}",
                PARAMETERS.join(", ")
            );
        }
        if name == "sslmode" {
            mode = Some(value);
        }
    }
    let is_near = url.host_str().is_none_or(is_loopback);
    // `prefer` and `allow` give way to whoever is on the way.
    let is_said = mode.is_some_and(|mode| SAID.contains(&mode.as_ref()));
    if url.password().is_some() && !is_said && !is_near {
        bail!(
            "DATABASE_URL has a password and doesn't say how it is protected on its way; add ?sslmode=verify-full, or ?sslmode=disable where the network is trusted"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_goes_to_another_host_only_as_somebody_has_said() {
        let check = |url: &str| see_that_it_is_safe(&url.parse().unwrap());
        for good in [
            "postgres://u@db/x",
            "postgres://u:hunter2@127.0.0.1/x",
            "postgres://u:hunter2@[::1]/x",
            "postgres://u:hunter2@localhost:5433/x",
            "postgres://u:hunter2@db/x?sslmode=verify-full&sslrootcert=/ca.pem",
            "postgres://u:hunter2@db/x?sslmode=disable",
        ] {
            check(good).unwrap();
        }
        for (bad, words) in [
            ("postgres://u:hunter2@db/x", "?sslmode=verify-full"),
            ("postgres://u:hunter2@10.0.0.1/x", "?sslmode=verify-full"),
            (
                "postgres://u:hunter2@db/x?sslmode=prefer",
                "?sslmode=verify-full",
            ),
            ("postgres://u@db/x?sslpassword=hunter2", "\"sslpassword\""),
        ] {
            let said = check(bad).unwrap_err().to_string();
            assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
        }
    }
}
