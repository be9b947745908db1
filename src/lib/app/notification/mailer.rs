//! What the notification service needs of whoever takes its mails.

use std::{fmt, time::Instant};

use futures_util::future::BoxFuture;
use lettre::Message;

use crate::{FieldError, Status, app::api::outbox::Outcome};

const LONGEST_ID: usize = 64;

/// Takes mails in two steps: all that can be done before the point of no return, and the rest.
pub(super) trait Mailer: Send + Sync + 'static {
    /// A mail that is ready to go.
    type Prepared: Prepared;

    /// Does what can be done while nobody knows yet whether the mail may go. An error is `overloaded` where nobody is
    /// there who would take it now.
    fn prepare(
        &self,
        id: &Id,
        mail: &Message,
    ) -> impl Future<Output = Result<Self::Prepared, Status>> + Send;
}

/// A mail that is ready to go. Dropped, it was never there.
pub(super) trait Prepared: Send {
    /// Sends the mail, if there is time for it when its turn has come; after `until` somebody else may send it. An error
    /// says that it was not sent, or that nobody knows and it may be sent again; `overloaded` that it was not begun.
    /// Dropping this future leaves open whether it was sent.
    fn send(self, until: Instant) -> impl Future<Output = Result<Sent, Status>> + Send;
}

/// What became of a mail. An error is neither: it may go out another time.
pub(super) enum Sent {
    /// Somebody has it who will deliver it.
    Accepted,
    /// Nobody will ever take it.
    Refused,
    /// The time is up and it is still under way; this tells in the end, if it can, what there is to note.
    UnderWay(BoxFuture<'static, Option<Outcome>>),
}

/// Names a mail, the same each time it is sent: letters, digits, `-` and `_`.
///
/// Our own services make them, but they come over a wire, and become part of a header and of a file's name.
#[derive(Debug)]
pub(super) struct Id(String);

impl Id {
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if text.is_empty() || text.len() > LONGEST_ID || !text.bytes().all(plain) {
            let fields = vec![FieldError::new("registration_id", "is malformed")];
            return Err(Status::invalid("the registration id is malformed", fields));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_path_and_no_header() {
        for id in [
            "",
            "../r1",
            "a/b",
            ".",
            "a\0b",
            "a\r\nBcc: x",
            "a@b",
            &"a".repeat(65),
        ] {
            assert!(Id::parse(id).is_err(), "{id:?}");
        }
        assert_eq!("r1-_", Id::parse("r1-_").unwrap().to_string());
    }
}
