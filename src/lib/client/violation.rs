//! What NATS's permissions refused us.
//!
//! The server tells so by an error on the connection, not by an answer: without a look at it whoever
//! waits for the answer would wait for his whole deadline.

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation<'a> {
    /// A message to this subject was thrown away.
    Publish(&'a str),
    /// This subject was not subscribed.
    Subscription(&'a str),
}

/// Reads `Permissions Violation for Publish to "svc.database.get_user"`; any other error is none.
pub(super) fn parse(error: &str) -> Option<Violation<'_>> {
    let (_, rest) = error.split_once("ermissions Violation for ")?;
    let (what, rest) = rest.split_once(" to \"")?;
    let (subject, _) = rest.split_once('"')?;
    match what {
        "Publish" => Some(Violation::Publish(subject)),
        "Subscription" => Some(Violation::Subscription(subject)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_understood() {
        assert_eq!(
            Some(Violation::Publish("svc.database.get_user")),
            parse("nats: Permissions Violation for Publish to \"svc.database.get_user\"")
        );
        assert_eq!(
            Some(Violation::Subscription("svc.user.get")),
            parse("'Permissions Violation for Subscription to \"svc.user.get\" using queue \"x\"'")
        );
        for other in ["Authorization Violation", "Permissions Violation", ""] {
            assert_eq!(None, parse(other), "{other}");
        }
    }
}
