//! Keys: how they are made, found, used and replaced, and what is said when one is wrong.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use async_nats::{ConnectErrorKind, ConnectOptions, Event};
use tokio::sync::mpsc;

use crate::support::{
    PATIENCE, Process, Server, Stack, eventually,
    nats::with_key_of,
    process,
    up::{ANY_PORT, up},
};

#[tokio::test]
async fn a_key_that_cant_be_used_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let said = |path: &Path| {
        let path = path.display().to_string();
        let variables = [
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("NATS_NKEY_FILE", path.as_str()),
        ];
        let (good, said) = process::run(folder.path(), &["user-service"], &variables);
        assert!(!good, "{said}");
        said
    };
    fs::create_dir(&keys).unwrap();
    let missing = said(&keys);
    assert!(
        missing.contains("keys/user.nk is missing; `nats-serve keys --dir"),
        "{missing}"
    );
    fs::write(keys.join("user.nk"), "SUSECRET").unwrap();
    let wrong = said(&keys);
    assert!(
        wrong.contains("keys/user.nk can't be used; remove it"),
        "{wrong}"
    );
    assert!(!wrong.contains("SUSECRET"), "{wrong}");
}

#[tokio::test]
async fn the_keys_command_shows_what_it_made_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (good, said) = process::run(folder.path(), &["keys", "--dir", "here"], &[]);
    assert!(good, "{said}");
    for name in [
        "gateway",
        "user",
        "database",
        "notification",
        "tools",
        "events",
    ] {
        let file = format!("here/{name}.nk");
        assert!(said.contains(&format!("made {file}\n")), "{said}");
        let seed = fs::read_to_string(folder.path().join(&file)).unwrap();
        assert!(
            seed.starts_with("SU") && !said.contains(seed.trim()),
            "{said}"
        );
    }
    assert!(said.contains("made here/nkeys.conf\n"), "{said}");
    assert!(
        said.contains("--nkey here/tools.nk --inbox-prefix _INBOX.tools micro ls"),
        "{said}"
    );
    let (good, said) = process::run(folder.path(), &["keys", "--dir", "here"], &[]);
    assert!(
        good && said.starts_with("nothing is missing in here\n"),
        "{said}"
    );
}

#[test]
fn the_keys_command_names_the_running_server_only_if_it_knows_these_keys() {
    let folder = tempfile::tempdir().unwrap();
    let run = r#"{"nats_url":"nats://127.0.0.1:1","nats_nkeys":"here","pid":1,"database_url":"x","mails_dir":"x","spans_dir":"x"}"#;
    fs::create_dir(folder.path().join(".nats-serve")).unwrap();
    fs::write(folder.path().join(".nats-serve/run.json"), run).unwrap();
    for (keys, url) in [
        ("here", "nats://127.0.0.1:1"),
        ("elsewhere", "nats://127.0.0.1:4222"),
    ] {
        let (good, said) = process::run(folder.path(), &["keys", "--dir", keys], &[]);
        assert!(
            good && said.contains(&format!("nats --server {url} ")),
            "{said}"
        );
    }
}

#[tokio::test]
async fn up_runs_a_server_that_asks_for_keys_and_prints_how_to_use_them() {
    let folder = tempfile::tempdir().unwrap();
    // As an earlier version left it: a server on this port that asked for nothing.
    fs::create_dir(folder.path().join(".nats-serve")).unwrap();
    let earlier = r#"{"nats_url":"nats://127.0.0.1:1","pid":1,"database_url":"sqlite://.nats-serve/nats-serve.db","mails_dir":".nats-serve/mails","spans_dir":".nats-serve/spans"}"#;
    fs::write(folder.path().join(".nats-serve/run.json"), earlier).unwrap();

    let up = up(folder.path(), &[]).await;
    let banner = up.output();
    let line = banner
        .lines()
        .find(|line| line.contains(" --nkey "))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let (url, key) = (words[2], folder.path().join(words[4]));
    assert_eq!(["nats", "--server"], words[..2]);
    assert_eq!(
        ["--inbox-prefix", "_INBOX.tools", "micro", "ls"],
        words[5..]
    );

    let refused = async_nats::connect(url).await.unwrap_err();
    assert_eq!(ConnectErrorKind::AuthorizationViolation, refused.kind());
    let tools = ConnectOptions::with_nkey(fs::read_to_string(key).unwrap().trim().to_owned())
        .custom_inbox_prefix(words[6])
        .connect(url)
        .await
        .unwrap();
    let asked = tools.request("$SRV.INFO.user-service", "".into());
    let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
    let answer = answer.unwrap().unwrap();
    assert!(answer.payload.starts_with(b"{"));
}

