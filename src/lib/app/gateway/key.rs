//! `Idempotency-Key`: what makes a repeated request the same one.
//!
//! <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>, but for its quotation marks,
//! which nobody writes; a key that has them is another key.

use std::{collections::BTreeMap, fmt::Write as _};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{FieldError, Status, app::api::Key, http::Caller, instance::random_token};

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

const LONGEST: usize = 255;
/// How long a caller's key is known, in seconds.
const KEPT_S: u32 = 24 * 3600;
/// The same of a key that we made, because none was given: our own attempts take seconds.
const OWN_KEPT_S: u32 = 600;
/// 36^32 keys: nobody guesses one.
const OWN_LENGTH: usize = 32;

/// The key of one request.
pub(super) struct Given {
    pub(super) key: Key,
    /// The key that we made; the caller may repeat the request with it.
    pub(super) made: Option<HeaderValue>,
}

/// Reads the request's key, or makes one.
pub(super) fn of(
    headers: &HeaderMap,
    caller: &Caller,
    route: &str,
    body: &Map<String, Value>,
) -> Result<Given, Status> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (key, made, keep_s) = match (given.next(), given.next()) {
        (None, _) => {
            let made = random_token(OWN_LENGTH);
            let header = HeaderValue::try_from(&made).ok();
            (made.into_bytes(), header, OWN_KEPT_S)
        }
        (Some(key), None) if is_key(key.as_bytes()) => (key.as_bytes().to_vec(), None, KEPT_S),
        _ => return Err(malformed()),
    };
    let sorted: BTreeMap<_, _> = body.iter().collect();
    let body = serde_json::to_vec(&sorted).map_err(Status::internal)?;
    Ok(Given {
        key: Key {
            id: digest(&[caller.as_bytes(), route.as_bytes(), &key]),
            body: digest(&[&body]),
            keep_s,
        },
        made,
    })
}

/// 1 to 255 visible characters of ASCII.
fn is_key(key: &[u8]) -> bool {
    (1..=LONGEST).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

pub(super) fn malformed() -> Status {
    let words = "must be one key of 1 to 255 visible ASCII characters";
    Status::invalid(
        "the Idempotency-Key can't be used",
        vec![FieldError::new("Idempotency-Key", words)],
    )
    .because("idempotency_key_malformed")
}

/// Each part with its length before it, so that no two lists of parts are alike.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &[&[u8]], body: &str) -> Result<Given, Status> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(key).unwrap());
        }
        of(
            &headers,
            &Caller::default(),
            "/register",
            &serde_json::from_str(body).unwrap(),
        )
    }

    #[test]
    fn only_one_visible_key_is_taken() {
        for key in [
            &b"k"[..],
            b"8e03978e-40d5-43dd-bc93-6894a57f9324",
            &[b'x'; 255],
        ] {
            assert!(read(&[key], "{}").is_ok(), "{key:?}");
        }
        let bad: [&[&[u8]]; 6] = [
            &[b""],
            &[b" "],
            &[b"a b"],
            &[b"a", b"b"],
            &["ü".as_bytes()],
            &[&[b'x'; 256]],
        ];
        for keys in bad {
            let refused = read(keys, "{}").err().unwrap();
            assert_eq!("Idempotency-Key", refused.fields()[0].field, "{keys:?}");
        }
    }

    #[test]
    fn a_body_is_the_same_however_its_fields_are_ordered() {
        let first = read(&[b"k"], r#"{"name":"A","email":"a@b.c"}"#).unwrap();
        let again = read(&[b"k"], r#"{ "email": "a@b.c", "name": "A" }"#).unwrap();
        let other = read(&[b"k"], r#"{"name":"B","email":"a@b.c"}"#).unwrap();
        assert_eq!(first.key, again.key);
        assert_eq!(first.key.id, other.key.id);
        assert_ne!(first.key.body, other.key.body);
    }

    #[test]
    fn a_key_says_nothing_of_what_was_written() {
        let given = read(&[b"k"], "{}").unwrap();
        assert_eq!((64, None), (given.key.id.len(), given.made));
    }

    #[test]
    fn without_a_key_each_request_has_its_own() {
        let keys = [read(&[], "{}").unwrap(), read(&[], "{}").unwrap()];
        assert_ne!(keys[0].key.id, keys[1].key.id);
        let made = keys[0].made.clone().unwrap();
        let again = read(&[made.as_bytes()], "{}").unwrap();
        assert_eq!(keys[0].key.id, again.key.id);
    }

    #[test]
    fn each_caller_has_keys_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("k"));
        let id =
            |caller: Caller, route: &str| of(&headers, &caller, route, &Map::new()).unwrap().key.id;
        let everybody = id(Caller::default(), "/register");
        assert_ne!(everybody, id(Caller::with_digest([1; 32]), "/register"));
        assert_ne!(everybody, id(Caller::default(), "/other"));
    }
}
