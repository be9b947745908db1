//! What an error of PostgreSQL means, and how to say it without a value that a user gave.

use sqlx::{Error, postgres::PgDatabaseError};

use crate::Status;

/// Classes and codes by which a server says that it can't at the moment, or that another is meant to (25006):
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>. Connection exceptions, no resources (disk
/// full, too many connections), shutting down or starting up, a lock or a conflict of transactions, and what
/// took too long.
const FOR_NOW: [&str; 9] = [
    "08", "25006", "53", "57P", "57014", "40001", "40P01", "55P03", "58",
];

/// Tells whether the server can't be reached, or can't answer for now.
pub(super) fn is_away(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => true,
        Error::Database(error) => error
            .code()
            .is_some_and(|code| FOR_NOW.iter().any(|prefix| code.starts_with(prefix))),
        _ => false,
    }
}

/// Tells whether another transaction that is about to store the same was waited for in vain. The server tells the row;
/// of a wait for a whole table, which somebody works on, it tells none.
pub(super) fn is_locked(error: &Error) -> bool {
    let error = error.as_database_error();
    let error = error.and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    error.is_some_and(|error| error.code() == "55P03" && error.r#where().is_some())
}

/// What an error means to the caller; its own words stay here.
pub(super) fn status(error: &Error) -> Status {
    if is_away(error) {
        Status::unavailable("the database is busy or away").with_source(words(error))
    } else {
        Status::internal(words(error))
    }
}

/// Describes an error for the log. A server's message may quote what a user wrote, so of an error about
/// values only the code is told.
pub(super) fn words(error: &Error) -> String {
    match error {
        Error::PoolTimedOut => "no answer in time".to_owned(),
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let about_values = code.starts_with("22") || code.starts_with("23");
            match about_values {
                true => format!("error {code}"),
                false => format!("{} ({code})", error.message()),
            }
        }
        other => other.to_string(),
    }
}
