//! The names of a service, checked at compile time.

/// Names a service: one value for the process, its subject and its place in a trace.
///
/// | field | used for | reference application |
/// |---|---|---|
/// | `name` | `service.name`, binary, compose service, span file | `user-service` |
/// | `subject` | second token of every subject, queue group, inbox | `user` |
/// | `deployment` | the span attribute `deployment` | `UserService` |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    pub(crate) name: &'static str,
    pub(crate) subject: &'static str,
    pub(crate) deployment: &'static str,
}

impl Service {
    /// Names a service; subject and deployment take the same name until told otherwise.
    ///
    /// # Panics
    ///
    /// Panics unless the name is 1 to 32 letters, digits, `-` or `_`. In a `const`, where it belongs,
    /// that is a compile error.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        assert_token(name);
        Self {
            name,
            subject: name,
            deployment: name,
        }
    }

    /// Sets the token that stands for the service in NATS subjects.
    ///
    /// # Panics
    ///
    /// As [`Service::new`].
    #[must_use]
    pub const fn with_subject(mut self, subject: &'static str) -> Self {
        assert_token(subject);
        self.subject = subject;
        self
    }

    /// Sets the name that the service has in traces.
    #[must_use]
    pub const fn with_deployment(mut self, deployment: &'static str) -> Self {
        self.deployment = deployment;
        self
    }

    /// Returns the process name: `service.name`, span file, binary.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the token in subjects, which is the queue group too.
    #[must_use]
    pub const fn subject(&self) -> &'static str {
        self.subject
    }

    /// Returns the name in traces.
    #[must_use]
    pub const fn deployment(&self) -> &'static str {
        self.deployment
    }
}

/// Refuses what would change the meaning of a subject: dots, wildcards, blanks, nothing at all.
pub(super) const fn assert_token(token: &str) {
    let bytes = token.as_bytes();
    assert!(
        !bytes.is_empty() && bytes.len() <= 32,
        "a name is 1 to 32 bytes long"
    );
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        assert!(
            byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_',
            "a name holds letters, digits, `-` and `_` only"
        );
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_called_alike_everywhere_until_told_otherwise() {
        let plain = Service::new("clock");
        assert_eq!(
            ("clock", "clock", "clock"),
            (plain.name(), plain.subject(), plain.deployment())
        );
        let named = Service::new("user-service")
            .with_subject("user")
            .with_deployment("UserService");
        assert_eq!(
            ("user-service", "user", "UserService"),
            (named.name(), named.subject(), named.deployment())
        );
    }

    #[test]
    #[should_panic(expected = "letters, digits")]
    fn a_wildcard_is_no_name() {
        let _ = Service::new("user.>");
    }

    #[test]
    #[should_panic(expected = "1 to 32 bytes")]
    fn an_empty_name_is_none() {
        let _ = Service::new("");
    }
}
