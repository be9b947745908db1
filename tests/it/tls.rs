//! TLS to NATS, with a certificate authority of the test's own.

use crate::support::{Server, Stack, certificates, process, stack::SERVICES};

#[tokio::test]
async fn the_application_speaks_tls_with_a_server_that_asks_for_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let nats = Server::start_with_tls(folder.path()).await;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (ca, another) = (file("ca.pem"), file("another-ca.pem"));
    let (certificate, key) = (file("client.pem"), file("client-key.pem"));
    let own = [
        ("NATS_TLS_CERT_FILE", certificate.as_str()),
        ("NATS_TLS_KEY_FILE", key.as_str()),
    ];
    let trusted = [("NATS_TLS_CA_FILE", ca.as_str()), own[0], own[1]];
    let mut stack = Stack::empty(nats, &trusted);
    for service in SERVICES {
        stack.add(service, service);
    }
    for service in SERVICES {
        stack.ready(service).await;
    }
    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let mut variables = stack.nats_variables();
    let (good, status) = process::run(folder.path(), &["status"], &variables);
    assert!(good && status.lines().count() == 5, "{status}");

    // Who trusts somebody else says why there is no connection, and so does who shows nothing.
    let mut stranger = variables.clone();
    stranger.retain(|(name, _)| *name != "NATS_TLS_CA_FILE");
    stranger.push(("NATS_TLS_CA_FILE", another.as_str()));
    let (good, said) = process::run(folder.path(), &["status"], &stranger);
    assert!(!good && said.contains("invalid peer certificate"), "{said}");
    variables.retain(|(name, _)| !name.starts_with("NATS_TLS_") || *name == "NATS_TLS_CA_FILE");
    let (good, said) = process::run(folder.path(), &["status"], &variables);
    assert!(
        !good && said.to_lowercase().contains("certificate"),
        "{said}"
    );
}

#[tokio::test]
async fn whoever_asks_for_tls_has_no_connection_without() {
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let nats = Server::start_secured().await;
    let (url, keys) = (nats.url(), nats.nkeys().unwrap().display().to_string());
    let ca = folder.path().join("ca.pem").display().to_string();
    let ours = [("NATS_URL", &*url), ("NATS_NKEY_FILE", &*keys)];
    let there = "NATS is there";
    let (_, said) = process::run(folder.path(), &["status"], &ours);
    assert!(said.contains(there), "{said}");
    // The server would let it in unencrypted.
    let asking = [ours[0], ours[1], ("NATS_TLS_CA_FILE", &*ca)];
    let (good, said) = process::run(folder.path(), &["status"], &asking);
    let why = "TLS is asked for, and the server speaks none";
    assert!(!good && said.contains(why), "{said}");
    let secure = url.replace("nats://", "tls://");
    let asking = [("NATS_URL", &*secure), ours[1]];
    let (good, said) = process::run(folder.path(), &["status"], &asking);
    assert!(!good && said.contains(why), "{said}");
}

#[test]
fn a_mistake_in_the_settings_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("text"), "no certificate").unwrap();
    let url = ("NATS_URL", "nats://127.0.0.1:1");
    for (wrong, words) in [
        (
            ("NATS_TLS_CA_FILE", "missing.pem"),
            "NATS_TLS_CA_FILE: missing.pem",
        ),
        (("NATS_TLS_CA_FILE", "text"), "is not PEM"),
        (("NATS_TLS_CERT_FILE", "text"), "--nats-tls-key-file"),
    ] {
        let (good, said) = process::run(folder.path(), &["status"], &[url, wrong]);
        assert!(!good && said.contains(words), "{said}");
    }
}
