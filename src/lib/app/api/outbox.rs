//! The outbox of the database service: what must be sent because a user is committed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::database::DATABASE;
use crate::{Operation, Service};

/// How long one holder has a mail or an event for himself. When it is over and nobody has said what became of
/// it, the next one takes it.
pub const LEASE: Duration = Duration::from_secs(15);

/// Subject of the event that tells of a new user: a CloudEvents document in JSON.
pub const REGISTERED: &str = "evt.user.registered";

/// How far the sending of something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// It is being sent, or will be.
    Pending,
    /// Whoever delivers it has it.
    Sent,
    /// It will not be sent unless somebody says so.
    Failed,
}

/// Names what is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The welcome mail.
    Mail,
    /// The event on [`REGISTERED`].
    Event,
}

impl Delivery {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Event => "event",
        }
    }
}

/// What became of something that a holder had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was sent.
    Sent,
    /// It was not sent, or nobody knows, and it is tried again later.
    Later,
    /// Sending was not even begun, because nobody was there who could. That is no try, and it is tried again soon.
    NotBegun,
    /// It will never be taken.
    Failed,
    /// It is still being sent: whoever has it keeps it for another lease.
    UnderWay,
}

/// Notes what became of a welcome mail.
#[derive(Debug)]
pub struct SettleMail;

/// Says what became of a mail.
#[derive(Debug, Serialize, Deserialize)]
pub struct SettleMailRequest {
    /// Whose.
    pub registration_id: String,
    /// Who had it. What another has by now stays his, but for the fact that it was sent.
    pub holder: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl Operation for SettleMail {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "settle_mail";
    const IDEMPOTENT: bool = true;
    type Request = SettleMailRequest;
    type Reply = ();
}

/// Lists what is not sent yet, the oldest first.
#[derive(Debug)]
pub struct ListOutbox;

/// Asks for what is not sent yet.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListOutboxRequest {
    /// Only what is `pending`, or has `failed`; `None` stands for both.
    #[serde(default)]
    pub only: Option<Delivery>,
    /// At most so many; 200 at most.
    pub limit: u32,
}

/// One thing that is not sent yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The registration that it belongs to.
    pub registration_id: String,
    /// What it is.
    pub kind: Kind,
    /// The user that it is about.
    pub user_id: String,
    /// `pending` or `failed`.
    pub delivery: Delivery,
    /// How often it was tried.
    pub tries: u32,
    /// Milliseconds until it is tried next, or until whoever has it loses it; negative if that is past.
    pub due_in_ms: i64,
    /// Whether somebody has it.
    pub is_leased: bool,
    /// When the user was committed, in milliseconds since 1970.
    pub created_at_ms: i64,
}

/// What is not sent yet.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    /// The oldest of it.
    pub entries: Vec<Entry>,
    /// How many are pending in all.
    pub pending: u64,
    /// How many have failed in all.
    pub failed: u64,
}

impl Operation for ListOutbox {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "list_outbox";
    const IDEMPOTENT: bool = true;
    type Request = ListOutboxRequest;
    type Reply = Outbox;
}

/// Has what has failed, or waits for its next try, tried now.
#[derive(Debug)]
pub struct RetryOutbox;

/// Names what is to be tried now.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOutboxRequest {
    /// What is left of one registration.
    Registration(String),
    /// All that has failed.
    Failed,
    /// All that waits for its next try.
    Pending,
}

/// How many are tried now.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retried {
    /// Mails and events.
    pub entries: u64,
}

impl Operation for RetryOutbox {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "retry_outbox";
    const IDEMPOTENT: bool = true;
    type Request = RetryOutboxRequest;
    type Reply = Retried;
}
