//! What a database's error is called in a trace. Its words stay in the log, where it is known what they may quote.

use std::borrow::Cow;

use opentelemetry::KeyValue;
use sqlx::Error;

use crate::telemetry::{names::steps, spans::Failed};

/// Names an error by its class, and by the database's own code.
pub(in crate::app::database) fn failed(error: &Error) -> Failed {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.map(Cow::into_owned);
    let kind = match error {
        Error::Database(error) => match &code {
            Some(code) if is_of_sqlite(&**error) => sqlite(code),
            Some(code) => code.clone().into(),
            None => "_OTHER".into(),
        },
        Error::Io(error) => format!("{:?}", error.kind()).into(),
        Error::PoolTimedOut => "timeout".into(),
        Error::PoolClosed | Error::WorkerCrashed => "closed".into(),
        Error::Tls(_) => "tls".into(),
        Error::Protocol(_) => "protocol".into(),
        Error::RowNotFound => "no_row".into(),
        _ => "_OTHER".into(),
    };
    let code = code.map(|code| KeyValue::new(steps::DB_RESPONSE_STATUS_CODE, code));
    Failed {
        kind,
        attributes: code.into_iter().collect(),
    }
}

fn is_of_sqlite(error: &dyn sqlx::error::DatabaseError) -> bool {
    error
        .try_downcast_ref::<sqlx::sqlite::SqliteError>()
        .is_some()
}

/// SQLite's numbers say little to who reads them: <https://www.sqlite.org/rescode.html>.
fn sqlite(code: &str) -> Cow<'static, str> {
    let primary = code.parse::<u32>().ok().map(|code| code & 0xff);
    match primary {
        Some(5) => "SQLITE_BUSY".into(),
        Some(6) => "SQLITE_LOCKED".into(),
        Some(8) => "SQLITE_READONLY".into(),
        Some(10) => "SQLITE_IOERR".into(),
        Some(11) => "SQLITE_CORRUPT".into(),
        Some(13) => "SQLITE_FULL".into(),
        Some(14) => "SQLITE_CANTOPEN".into(),
        Some(19) => "SQLITE_CONSTRAINT".into(),
        _ => format!("SQLITE_{code}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_by_its_class() {
        for (error, expected) in [
            (Error::PoolTimedOut, "timeout"),
            (Error::PoolClosed, "closed"),
            (Error::Protocol("david@example.com".to_owned()), "protocol"),
            (
                Error::Io(std::io::ErrorKind::ConnectionRefused.into()),
                "ConnectionRefused",
            ),
            (
                Error::ColumnNotFound("david@example.com".to_owned()),
                "_OTHER",
            ),
        ] {
            assert_eq!(expected, failed(&error).kind);
        }
    }

    #[test]
    fn a_number_of_sqlite_is_told_by_its_name() {
        assert_eq!("SQLITE_BUSY", sqlite("5"));
        // What was busy is told by what is above its last byte.
        assert_eq!("SQLITE_BUSY", sqlite("517"));
        assert_eq!("SQLITE_21", sqlite("21"));
    }
}
