//! The database service: it alone touches the store.

use serde::{Deserialize, Serialize};

use super::User;
use crate::{Operation, Service};

/// Users, kept.
pub const DATABASE: Service = Service::new("database-service")
    .with_subject("database")
    .with_deployment("DatabaseService");

/// What belongs to a user besides name and address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileData {
    /// RFC 3339; `null` for who has never logged in.
    pub last_login: Option<String>,
    /// What the user has chosen.
    pub preferences: Preferences,
}

/// What a user has chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// `dark` or `light`.
    pub theme: String,
    /// Whether they want mails.
    pub notifications: bool,
}

/// Reads a user.
#[derive(Debug)]
pub struct GetUser;

/// Asks for one user.
#[derive(Debug, Serialize, Deserialize)]
pub struct GetUserRequest {
    /// Whose.
    pub user_id: String,
}

/// A row of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The user.
    pub user: User,
    /// What belongs to them.
    pub profile_data: ProfileData,
}

impl Operation for GetUser {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "get_user";
    const IDEMPOTENT: bool = true;
    type Request = GetUserRequest;
    type Reply = UserRecord;
}

/// Stores a new user. An address that is taken is a `conflict`.
#[derive(Debug)]
pub struct CreateUser;

/// Asks for a new row.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateUserRequest {
    /// As it was given.
    pub name: String,
    /// As it was given.
    pub email: String,
}

impl Operation for CreateUser {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "create_user";
    type Request = CreateUserRequest;
    type Reply = User;
}
