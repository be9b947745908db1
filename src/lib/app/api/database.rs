//! The database service: it alone touches the store.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Key, User, outbox::Delivery};
use crate::{Operation, Service};

/// Users, kept.
pub const DATABASE: Service = Service::new("database-service")
    .with_subject("database")
    .with_deployment("DatabaseService");

/// What belongs to a user besides name and address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileData {
    /// RFC 3339; `null` for who has never logged in.
    #[schema(required, example = "2024-08-29T10:00:00Z")]
    pub last_login: Option<String>,
    /// What the user has chosen.
    pub preferences: Preferences,
}

/// What a user has chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preferences {
    /// `dark` or `light`.
    #[schema(example = "dark")]
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

/// Stores a new user, with the key by which a repetition is known and what the outbox is to send, at once.
///
/// A repetition is answered with what the first one stored. An address that another registration has is a
/// `conflict`, a key that stands for another body `invalid`.
#[derive(Debug)]
pub struct CreateUser;

/// Asks for a new row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateUserRequest {
    /// As it was given.
    pub name: String,
    /// As it was given.
    pub email: String,
    /// What makes a repetition one.
    pub key: Key,
    /// One value an HTTP request, however often it is attempted; the mail's Message-ID is made of it.
    pub registration_id: String,
    /// Who may send the mail for [`LEASE`](super::outbox::LEASE) from the commit on.
    pub holder: String,
    /// Whether it is, or may be, another attempt on the same registration.
    pub is_repeated: bool,
}

/// A user that is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The user.
    pub user: User,
    /// When, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// That of the request that created it.
    pub registration_id: String,
    /// Where the welcome mail is.
    pub mail: Delivery,
    /// How much longer `holder` may send the mail; `None` if somebody else has it, or nobody needs to.
    pub lease_ms: Option<u64>,
}

impl Operation for CreateUser {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "create_user";
    /// By its key.
    const IDEMPOTENT: bool = true;
    type Request = CreateUserRequest;
    type Reply = Created;
}
