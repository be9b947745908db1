//! What holds for whatever is set as the URL of NATS.

use proptest::prelude::*;

use super::{addresses, without_credentials};

const SECRET: &str = "S3CRET";

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_servers_or_an_error(
        url in prop_oneof![
            any::<String>(),
            "((nats|tls|ws|x)?:?/{0,2}[^,]{0,12}(:[0-9]{0,6})?,?){0,3}",
        ]
    ) {
        if let Ok(servers) = addresses(&url) {
            prop_assert!(!servers.is_empty());
            for server in servers {
                // As they are read for the spans.
                let _ = (server.host(), server.port());
            }
        }
    }

    /// A comma in a password is written as %2C, as the list is split at commas; if it isn't, nothing of it is shown.
    #[test]
    fn no_password_is_shown(
        scheme in "(nats://|tls://|x:|)",
        before in "[^@/:]{0,6}",
        after in "[^,]{0,6}|[^:/]{0,6}",
        host in "[a-z.]{0,8}(:[0-9]{0,7})?",
    ) {
        let url = format!("{scheme}me:{before}{SECRET}{after}@{host},nats://b");
        prop_assert!(!without_credentials(&url).contains(SECRET), "{}", url);
        if let Err(error) = addresses(&url) {
            let words = format!("{error} {:?}", std::error::Error::source(&error));
            prop_assert!(!words.contains(SECRET), "{}", words);
        }
    }
}
