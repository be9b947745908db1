//! What keeps `up` from starting.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, path::Path};

use crate::support::{
    Process, eventually, process,
    up::{ANY_PORT, children, up},
};

/// What `up` says when it can't start: one line, and it is over.
async fn refusal(folder: &Path, variables: &[(&str, &str)]) -> String {
    let mut up = Process::start(folder, &["up"], variables);
    let status = up.ended().await;
    assert!(!status.success());
    eventually("the reason", async || {
        (!up.output().is_empty()).then_some(())
    })
    .await;
    let said = up.output();
    assert_eq!(1, said.lines().count(), "{said}");
    assert!(said.starts_with("nats-serve: "), "{said}");
    assert!(children(up.pid()).is_empty());
    said
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refusal(folder.path(), &[("HTTP_ADDR", &address)]).await;
    assert!(
        said.contains(&format!("can't listen on {address}")),
        "{said}"
    );
    assert!(said.contains("set HTTP_ADDR to another"), "{said}");

    let said = refusal(
        folder.path(),
        &[ANY_PORT, ("NATS_URL", "nats://127.0.0.1:1")],
    )
    .await;
    assert!(
        said.contains("no NATS server answers at NATS_URL=nats://127.0.0.1:1"),
        "{said}"
    );

    let said = refusal(
        folder.path(),
        &[ANY_PORT, ("NATS_SERVER", "/does/not/exist")],
    )
    .await;
    assert!(said.contains("NATS_SERVER names /does/not/exist"), "{said}");

    let said = refusal(
        folder.path(),
        &[ANY_PORT, ("DATABASE_URL", "sqlite:///does/not/exist.db")],
    )
    .await;
    assert!(said.contains("database-service can't start"), "{said}");
    assert!(said.contains("can't write /does/not/exist.lock"), "{said}");

    let password = "mysql://me:hunter2@localhost/db";
    let said = refusal(folder.path(), &[ANY_PORT, ("DATABASE_URL", password)]).await;
    assert!(
        said.contains("DATABASE_URL names no store that is known here"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");

    let broken = folder.path().join("broken-server");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'nats-server: v2.15.1' && exit\necho 'out of luck' >&2; exit 1\n";
    fs::write(&broken, script).unwrap();
    fs::set_permissions(&broken, fs::Permissions::from_mode(0o755)).unwrap();
    let broken = broken.to_str().unwrap();
    let said = refusal(folder.path(), &[ANY_PORT, ("NATS_SERVER", broken)]).await;
    assert!(
        said.contains("nats-server can't start (exit status: 1): out of luck"),
        "{said}"
    );

    let said = refusal(folder.path(), &[ANY_PORT, ("SPANS_DIR", "/dev/null/spans")]).await;
    assert!(
        said.contains("can't be written to /dev/null/spans; set SPANS_DIR"),
        "{said}"
    );

    let said = refusal(folder.path(), &[ANY_PORT, ("MAILS_DIR", "/dev/null/mails")]).await;
    assert!(said.contains("set MAILS_DIR"), "{said}");

    let said = refusal(folder.path(), &[ANY_PORT, ("NATS_SERVER", "/bin/true")]).await;
    assert!(said.contains("name a nats-server 2.12 or later"), "{said}");

    // Neither on PATH, nor cached beside a program that lies elsewhere, nor to be had by pip.
    let lonely = folder.path().join("lonely");
    fs::create_dir(&lonely).unwrap();
    let copy = lonely.join("nats-serve");
    fs::copy(process::program(), &copy).unwrap();
    let mut up = Process::start_program(&copy, &lonely, &["up"], &[("PATH", ""), ANY_PORT]);
    assert!(!up.ended().await.success());
    up.says("can't be installed with pip").await;
    up.says("put it on PATH, name one with NATS_SERVER").await;

    let file = folder.path().join("file");
    fs::create_dir(&file).unwrap();
    fs::write(file.join(".nats-serve"), "in the way").unwrap();
    let said = refusal(&file, &[ANY_PORT]).await;
    assert!(
        said.contains("can't write") && said.contains("change to a folder"),
        "{said}"
    );
}

#[tokio::test]
async fn a_folder_has_one_up_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let _first = up(folder.path(), &[]).await;
    let said = refusal(folder.path(), &[ANY_PORT]).await;
    assert!(
        said.contains("is in use by another `nats-serve up`"),
        "{said}"
    );
}
