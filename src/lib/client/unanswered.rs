//! How a call ends without its handler's answer.

/// Says why no handler answered: the call's own fate, told apart from what a handler says.
///
/// Of several attempts it is the fate of the last.
///
/// It stays in the process that called. Whoever handles a request and passes such a failure on answers
/// with its [`Code`](crate::Code) and message alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unanswered {
    /// No replica listens. This attempt was surely not begun.
    NoResponders,
    /// The replica refused, for load or because it leaves. This attempt was surely not begun.
    Busy,
    /// There is no connection to NATS, or it was lost meanwhile; then it may have been done.
    Disconnected,
    /// No answer came in time. It may have been done.
    TimedOut,
    /// The replica that had accepted the call died, or its answer was lost. It may have been done.
    Gone,
    /// NATS's permissions refuse the call. Surely not begun; an operator mends the configuration.
    Forbidden,
}

impl Unanswered {
    /// Returns the name in spans (`error.type`): `no_responders`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoResponders => "no_responders",
            Self::Busy => "busy",
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
            Self::Forbidden => "forbidden",
        }
    }
}
