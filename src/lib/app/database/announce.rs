//! The event that tells of a new user, as a CloudEvents document:
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use bytes::Bytes;
use serde::Serialize;

use crate::app::api::User;

#[derive(Serialize)]
struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    r#type: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    user: &'a User,
}

/// Writes the event; the same each time it is published.
pub(super) fn registered(registration_id: &str, user: &User, created_at_ms: i64) -> Bytes {
    let event = Event {
        specversion: "1.0",
        id: registration_id,
        source: "/nats-serve/database-service",
        r#type: "user.registered",
        subject: &user.id,
        time: rfc_3339(created_at_ms),
        datacontenttype: "application/json",
        data: Data { user },
    };
    serde_json::to_vec(&event).unwrap_or_default().into()
}

fn rfc_3339(ms: i64) -> String {
    let since = std::time::Duration::from_millis(ms.unsigned_abs());
    humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_written_as_others_read_it() {
        let user = User {
            id: "4".to_owned(),
            name: "David".to_owned(),
            email: "david@example.com".to_owned(),
        };
        assert_eq!(
            concat!(
                r#"{"specversion":"1.0","id":"r1","source":"/nats-serve/database-service","#,
                r#""type":"user.registered","subject":"4","time":"2023-11-14T22:13:20.123Z","#,
                r#""datacontenttype":"application/json","#,
                r#""data":{"user":{"id":"4","name":"David","email":"david@example.com"}}}"#
            ),
            registered("r1", &user, 1_700_000_000_123)
        );
    }
}
