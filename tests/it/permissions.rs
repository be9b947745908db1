//! Least privilege on NATS: what a stolen key, or none, can do.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use async_nats::{ConnectErrorKind, ConnectOptions, Event, ServerError};
use futures_util::StreamExt;
use nats_serve::{
    Client, Code, Instance, Operation, Replica, Service,
    client::{Options, Unanswered},
};
use tokio::sync::mpsc;

use crate::support::{
    PATIENCE, Process, Server, Stack, eventually, process,
    up::{ANY_PORT, up},
};

/// A client that is not ours, with a key that it should not have.
struct Thief {
    nats: async_nats::Client,
    refusals: mpsc::UnboundedReceiver<String>,
}

impl Thief {
    async fn with_key_of(service: &str, nats: &Server) -> Self {
        let (told, refusals) = mpsc::unbounded_channel();
        let nats = with_key_of(service, nats)
            .custom_inbox_prefix(format!("_INBOX.{service}"))
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(words)) = event {
                    let _ = told.send(words);
                }
                async {}
            })
            .connect(nats.url())
            .await
            .unwrap();
        Self { nats, refusals }
    }

    /// Checks that the server refuses what was done last, and names the subject.
    async fn is_refused(&mut self, what: &str, subject: &str) {
        self.nats.flush().await.unwrap();
        let words = tokio::time::timeout(PATIENCE, self.refusals.recv()).await;
        let words = words.unwrap_or_else(|_| panic!("{what} {subject} was not refused"));
        let words = words.unwrap().to_lowercase();
        let expected = format!("permissions violation for {what} to \"{subject}\"");
        assert!(words.starts_with(&expected.to_lowercase()), "{words}");
    }

    async fn cant_subscribe(&mut self, subject: &str, group: Option<&str>) {
        let subject = subject.to_owned();
        let _listening = match group {
            Some(group) => {
                self.nats
                    .queue_subscribe(subject.clone(), group.to_owned())
                    .await
            }
            None => self.nats.subscribe(subject.clone()).await,
        };
        self.is_refused("subscription", &subject).await;
    }

    async fn cant_publish(&mut self, subject: &str) {
        self.nats
            .publish(subject.to_owned(), "{}".into())
            .await
            .unwrap();
        self.is_refused("publish", subject).await;
    }
}

fn with_key_of(service: &str, nats: &Server) -> ConnectOptions {
    let file = nats.nkeys().unwrap().join(format!("{service}.nk"));
    ConnectOptions::with_nkey(fs::read_to_string(file).unwrap().trim().to_owned())
}

#[tokio::test]
async fn a_stolen_notification_key_reads_no_traffic_of_others() {
    let nats = Server::start_secured().await;
    let mut thief = Thief::with_key_of("notification", &nats).await;
    for subject in [
        ">",
        "svc.>",
        "svc.user.>",
        "svc.user.get_user_profile",
        "svc.database.>",
        "inst.user.>",
        "inst.*.*.*",
        "gate.>",
        "_INBOX.>",
        "_INBOX.user.>",
        "_INBOX.gateway.>",
        "_INBOX.*.notification.>",
        "$SRV.>",
        "$SRV.STATS.user-service",
        "ctl.>",
    ] {
        thief.cant_subscribe(subject, None).await;
    }
    // Its own requests it gets as a member of its group only: not beside it, and not in another.
    for group in [None, Some("other"), Some("user")] {
        thief.cant_subscribe("svc.notification.*", group).await;
        thief
            .cant_subscribe("svc.notification.send_welcome_email", group)
            .await;
    }
    let own = "svc.notification.send_welcome_email";
    let _member = thief
        .nats
        .queue_subscribe(own, "notification".to_owned())
        .await
        .unwrap();
    thief.cant_publish("svc.user.marks_the_end").await;
    assert!(thief.refusals.is_empty(), "what it may do is not refused");
}

