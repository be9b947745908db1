//! Whatever is registered, its mail has the headers that are meant.

use proptest::prelude::*;

use super::*;
use crate::app::{
    api::{Key, user::RegisterUserRequest},
    user::validated,
};

const HEADERS: [&str; 8] = [
    "Message-ID",
    "From",
    "To",
    "Subject",
    "Content-Type",
    "Date",
    "Content-Transfer-Encoding",
    "MIME-Version",
];

/// Text as it is, and text made of what means something in a mail.
fn text() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "\r\n",
        "\n",
        "\r",
        "\0",
        "\t",
        " ",
        "\"",
        "<",
        ">",
        "@",
        ",",
        ";",
        ":",
        "\\",
        "(",
        ")",
        ".",
        "=?utf-8?q?",
        "?=",
        "=0d=0a",
        "Bcc: a@b.c",
        "a",
        "example.com",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "é",
        "🦀",
        "DATA",
        "[1.2.3.4]",
    ]);
    prop_oneof![
        ".{0,120}",
        prop::collection::vec(odd, 0..12).prop_map(|parts| parts.concat()),
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        (text(), text()).prop_map(|(local, domain)| format!("{local}@{domain}")),
        text().prop_map(|local| format!("{local}@example.com")),
        text().prop_map(|local| format!("\"{local}\"@example.com")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_mail_has_one_recipient_and_no_header_that_was_not_meant(name in text(), email in address()) {
        let key = Key { id: String::new(), body: String::new(), keep_s: 1 };
        let registered = RegisterUserRequest { name, email, key, registration_id: String::new() };
        let Ok(registered) = validated(registered) else {
            return Ok(());
        };
        let request = SendWelcomeEmailRequest {
            registration_id: "r1".to_owned(),
            name: registered.name,
            email: registered.email,
            holder: None,
            gate: None,
            gate_wait_ms: 0,
        };
        let from = "nats-serve <no-reply@localhost>".parse().unwrap();
        let id = Id::parse("r1").unwrap();
        let greeting = format!("Welcome {}!", request.name);
        let mail = compose(&from, &id, &request, greeting).unwrap();
        prop_assert_eq!(1, mail.envelope().to().len());
        prop_assert_eq!(&request.email, mail.envelope().to()[0].as_ref() as &str);

        let text = String::from_utf8(mail.formatted()).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        prop_assert!(!head.replace("\r\n", "").contains(['\r', '\n', '\0']), "{}", head);
        let mut names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_once(':').map_or(line, |(name, _)| name))
            .collect();
        let count = names.len();
        prop_assert!(names.iter().all(|name| HEADERS.contains(name)), "{}", head);
        names.sort_unstable();
        names.dedup();
        prop_assert_eq!(count, names.len(), "{}", head);
    }
}
