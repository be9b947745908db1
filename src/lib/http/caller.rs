//! Who sent a request, as far as the edge knows.

use std::{convert::Infallible, fmt};

use axum::{extract::FromRequestParts, http::request::Parts};

/// Tells callers apart: each token is one, and everybody without a token is another.
///
/// An extractor for handlers behind [`Edge::wrap`](super::Edge::wrap): for what belongs to a caller, such as the
/// keys of its requests. It gives nothing of the token away.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Caller([u8; 32]);

impl Caller {
    pub(crate) const fn with_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns 32 bytes that this caller has, and no other.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}
