//! One process of a service, by one id everywhere.

use std::sync::Arc;

use crate::Service;

/// Length of an instance id: 10 characters of 36 are 51 bits.
const LENGTH: usize = 10;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Identifies this process: subject, discovery, `replica_id`, span file and inbox use the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    service: Service,
    id: Arc<str>,
}

impl Instance {
    /// Draws an id for a process of the service.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self {
            service,
            id: random_token(LENGTH).into(),
        }
    }

    /// Returns the service that this process belongs to.
    #[must_use]
    pub const fn service(&self) -> Service {
        self.service
    }

    /// Returns the id: lower-case letters and digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the same to be kept.
    pub(crate) fn shared_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }
}

/// Tells whether a text may be the id of an instance.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Draws `length` lower-case letters and digits.
pub(crate) fn random_token(length: usize) -> String {
    use rand::Rng;
    let mut random = rand::rng();
    let mut token = String::with_capacity(length);
    while token.len() < length {
        // One draw for ten characters, for it is on the path of each request. 36^10 fits 5,000 times into it, so no
        // character is more likely than another by more than a part of that.
        let mut drawn: u64 = random.random();
        for _ in 0..(length - token.len()).min(10) {
            let character = (drawn % ALPHABET.len() as u64) as usize;
            token.push(char::from(ALPHABET[character]));
            drawn /= ALPHABET.len() as u64;
        }
    }
    token
}