#[tokio::test]
async fn a_stolen_notification_key_calls_nobody_and_answers_in_nobodys_place() {
    let nats = Server::start_secured().await;
    let mut thief = Thief::with_key_of("notification", &nats).await;
    for subject in [
        "svc.database.get_user",
        "svc.user.register_user",
        "svc.notification.send_welcome_email",
        "inst.database.d1.get_user",
        "inst.user.u1._ping",
        "$SRV.STATS",
        "ctl.all.cancel",
        // Answers to calls that were made to others, and a word from a gate that is not its own.
        "_INBOX.user.database.u1.00000000000000ff",
        "_INBOX.gateway.user.g1.00000000000000ff",
        "_INBOX.notification.user.n1.00000000000000ff",
        "_INBOX.user.00000000000000ff",
    ] {
        thief.cant_publish(subject).await;
    }
    for allowed in [
        "_INBOX.user.notification.u1.00000000000000ff",
        "gate.user.u1.00ff",
    ] {
        thief.nats.publish(allowed, "{}".into()).await.unwrap();
    }
    thief.cant_publish("svc.user.marks_the_end").await;
    assert!(thief.refusals.is_empty(), "what it may do is not refused");
}

#[tokio::test]
async fn a_stolen_key_of_tools_finds_services_and_calls_none() {
    let stack = Stack::start().await;
    let nats = stack.nats.as_ref().unwrap();
    let mut thief = Thief::with_key_of("tools", nats).await;
    for subject in [
        "svc.user.get_user_profile",
        "inst.user.u1.get_user_profile",
        "gate.user.u1.00ff",
    ] {
        thief.cant_publish(subject).await;
    }
    thief.cant_subscribe("svc.user.*", Some("user")).await;

    // As the `nats` tool does it with `--inbox-prefix _INBOX.tools`.
    let inbox = thief.nats.new_inbox();
    let mut answers = thief.nats.subscribe(inbox.clone()).await.unwrap();
    let asked = thief.nats.publish_with_reply("$SRV.PING", inbox, "".into());
    asked.await.unwrap();
    for _ in 0..4 {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
        assert!(answer.unwrap().unwrap().payload.starts_with(b"{"));
    }
    assert!(thief.refusals.is_empty(), "what it may do is not refused");
}

#[tokio::test]
async fn without_a_key_or_with_the_usual_inbox_nobody_takes_part() {
    let nats = Server::start_secured().await;
    let refused = async_nats::connect(nats.url()).await.unwrap_err();
    assert_eq!(ConnectErrorKind::AuthorizationViolation, refused.kind());

    // async-nats' own inboxes, which everybody could read, and which are not of this protocol.
    let mut thief = Thief::with_key_of("user", &nats).await;
    thief
        .cant_subscribe("_INBOX.0123456789abcdefghijkl.*", None)
        .await;
    thief.cant_publish("_INBOX.0123456789abcdefghijkl.x").await;
}

