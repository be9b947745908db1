//! SQLite keeps the contract of stores, and a setting that names no store is an error that helps.

use crate::support::{Process, process, store};

#[tokio::test]
async fn sqlite_holds_the_contract_of_stores() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    store::holds_the_contract(async || {
        number += 1;
        let file = folder.path().join(format!("{number}.db"));
        vec![("DATABASE_URL", format!("sqlite://{}", file.display()))]
    })
    .await;
}

#[tokio::test]
async fn a_store_that_cant_be_named_is_an_error_that_quotes_no_password() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "hunter2").unwrap();
    let nats = ("NATS_URL", "nats://127.0.0.1:1");
    for (url, file, words) in [
        (
            "mysql://user:hunter2@host/x",
            "",
            "names no store that is known here",
        ),
        ("hunter2", "", "names no store that is known here"),
        ("sqlite://:memory:", "", "names no SQLite file"),
        ("sqlite://x.db", "password", "a SQLite file has no password"),
        (
            "postgres://user:hunter2@host/x",
            "password",
            "holds a password and DATABASE_PASSWORD_FILE names another",
        ),
        (
            "postgres://user@host/x",
            "none",
            "none can't be read; DATABASE_PASSWORD_FILE names it",
        ),
        (
            "",
            "password",
            "DATABASE_PASSWORD_FILE is set and DATABASE_URL is not",
        ),
    ] {
        let variables = [
            nats,
            ("DATABASE_URL", url),
            ("DATABASE_PASSWORD_FILE", file),
        ];
        let (good, said) = process::run(folder.path(), &["database-service"], &variables);
        assert!(
            !good && said.contains(words) && !said.contains("hunter2"),
            "{url}: {said}"
        );
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_and_the_process_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("NATS_URL", "nats://127.0.0.1:1"),
        ("DATABASE_URL", "postgres://user:hunter2@127.0.0.1:1/x"),
    ];
    let mut process = Process::start(folder.path(), &["database-service"], &variables);
    process.says("PostgreSQL is away: ").await;
    process.says("waiting for it").await;
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await.success());
    assert!(
        !process.output().contains("hunter2"),
        "{}",
        process.output()
    );
}
