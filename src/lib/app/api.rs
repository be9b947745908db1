//! What the services promise each other: requests, replies, operations. No I/O.

pub(crate) mod answers;
pub mod database;
pub mod notification;
pub mod outbox;
pub mod user;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Service;

/// The HTTP gateway. It calls, and answers HTTP only.
pub const GATEWAY: Service = Service::new("gateway").with_deployment("APIGateway");

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Decimal digits.
    #[schema(pattern = "^[0-9]+$", example = "4")]
    pub id: String,
    /// As it was given.
    #[schema(example = "David")]
    pub name: String,
    /// As it was given; compared in lower case.
    #[schema(example = "david@example.com")]
    pub email: String,
}

/// Makes a registration that is repeated the same one.
///
/// It holds nothing that a caller wrote: both texts are SHA-256 in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Of who calls, what route, and the `Idempotency-Key`.
    pub id: String,
    /// Of the body: one key stands for one body.
    pub body: String,
    /// How long a repetition is known as one, in seconds.
    pub keep_s: u32,
}

#[cfg(test)]
mod tests;
