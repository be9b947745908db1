//! The JSON of the HTTP API.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{FieldError, Status, app::api::user::RegisterUserRequest};

/// What every answer of the API is wrapped in.
#[derive(Debug, Serialize)]
pub(super) struct Success<T> {
    success: bool,
    data: Stamped<T>,
}

#[derive(Debug, Serialize)]
struct Stamped<T> {
    #[serde(flatten)]
    body: T,
    timestamp: f64,
}

impl<T> Success<T> {
    pub(super) fn now(body: T) -> Self {
        Self {
            success: true,
            data: Stamped {
                body,
                timestamp: timestamp(),
            },
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Index {
    message: &'static str,
    endpoints: [&'static str; 2],
}

impl Index {
    pub(super) const fn new() -> Self {
        Self {
            message: "Multi-Actor Tracing API",
            endpoints: ["/user/{user_id}", "/register"],
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    timestamp: f64,
}

impl Health {
    pub(super) fn now() -> Self {
        Self {
            status: "healthy",
            timestamp: timestamp(),
        }
    }
}

/// Seconds since 1970, to the millisecond.
fn timestamp() -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (now.as_secs_f64() * 1e3).round() / 1e3
}

/// Reads a registration and names every field that is missing or no text. What is in them is judged by
/// the user service.
pub(super) fn registration(body: &Map<String, Value>) -> Result<RegisterUserRequest, Status> {
    let mut errors = Vec::new();
    let mut text = |field: &str| match body.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(_) => {
            errors.push(FieldError::new(field, "must be a string"));
            String::new()
        }
        None => {
            errors.push(FieldError::new(field, "is missing"));
            String::new()
        }
    };
    let request = RegisterUserRequest {
        name: text("name"),
        email: text("email"),
    };
    if errors.is_empty() {
        Ok(request)
    } else {
        Err(Status::invalid("some fields are not valid", errors))
    }
}
