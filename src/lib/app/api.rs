//! What the services promise each other: requests, replies, operations. No I/O.

pub mod database;
pub mod notification;
pub mod user;

use serde::{Deserialize, Serialize};

use crate::Service;

/// The HTTP gateway. It calls, and answers HTTP only.
pub const GATEWAY: Service = Service::new("gateway").with_deployment("APIGateway");

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Decimal digits.
    pub id: String,
    /// As it was given.
    pub name: String,
    /// As it was given; compared in lower case.
    pub email: String,
}

#[cfg(test)]
mod tests;