#[tokio::test]
async fn up_uses_a_named_server_with_a_folder_of_keys() {
    let nats = Server::start_secured().await;
    let keys = nats.nkeys().unwrap().display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let url = nats.url();
    let (good, said) = process::run(folder.path(), &["up"], &[ANY_PORT, ("NATS_URL", &url)]);
    assert!(
        !good && said.contains("refuses us; set NATS_NKEY_FILE to the folder"),
        "{said}"
    );
    let one = format!("{keys}/user.nk");
    let variables = [
        ANY_PORT,
        ("NATS_URL", url.as_str()),
        ("NATS_NKEY_FILE", one.as_str()),
    ];
    let (good, said) = process::run(folder.path(), &["up"], &variables);
    assert!(
        !good && said.contains("forbids us subscribing _INBOX.tools.") && said.lines().count() == 1,
        "{said}"
    );

    let variables = [
        ANY_PORT,
        ("NATS_URL", url.as_str()),
        ("NATS_NKEY_FILE", keys.as_str()),
    ];
    let mut up = Process::start(folder.path(), &["up"], &variables);
    up.says("Ctrl-C stops everything").await;
    // Whoever finds the system by its folder finds the keys as well.
    eventually("everybody in status", async || {
        let (good, status) = process::run(folder.path(), &["status"], &[]);
        (good && status.lines().count() == 5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn status_with_another_services_key_says_which_one_it_needs() {
    let stack = Stack::start().await;
    let key = stack.nats.as_ref().unwrap().nkeys().unwrap();
    let key = key.join("user.nk").display().to_string();
    let mut variables = stack.nats_variables();
    variables.push(("NATS_NKEY_FILE", &key));
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--watch"],
    ] {
        let (good, said) = process::run(stack.folder(), arguments, &variables);
        assert!(
            !good && said.contains("this key may not ask who is there (NATS forbids subscribing"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_folder_of_keys_that_others_may_write_to_is_a_warning() {
    let nats = Server::start_secured().await;
    let keys = nats.nkeys().unwrap().to_owned();
    let (url, shown) = (nats.url(), keys.display().to_string());
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o777)).unwrap();
    let variables = [("NATS_URL", &*url), ("NATS_NKEY_FILE", &*shown)];
    let mut service = Process::start(folder.path(), &["user-service"], &variables);
    service.says("user-service is ready").await;
    let warning = format!("others than its owner may write to {shown}");
    assert_eq!(1, service.output().matches(&warning).count());
}

#[tokio::test]
async fn a_key_that_was_replaced_is_out_after_a_reload_and_the_others_stay() {
    let nats = Server::start_secured().await;
    let (told, mut events) = mpsc::unbounded_channel();
    let connect = |service: &'static str| {
        let told = told.clone();
        let options = with_key_of(service, &nats)
            .custom_inbox_prefix(format!("_INBOX.{service}"))
            .max_reconnects(1)
            .event_callback(move |event| {
                let _ = told.send((service, event));
                async {}
            });
        options.connect(nats.url())
    };
    let (_old, other) = (
        connect("user").await.unwrap(),
        connect("gateway").await.unwrap(),
    );
    fs::remove_file(nats.nkeys().unwrap().join("user.nk")).unwrap();
    nats.make_keys();
    nats.reload();
    let mut heard = Vec::new();
    while !heard.contains(&("user", Event::Disconnected)) {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        heard.push(event.unwrap().unwrap());
    }
    let new = connect("user").await.unwrap();
    new.flush().await.unwrap();
    other.flush().await.unwrap();
    while let Ok(event) = events.try_recv() {
        heard.push(event);
    }
    assert!(
        !heard.contains(&("gateway", Event::Disconnected)),
        "{heard:?}"
    );
}

#[test]
fn keys_that_lie_in_folders_of_their_owners_are_not_made_a_second_time_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |more: &[&str]| {
        let arguments = [&["keys", "--dir", "keys"], more].concat();
        process::run(folder.path(), &arguments, &[])
    };
    let (good, said) = keys(&["--for-containers"]);
    assert!(good, "{said}");
    let seed = || fs::read_to_string(folder.path().join("keys/user/user.nk")).unwrap();
    let before = seed();
    let (good, said) = keys(&["--replace", "user"]);
    assert!(!good && said.contains("say --for-containers"), "{said}");
    assert!(!folder.path().join("keys/user.nk").exists());
    assert_eq!(before, seed());
    let (good, said) = keys(&["--for-containers", "--replace", "user"]);
    assert!(good, "{said}");
    assert_ne!(before, seed());
}
