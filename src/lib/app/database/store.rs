//! What the database service needs of a store.

use std::time::Duration;

use crate::{
    Status,
    app::api::{
        User, answers,
        database::{CreateUserRequest, Created, UserRecord},
        outbox::{Delivery, Kind, LEASE, Outbox, Outcome, RetryOutboxRequest},
    },
};

/// Pauses after the first, second, … try of what is in the outbox; after the last of them and one more try it has
/// failed. All in all that is a day.
pub(super) const PAUSES: [Duration; 7] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(5),
    Duration::from_hours(17),
];
/// The pause after what was no try, and how long that may go on.
const SOON: Duration = Duration::from_secs(5);
pub(super) const PATIENCE: Duration = Duration::from_hours(24);
/// How many tries there are.
pub(super) const TRIES: u32 = PAUSES.len() as u32 + 1;
/// How long a relay has what it has taken: a lease, in which it may be sent, and time to note that nobody knows.
pub(super) const HELD: Duration = LEASE.saturating_add(Duration::from_secs(5));
/// How long what was sent, and what has failed, is remembered. A key lives no longer than what was sent.
pub(super) const SENT_KEPT: Duration = Duration::from_hours(25);
pub(super) const FAILED_KEPT: Duration = Duration::from_hours(24 * 30);
/// Rows that are removed, or listed, at a time.
pub(super) const AT_A_TIME: u32 = 1000;

/// Keeps users, and what must be sent because of them. A process has one kind of store, so nothing is chosen while
/// it runs; clones share the connections.
///
/// Whatever the kind: a user that was answered is committed, ids count up from 4, perhaps with gaps (1 to
/// 3 are there from the start), an address registers once in whatever case it is typed, a key stands for one registration, what is in
/// the outbox has one holder at a time, and several processes that start together on a new store make its tables
/// once. tests/it/support/store.rs holds every kind to it. Times are those of the store's own clock.
pub(super) trait Store: Clone + Send + Sync + 'static {
    /// Reads a user. An id that is no number is nobody's.
    fn user(&self, id: &str) -> impl Future<Output = Result<UserRecord, Status>> + Send;

    /// Stores a user with key and outbox, all or nothing, or finds what the key stands for. It is committed when
    /// this returns; dropped before, it may or may not be.
    fn create(&self, new: NewUser) -> impl Future<Output = Result<Stored, Status>> + Send;

    /// Makes somebody the holder of what is due of a kind in the outbox, for [`HELD`].
    fn take(
        &self,
        kind: Kind,
        holder: &str,
        at_most: u32,
    ) -> impl Future<Output = Result<Vec<Taken>, Status>> + Send;

    /// Notes what became of something.
    fn settle(&self, settled: Settled) -> impl Future<Output = Result<(), Status>> + Send;

    /// Lists what is not sent, the oldest first.
    fn outbox(
        &self,
        only: Option<Delivery>,
        at_most: u32,
    ) -> impl Future<Output = Result<Outbox, Status>> + Send;

    /// Makes something due, unless somebody has it; returns how much that is.
    fn retry(&self, what: RetryOutboxRequest) -> impl Future<Output = Result<u64, Status>> + Send;

    /// Removes some keys and entries of the outbox that are past their time, and returns how many.
    fn clean(&self) -> impl Future<Output = Result<u64, Status>> + Send;

    /// Tells whether a transaction that writes could be had now: nobody holds the tables, and the server takes writes.
    /// A disk that is full shows only when something is written.
    fn try_write(&self) -> impl Future<Output = Result<(), Status>> + Send;

    /// Tells why users can't be read, if they can't.
    fn probe(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Closes the connections, those in use as soon as they are free.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// A user to be stored.
#[derive(Debug)]
pub(super) struct NewUser {
    pub(super) request: CreateUserRequest,
    /// Who may publish the event.
    pub(super) publisher: String,
    /// The span that stores it.
    pub(super) traceparent: Option<String>,
}

/// A user that is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) created: Created,
    /// Whether it was not there before.
    pub(super) is_new: bool,
}

impl NewUser {
    /// Describes the user, just stored.
    pub(super) fn stored(&self, id: i64, now: i64) -> Stored {
        let request = &self.request;
        Stored {
            created: Created {
                user: User {
                    id: id.to_string(),
                    name: request.name.clone(),
                    email: request.email.clone(),
                },
                created_at_ms: now,
                registration_id: request.registration_id.clone(),
                mail: Delivery::Pending,
                lease_ms: u64::try_from(LEASE.as_millis()).ok(),
            },
            is_new: true,
        }
    }
}

/// What somebody has from the outbox now.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) registration_id: String,
    pub(super) kind: Kind,
    pub(super) user: User,
    /// This one included.
    pub(super) tries: u32,
    pub(super) created_at_ms: i64,
    pub(super) traceparent: Option<String>,
}

/// What became of something.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    pub(super) registration_id: String,
    pub(super) kind: Kind,
    pub(super) holder: String,
    pub(super) outcome: Outcome,
    /// Whether it counts only where the lease was not kept meanwhile by who still sends it.
    pub(super) unless_kept: bool,
}

impl Settled {
    /// How much longer a lease may last, in milliseconds, that an outcome still ends: one that was kept lasts longer.
    pub(super) fn ends_leases_of(&self) -> i64 {
        match self.unless_kept {
            true => milliseconds(LEASE / 2),
            false => i64::MAX / 2,
        }
    }
}

/// Returns how long to wait after a try, jittered; `None` if that was the last.
pub(super) fn pause_after(tries: u32) -> Option<Duration> {
    let pause = PAUSES.get(usize::try_from(tries).ok()?.checked_sub(1)?)?;
    Some(pause.mul_f64(rand::random_range(0.8..1.2)))
}

/// Returns the pause after what was no try, jittered.
pub(super) fn soon() -> Duration {
    SOON.mul_f64(rand::random_range(0.8..1.2))
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns what is left of a lease; nothing of somebody else's.
pub(super) fn lease_left(due_at: i64, now: i64) -> Option<u64> {
    u64::try_from(due_at - now).ok().filter(|left| *left > 0)
}

/// Reads what the table allows.
pub(super) fn kind(text: &str) -> Kind {
    match text {
        "event" => Kind::Event,
        _ => Kind::Mail,
    }
}

/// Reads what the table allows.
pub(super) fn delivery(text: &str) -> Delivery {
    match text {
        "sent" => Delivery::Sent,
        "failed" => Delivery::Failed,
        _ => Delivery::Pending,
    }
}

/// Reads an id in the one form in which ids are given out.
pub(super) fn number(id: &str) -> Result<i64, Status> {
    let number: i64 = id.parse().map_err(|_| answers::unknown())?;
    if number.to_string() == id {
        Ok(number)
    } else {
        Err(answers::unknown())
    }
}

/// The form in which addresses are compared. Mail servers treat case alike in practice, so an address
/// registers once in whatever case it is typed.
pub(super) fn normalised(email: &str) -> String {
    email.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_tries_take_a_day() {
        let pauses: Vec<_> = (1..).map_while(pause_after).collect();
        assert_eq!(7, pauses.len());
        let all: Duration = PAUSES.iter().sum();
        assert!(all.abs_diff(Duration::from_hours(24)) < Duration::from_hours(1));
        assert_eq!(None, pause_after(0));
    }
}
