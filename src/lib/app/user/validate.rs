//! What a registration must look like.

use lettre::Address;

use crate::{FieldError, Status, app::api::user::RegisterUserRequest};

const MAX_NAME: usize = 100;
/// The longest address that SMTP carries: <https://www.rfc-editor.org/errata/eid1690>.
const MAX_EMAIL: usize = 254;

/// Trims the fields, and names each that is wrong.
pub(crate) fn registration(request: RegisterUserRequest) -> Result<RegisterUserRequest, Status> {
    let request = RegisterUserRequest {
        name: request.name.trim().to_owned(),
        email: request.email.trim().to_owned(),
        ..request
    };
    let errors: Vec<FieldError> = [
        ("name", name(&request.name)),
        ("email", email(&request.email)),
    ]
    .into_iter()
    .filter_map(|(field, wrong)| Some(FieldError::new(field, wrong?)))
    .collect();
    if errors.is_empty() {
        Ok(request)
    } else {
        Err(Status::invalid("some fields are not valid", errors))
    }
}

fn name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("must not be empty")
    } else if name.chars().count() > MAX_NAME {
        Some("must not be longer than 100 characters")
    } else if name.chars().any(is_unseen) {
        Some("must not hold characters that control or turn round what is around them")
    } else {
        None
    }
}

/// Controls the text around it: C0 and C1, line and paragraph separators, and what turns the direction of writing round,
/// by which a name pretends to be another: <https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>.
fn is_unseen(char: char) -> bool {
    char.is_control() || matches!(char, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

fn email(email: &str) -> Option<&'static str> {
    if email.is_empty() {
        Some("must not be empty")
    } else if email.len() > MAX_EMAIL {
        Some("must not be longer than 254 bytes")
    } else if email.chars().any(is_unseen) || email.parse::<Address>().is_err() {
        Some("must be an e-mail address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::api::Key;

    #[track_caller]
    fn check(name: &str, email: &str, wrong: &[&str]) {
        let request = RegisterUserRequest {
            name: name.to_owned(),
            email: email.to_owned(),
            key: Key {
                id: String::new(),
                body: String::new(),
                keep_s: 1,
            },
            registration_id: String::new(),
        };
        let named: Vec<String> = match registration(request) {
            Ok(_) => Vec::new(),
            Err(status) => status
                .fields()
                .iter()
                .map(|error| error.field.clone())
                .collect(),
        };
        assert_eq!(wrong, named, "{name:?} {email:?}");
    }

    #[test]
    fn each_wrong_field_is_named() {
        check("David", "david@example.com", &[]);
        check("  Zoë 🦀 ", " zoe@example.com ", &[]);
        check("", "", &["name", "email"]);
        check("David", "david", &["email"]);
        check("David", "david@", &["email"]);
        check("David", "a@b@c", &["email"]);
        check("Da\r\nvid", "david@example.com", &["name"]);
        check("Da\u{202E}vid", "david@example.com", &["name"]);
        check("David", "da\u{202E}vid@example.com", &["email"]);
        check("David", "david@example.com\r\nBcc: x@y.z", &["email"]);
        check(&"x".repeat(101), "david@example.com", &["name"]);
        check(
            "David",
            &format!("{}@example.com", "x".repeat(300)),
            &["email"],
        );
    }
}