#[tokio::test]
async fn a_service_with_a_wrong_key_or_none_says_so_once_and_is_not_ready() {
    let nats = Server::start_secured().await;
    let other = Server::start_secured().await;
    let wrong = other.nkeys().unwrap();
    let seed = fs::read_to_string(wrong.join("user.nk")).unwrap();
    let seed = seed.trim().to_owned();
    let wrong = wrong.display().to_string();
    let folder = tempfile::tempdir().unwrap();
    for (variables, words, reason) in [
        (
            vec![("NATS_URL", nats.url())],
            "refuses user-service, which shows no nkey",
            "the server refuses this process, which shows no nkey",
        ),
        (
            vec![("NATS_URL", nats.url()), ("NATS_NKEY_FILE", wrong)],
            "does not know the nkey of this process, U",
            "the server refuses this process's nkey",
        ),
    ] {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let mut service = Process::start(folder.path(), &["user-service"], &variables);
        service.says(words).await;
        let output = service.output();
        let (_, admin) = output.split_once("http://").unwrap();
        let admin = admin.split(['"', '\n', ' ']).next().unwrap();
        eventually("the reason at /readyz", async || {
            let reply = reqwest::get(format!("http://{admin}/readyz")).await.ok()?;
            let said: serde_json::Value = reply.json().await.unwrap();
            (said["checks"]["nats"] == reason).then_some(())
        })
        .await;
        // It has tried more than once by the time that others have come and gone.
        eventually("the refusal of status", async || {
            let (good, said) = process::run(folder.path(), &["status"], &variables);
            assert!(!good, "{said}");
            said.contains("refuses us; set NATS_NKEY_FILE")
                .then_some(())
        })
        .await;
        let said = service.output();
        assert_eq!(1, said.matches("trying on").count(), "{said}");
        assert!(
            !said.contains("is ready") && !said.contains(&seed),
            "{said}"
        );
    }
}

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
    for name in ["gateway", "user", "database", "notification", "tools"] {
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

#[tokio::test]
async fn the_application_tries_nothing_that_it_may_not() {
    let mut stack = Stack::start().await;
    stack.add("second", "user-service");
    stack.ready("second").await;
    for _ in 0..4 {
        assert_eq!(200, stack.get("/user/1").await.status);
    }
    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    assert_eq!("sent", registered.json()["data"]["notification"]["status"]);
    let (good, status) = process::run(stack.folder(), &["status"], &stack.nats_variables());
    assert!(good, "{status}");
    // Leaving too: the last words of each are complete then.
    let names: Vec<String> = stack.processes.keys().cloned().collect();
    for name in names {
        let said = stack.leave(&name).await.output();
        assert!(!said.to_lowercase().contains("violation"), "{name}: {said}");
    }
}

macro_rules! operation {
    ($name:ident, $service:expr, $operation:literal) => {
        struct $name;
        impl Operation for $name {
            const SERVICE: Service = $service;
            const NAME: &'static str = $operation;
            type Request = ();
            type Reply = ();
        }
    };
}
const GATEWAY: Service = Service::new("gateway");
const DATABASE: Service = Service::new("database-service").with_subject("database");
operation!(GetUser, DATABASE, "get_user");
operation!(Receive, GATEWAY, "receive");

/// A process of ours that has the gateway's key.
async fn gateway(nats: &Server) -> Client {
    let seed = fs::read_to_string(nats.nkeys().unwrap().join("gateway.nk")).unwrap();
    let options = Options {
        url: nats.url(),
        nkey: Some(seed.parse().unwrap()),
        request_timeout: Duration::from_secs(60),
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(GATEWAY), options)
        .await
        .unwrap();
    client.ready().await;
    client
}

#[tokio::test]
async fn a_forbidden_call_ends_at_once_and_the_process_is_not_ready() {
    let nats = Server::start_secured().await;
    let client = gateway(&nats).await;
    assert_eq!(None, client.health().report().await.reason());
    let calling = tokio::time::timeout(PATIENCE, client.call::<GetUser>(&()));
    let status = calling.await.expect("not after the minute").unwrap_err();
    assert_eq!(Code::Internal, status.code());
    assert_eq!(Some(Unanswered::Forbidden), status.unanswered());
    assert_eq!(
        "NATS does not permit calls to database-service",
        status.message()
    );
    assert_eq!(
        Some("permissions: NATS forbids publishing to svc.database.get_user".to_owned()),
        client.health().report().await.reason()
    );
}

#[tokio::test]
async fn a_replica_that_may_not_join_its_group_is_an_error_that_names_the_subject() {
    let nats = Server::start_secured().await;
    let client = gateway(&nats).await;
    let replica = Replica::new(&client).handle::<Receive>(async |_ctx, ()| Ok(()));
    let error = replica.start().await.unwrap_err().to_string();
    assert!(
        error.starts_with("NATS forbids subscribing svc.gateway.receive"),
        "{error}"
    );
}
