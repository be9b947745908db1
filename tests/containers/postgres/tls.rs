//! TLS to PostgreSQL, with a certificate authority of the test's own.

use super::Server;
use crate::{
    engine::docker,
    support::{Process, Stack, certificates},
};

#[tokio::test]
async fn postgres_is_spoken_to_by_tls_and_is_who_it_says() {
    let mut server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    certificates::make(folder.path());
    let id = server.container.id().to_owned();
    for file in ["server.pem", "server-key.pem"] {
        let from = folder.path().join(file);
        docker(&[
            "cp",
            from.to_str().unwrap(),
            &format!("{id}:/var/lib/postgresql/{file}"),
        ]);
        let own = format!("cd /var/lib/postgresql && chown postgres {file} && chmod 600 {file}");
        docker(&["exec", "--user", "root", &id, "sh", "-c", &own]);
    }
    for setting in [
        "ssl_cert_file = '/var/lib/postgresql/server.pem'",
        "ssl_key_file = '/var/lib/postgresql/server-key.pem'",
        "ssl = on",
    ] {
        server.sql(&format!("ALTER SYSTEM SET {setting}")).await;
    }
    server.sql("SELECT pg_reload_conf()").await;
    let settings = server.fresh().await;
    let (name, url) = &settings[0];
    let trusting = |ca: &str| {
        let ca = folder.path().join(ca);
        format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display())
    };

    let stack = Stack::with(&[(name, &trusting("ca.pem"))]).await;
    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let ways = "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE application_name = 'nats-serve database-service'";
    assert_eq!("t", server.query("postgres", ways).await.unwrap().trim());

    // Whoever is in its place has no certificate of that authority.
    let variables = [
        ("NATS_URL", "nats://127.0.0.1:1"),
        (name, &trusting("another-ca.pem")),
    ];
    let mut deceived = Process::start(folder.path(), &["database-service"], &variables);
    deceived.says("certificate").await;
}
