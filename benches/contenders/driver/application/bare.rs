//! What a store can do by itself: the statements of registrations, with its settings, and nothing around them.
//!
//! The statements are those of `src/lib/app/database`, where they are private, and the tables are its own. A registration
//! is stored, and later noted twice: that its mail is sent, and its event.

mod postgres;
mod sqlite;

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::Postgres;
use crate::driver::oha::{Outcome, Request};

/// Work a commit of SQLite: the application's writer takes 128 at most, and of each three one is a registration.
const GROUP: usize = 42;
/// Connections to PostgreSQL, `DATABASE_MAX_CONNECTIONS` unless told otherwise.
const CONNECTIONS: usize = 8;
/// For how long a mail belongs to who sends it.
const LEASE_MS: i64 = 15_000;
const KEPT_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug)]
pub(super) enum Bare {
    Sqlite(sqlite::Store, usize),
    Postgres(Vec<postgres::Store>),
}

impl Bare {
    /// One piece of work a commit, and as many as the application has at once.
    pub(super) async fn all(server: Option<&Postgres>) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for many in [false, true] {
            all.push(match server {
                None => {
                    let store = sqlite::Store::open().await?;
                    Self::Sqlite(store, if many { GROUP } else { 1 })
                }
                Some(server) => {
                    let url = server.database().await?;
                    let connections = if many { CONNECTIONS } else { 1 };
                    Self::Postgres(postgres::Store::open(&url, connections).await?)
                }
            });
        }
        Ok(all)
    }

    /// Registers for so long.
    pub(super) async fn run(&mut self, duration: Duration) -> anyhow::Result<Outcome> {
        let began = Instant::now();
        let until = began + duration;
        let mut took = Vec::new();
        match self {
            Self::Sqlite(store, at_once) => {
                while Instant::now() < until {
                    let started = Instant::now();
                    store.register(*at_once)?;
                    took.extend(std::iter::repeat_n(timed(began, started), *at_once));
                }
            }
            Self::Postgres(stores) => {
                let all = stores.iter_mut().map(async |store| {
                    let mut took = Vec::new();
                    while Instant::now() < until {
                        let started = Instant::now();
                        store.register().await?;
                        took.push(timed(began, started));
                    }
                    anyhow::Ok(took)
                });
                let all = futures_util::future::try_join_all(all).await?;
                took.extend(all.into_iter().flatten());
            }
        }
        Outcome::of(&took, duration, None)
    }

    /// Tells whether it does as much at once as the application.
    pub(super) fn has_many(&self) -> bool {
        match self {
            Self::Sqlite(_, at_once) => *at_once > 1,
            Self::Postgres(stores) => stores.len() > 1,
        }
    }
}

fn timed(began: Instant, started: Instant) -> Request {
    let took = started.elapsed();
    Request {
        sent: started - began,
        took,
        answered: took,
    }
}

impl fmt::Display for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(_, 1) => write!(f, "SQLite alone, each piece of work a commit"),
            Self::Sqlite(_, n) => write!(f, "SQLite alone, {n} registrations a commit"),
            Self::Postgres(stores) if stores.len() == 1 => {
                write!(f, "PostgreSQL alone, 1 connection")
            }
            Self::Postgres(stores) => {
                write!(f, "PostgreSQL alone, {} connections", stores.len())
            }
        }
    }
}

/// What is stored of the nth registration.
struct New {
    email: String,
    key: String,
    registration: String,
}

impl New {
    fn nth(n: u64) -> Self {
        Self {
            email: format!("ada{n}@example.com"),
            // As long as a SHA-256.
            key: format!("{n:064x}"),
            registration: format!("registration-{n}"),
        }
    }
}

const NAME: &str = "Ada Lovelace";
const HOLDER: &str = "notification-service/0123456789";
const TRACEPARENT: &str = "00-74c5793971f6232f210c6a9495b4fdd0-74c5793971f6232f-01";
/// What is sent of each registration.
const KINDS: [&str; 2] = ["mail", "event"];

#[cfg(test)]
mod tests {
    /// The application's source, of either store.
    macro_rules! source {
        ($($file:literal),*) => {
            concat!($(include_str!(concat!("../../../../src/lib/app/database/", $file))),*)
        };
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_stores_alone_have_the_applications_statements() {
        let verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "BEGIN"];
        for (alone, application, count) in [
            (
                include_str!("bare/sqlite.rs"),
                source!(
                    "sqlite/registrations.rs",
                    "sqlite/outbox.rs",
                    "sqlite/writer.rs"
                ),
                7,
            ),
            (
                include_str!("bare/postgres.rs"),
                source!("postgres/registrations.rs", "postgres/outbox.rs"),
                2,
            ),
        ] {
            let application = words(application);
            let texts = alone.split('"').skip(1).step_by(2);
            let statements = texts.filter(|text| verbs.iter().any(|verb| text.starts_with(verb)));
            let statements: Vec<String> = statements.map(words).collect();
            assert_eq!(count, statements.len(), "{statements:#?}");
            for statement in statements {
                assert!(application.contains(&statement), "{statement}");
            }
        }
    }
}
