//! What all contenders do: look a user up, and tell so much of them.

use serde::{Deserialize, Serialize};

/// Asks for a user.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub(crate) struct Get {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    /// How long the reply's text is to be.
    #[prost(uint64, tag = "2")]
    pub(crate) bytes: u64,
}

/// What is known of a user.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub(crate) struct User {
    #[prost(uint64, tag = "1")]
    pub(crate) user_id: u64,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(string, tag = "3")]
    pub(crate) email: String,
    #[prost(string, tag = "4")]
    pub(crate) about: String,
}

/// What a gateway's query may say.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(crate) bytes: u64,
}

/// The longest text.
const LONGEST: u64 = 40 * 1024;

/// A user whose data nobody gets in time: the last service of ours never has them, and its caller gives up.
pub(crate) const NEVER: u64 = 0;

/// What the last service of a chain does.
pub(crate) fn look_up(get: &Get) -> User {
    let bytes = usize::try_from(get.bytes.min(LONGEST)).unwrap_or(0);
    User {
        user_id: get.id,
        name: "Ada Lovelace".to_owned(),
        email: format!("ada{}@example.com", get.id),
        about: "x".repeat(bytes),
    }
}
