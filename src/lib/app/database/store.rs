//! What the database service needs of a store.

use crate::{
    Status,
    app::api::{User, database::UserRecord},
};

/// Keeps users. A process has one kind of store, so nothing is chosen while it runs; clones share the
/// connections.
///
/// Whatever the kind: a user that was answered is committed, ids count up from 4 (1 to 3 are there from the
/// start), an address registers once in whatever case it is typed, and several processes that start together
/// on a new store make its tables once. tests/it/support/store.rs holds every kind to it.
pub(super) trait Store: Clone + Send + Sync + 'static {
    /// Reads a user. An id that is no number is nobody's.
    fn user(&self, id: &str) -> impl Future<Output = Result<UserRecord, Status>> + Send;

    /// Stores a user. The row is committed when this returns; dropped before, it may or may not be.
    fn create(&self, name: &str, email: &str) -> impl Future<Output = Result<User, Status>> + Send;

    /// Tells why users can't be read, if they can't.
    fn probe(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Closes the connections, those in use as soon as they are free.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// The answer about a user who is not there.
pub(super) fn unknown() -> Status {
    Status::not_found("no user has this id")
}

/// The answer about an address that is there.
pub(super) fn taken() -> Status {
    Status::conflict("this e-mail address is registered already")
}

/// Reads an id in the one form in which ids are given out.
pub(super) fn number(id: &str) -> Result<i64, Status> {
    let number: i64 = id.parse().map_err(|_| unknown())?;
    if number.to_string() == id {
        Ok(number)
    } else {
        Err(unknown())
    }
}

/// The form in which addresses are compared. Mail servers treat case alike in practice, so an address
/// registers once in whatever case it is typed.
pub(super) fn normalised(email: &str) -> String {
    email.trim().to_lowercase()
}
