//! The user service: profiles and registration.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Key, User, database::ProfileData, notification::Notification};
use crate::{Operation, Service};

/// Profiles and registration.
pub const USER: Service = Service::new("user-service")
    .with_subject("user")
    .with_deployment("UserService");

/// Reads a user's profile.
#[derive(Debug)]
pub struct GetUserProfile;

/// Asks for one profile.
#[derive(Debug, Serialize, Deserialize)]
pub struct GetUserProfileRequest {
    /// Whose.
    pub user_id: String,
}

/// A user with what belongs to them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    /// The user.
    pub user: User,
    /// What belongs to them.
    pub profile_data: ProfileData,
}

impl Operation for GetUserProfile {
    const SERVICE: Service = USER;
    const NAME: &'static str = "get_user_profile";
    const IDEMPOTENT: bool = true;
    type Request = GetUserProfileRequest;
    type Reply = Profile;
}

/// Creates a user and welcomes them by mail; a repetition is answered like the first.
#[derive(Debug)]
pub struct RegisterUser;

/// Asks for a new user.
#[derive(Debug, Serialize, Deserialize)]
pub struct RegisterUserRequest {
    /// 1 to 100 characters.
    pub name: String,
    /// An address that no other user has.
    pub email: String,
    /// What makes a repetition one.
    pub key: Key,
    /// One value an HTTP request, however often it is attempted.
    pub registration_id: String,
}

/// A user that now exists, and how the welcome mail went.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The user, committed.
    pub user: User,
    /// The welcome mail.
    pub notification: Notification,
    /// Always `true`: there is no registration without a committed user.
    pub registration_complete: bool,
    /// When the user was committed, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Whether another request has created the user, with the same key.
    pub is_replayed: bool,
}

impl Operation for RegisterUser {
    const SERVICE: Service = USER;
    const NAME: &'static str = "register_user";
    /// By its key.
    const IDEMPOTENT: bool = true;
    type Request = RegisterUserRequest;
    type Reply = Registration;
}
