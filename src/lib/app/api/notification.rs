//! The notification service: mail.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::outbox::Outcome;
use crate::{
    Code, Operation, Service, Status,
    client::{GateAddress, Unanswered},
};

/// Mail to users.
pub const NOTIFICATION: Service = Service::new("notification-service")
    .with_subject("notification")
    .with_deployment("NotificationService");

/// Prepares a welcome mail, asks the gate, and sends it if the gate says so.
///
/// It is begun to be sent only if there is time for it, by the gate's word and the call's deadline: whoever else
/// may send it after that shall find that it is sent, or is not.
#[derive(Debug)]
pub struct SendWelcomeEmail;

/// Asks for a welcome mail.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendWelcomeEmailRequest {
    /// One value a registration; the mail's Message-ID is made of it.
    pub registration_id: String,
    /// Whom to greet.
    pub name: String,
    /// Where to.
    pub email: String,
    /// Who has the mail's lease. Whoever sends the mail notes in this name that it is sent, or never will be; where it
    /// is `None`, the caller does.
    #[serde(default)]
    pub holder: Option<String>,
    /// Who says whether the user exists by now; `None` if it does.
    pub gate: Option<GateAddress>,
    /// How long to wait at the gate, in milliseconds.
    #[serde(default)]
    pub gate_wait_ms: u64,
}

/// How a mail went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notification {
    /// Where it is: `sent`, `queued` or `failed`, where somebody waits for the answer.
    #[schema(value_type = String, pattern = "^(sent|queued|failed)$", example = "sent")]
    pub status: MailStatus,
    /// The same in words, or the greeting that was sent.
    #[schema(example = "Welcome David! Thanks for joining our service.")]
    pub message: String,
    /// Where to.
    #[schema(example = "david@example.com")]
    pub recipient: String,
}

/// What became of a mail, and who notes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailed {
    /// How it went.
    #[serde(flatten)]
    pub notification: Notification,
    /// Whether the one who sent it notes that; else the caller does.
    #[serde(default)]
    pub is_noted: bool,
}

/// Where a mail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailStatus {
    /// The mail server, or the mail folder, has it.
    Sent,
    /// It is on its way, and whether it was taken is not known yet.
    Queued,
    /// It could not be sent.
    Failed,
    /// It was not sent: the gate said no, or too late.
    Aborted,
}

impl MailStatus {
    /// What there is to note; `None` if nobody knows.
    pub(crate) const fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Sent => Some(Outcome::Sent),
            Self::Failed => Some(Outcome::Failed),
            Self::Aborted => Some(Outcome::Later),
            Self::Queued => None,
        }
    }
}

impl Operation for SendWelcomeEmail {
    const SERVICE: Service = NOTIFICATION;
    const NAME: &'static str = "send_welcome_email";
    type Request = SendWelcomeEmailRequest;
    type Reply = Mailed;
}

/// What is left to be noted by the caller of [`SendWelcomeEmail`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Whoever has sent the mail notes it.
    Nothing,
    /// This.
    Note(Outcome),
    /// Nobody knows whether the mail was sent, or is about to be: as long as its lease lasts there is nothing to note.
    Unknown,
}

/// Reads what is left to be noted of a mail.
pub(crate) fn left_to_note(sent: &Result<Mailed, Status>) -> Left {
    let outcome = match sent {
        Ok(mailed) if mailed.is_noted => return Left::Nothing,
        Ok(mailed) => mailed.notification.status.outcome(),
        // It can't be written, now or ever.
        Err(status) if status.code() == Code::Invalid => Some(Outcome::Failed),
        Err(status) => match status.unanswered() {
            Some(Unanswered::NoResponders | Unanswered::Busy) => Some(Outcome::NotBegun),
            None if status.code() == Code::Overloaded => Some(Outcome::NotBegun),
            None | Some(Unanswered::Forbidden) => Some(Outcome::Later),
            Some(_) => None,
        },
    };
    outcome.map_or(Left::Unknown, Left::Note)
}
