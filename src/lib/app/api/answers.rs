//! How a call is refused for what is, or is not, stored: part of what the services promise each other.

use crate::{FieldError, Status};

/// The answer about a user who is not there.
pub(crate) fn unknown() -> Status {
    Status::not_found("no user has this id")
}

/// The answer about an address that is there.
pub(crate) fn taken() -> Status {
    Status::conflict("this e-mail address is registered already").because("email_taken")
}

/// The answer to somebody whose key, or address, another request is about to store.
pub(crate) fn under_way() -> Status {
    Status::conflict("a request with this Idempotency-Key or address is under way")
        .because("idempotency_key_in_use")
        .worth_repeating()
}

/// The answer about a key that was used for something else.
pub(crate) fn other_body() -> Status {
    let words = "was used for another body; choose another key";
    Status::invalid(
        "this Idempotency-Key stands for another request",
        vec![FieldError::new("Idempotency-Key", words)],
    )
    .because("idempotency_key_reused")
}
