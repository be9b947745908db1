//! How long a request may take: the caller's wish within our limits.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::message::MAX_TIMEOUT;

const REQUEST_TIMEOUT_MS: HeaderName = HeaderName::from_static("request-timeout-ms");

/// Returns the time for a request: `request-timeout-ms`, between 1 ms and 30 s, else the default.
pub(super) fn of(headers: &HeaderMap, default: Duration) -> Duration {
    headers
        .get(REQUEST_TIMEOUT_MS)
        .map(HeaderValue::to_str)
        .and_then(|text| text.ok()?.parse().ok())
        .map_or(default, |ms: u64| {
            Duration::from_millis(ms).clamp(Duration::from_millis(1), MAX_TIMEOUT)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_clamped_and_nonsense_ignored() {
        let default = Duration::from_secs(2);
        for (wish, expected) in [
            ("500", Duration::from_millis(500)),
            ("0", Duration::from_millis(1)),
            ("99999999", MAX_TIMEOUT),
            ("-1", default),
            ("soon", default),
            ("99999999999999999999999999", default),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_TIMEOUT_MS, HeaderValue::from_static(wish));
            assert_eq!(expected, of(&headers, default), "{wish}");
        }
        assert_eq!(default, of(&HeaderMap::new(), default));
    }
}
