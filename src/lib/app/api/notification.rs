//! The notification service: mail.

use serde::{Deserialize, Serialize};

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
    /// Who says whether the user exists by now; `None` if it does.
    pub gate: Option<GateAddress>,
    /// How long to wait at the gate, in milliseconds.
    #[serde(default)]
    pub gate_wait_ms: u64,
}

/// How a mail went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// Where it is.
    pub status: MailStatus,
    /// The same in words, or the greeting that was sent.
    pub message: String,
    /// Where to.
    pub recipient: String,
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

impl Operation for SendWelcomeEmail {
    const SERVICE: Service = NOTIFICATION;
    const NAME: &'static str = "send_welcome_email";
    type Request = SendWelcomeEmailRequest;
    type Reply = Notification;
}

/// Reads what became of a mail; `None` if nobody knows whether it was sent.
pub(crate) fn outcome_of(sent: &Result<Notification, Status>) -> Option<Outcome> {
    match sent {
        Ok(notification) => match notification.status {
            MailStatus::Sent => Some(Outcome::Sent),
            MailStatus::Failed => Some(Outcome::Failed),
            MailStatus::Aborted => Some(Outcome::Later),
            MailStatus::Queued => None,
        },
        // It can't be written, now or ever.
        Err(status) if status.code() == Code::Invalid => Some(Outcome::Failed),
        Err(status) => match status.unanswered() {
            // It said so itself, or was never asked.
            None | Some(Unanswered::NoResponders | Unanswered::Busy | Unanswered::Forbidden) => {
                Some(Outcome::Later)
            }
            Some(_) => None,
        },
    }
}
