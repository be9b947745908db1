//! One process of a service, by one id everywhere.

use crate::Service;

/// Length of an instance id: 10 characters of 36 are 51 bits.
const LENGTH: usize = 10;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Identifies this process: subject, discovery, `replica_id`, span file and inbox use the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    service: Service,
    id: String,
}

impl Instance {
    /// Draws an id for a process of the service.
    #[must_use]
    pub fn new(service: Service) -> Self {
        Self {
            service,
            id: random_token(LENGTH),
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
}

/// Tells whether a text may be the id of an instance.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// Draws `length` lower-case letters and digits.
pub(crate) fn random_token(length: usize) -> String {
    use rand::Rng;
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}
