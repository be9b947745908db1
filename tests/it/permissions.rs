//! Least privilege on NATS: what a stolen key, or none, can do.

use std::{fs, time::Duration};

use async_nats::{ConnectErrorKind, Event, ServerError};
use futures_util::StreamExt;
use nats_serve::{
    Client, Code, Instance, Operation, Replica, Service,
    client::{Options, Unanswered},
};
use tokio::sync::mpsc;

use crate::support::{PATIENCE, Process, Server, Stack, eventually, nats::with_key_of, process};

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
async fn a_stolen_notification_key_notes_mails_and_calls_nothing_else_and_answers_in_nobodys_place()
{
    let nats = Server::start_secured().await;
    let mut thief = Thief::with_key_of("notification", &nats).await;
    for subject in [
        "svc.database.get_user",
        "svc.database.create_user",
        "svc.database.list_outbox",
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
        "_INBOX.tools.database.t1.00000000000000ff",
    ] {
        thief.cant_publish(subject).await;
    }
    for allowed in [
        "_INBOX.user.notification.u1.00000000000000ff",
        "gate.user.u1.00ff",
        "svc.database.settle_mail",
        "inst.database.d1._ping",
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
        "svc.database.get_user",
        "svc.database.create_user",
        "svc.database.settle_mail",
        "inst.database.d1.create_user",
        "evt.user.registered",
    ] {
        thief.cant_publish(subject).await;
    }
    thief.cant_subscribe("svc.user.*", Some("user")).await;
    thief.cant_subscribe("evt.>", None).await;

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
async fn a_stolen_key_of_events_hears_them_and_nothing_else() {
    let nats = Server::start_secured().await;
    let mut thief = Thief::with_key_of("events", &nats).await;
    for subject in ["evt.user.registered", "svc.user.register_user", "$SRV.PING"] {
        thief.cant_publish(subject).await;
    }
    for subject in ["svc.>", "_INBOX.>", "gate.>", "$SRV.>", ">"] {
        thief.cant_subscribe(subject, None).await;
    }
    for group in ["mailing-list", "billing"] {
        let listens = thief.nats.queue_subscribe("evt.>", group.to_owned()).await;
        listens.unwrap();
    }
    thief.nats.flush().await.unwrap();
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
async fn a_call_that_was_forbidden_keeps_no_replica_from_starting() {
    let nats = Server::start_secured().await;
    let client = gateway(&nats).await;
    client.call::<GetUser>(&()).await.unwrap_err();
    assert!(client.health().report().await.reason().is_some());
    assert!(Replica::new(&client).start().await.is_ok());
}

#[tokio::test]
async fn a_question_at_a_gate_is_answered_at_an_inbox_only() {
    let mut stack = Stack::start().await;
    assert_eq!(
        201,
        stack.register("David", "david@example.com").await.status
    );
    let user = stack.processes["user-service"].output();
    let (_, instance) = user.split_once("\"replica_id\":\"").unwrap();
    let gate = format!("gate.user.{}.00ff", instance.split('"').next().unwrap());

    let nats = stack.nats.as_ref().unwrap();
    let database = Thief::with_key_of("database", nats).await.nats;
    let group = "database".to_owned();
    let mut published = database
        .queue_subscribe("svc.database.probe", group)
        .await
        .unwrap();
    database.flush().await.unwrap();
    // The user service may publish there, and whoever has the notification key may not.
    let thief = Thief::with_key_of("notification", nats).await.nats;
    for reply in ["svc.database.probe", "_INBOX.notification.user.x.1"] {
        thief
            .publish_with_reply(gate.clone(), reply, "".into())
            .await
            .unwrap();
    }
    let mut answers = thief.subscribe("_INBOX.notification.>").await.unwrap();
    thief
        .publish_with_reply(gate.clone(), "_INBOX.notification.user.x.2", "".into())
        .await
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, answers.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(r#"{"verdict":"abort"}"#, answer.payload);
    // Questions are answered in turn, so an answer to the first would be here.
    database.flush().await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_millis(300), published.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    let process = stack.processes.get_mut("user-service").unwrap();
    process
        .says("wants its answer at \\\"svc.database.probe\\\"")
        .await;
}

#[tokio::test]
async fn a_service_that_may_not_ask_at_gates_says_so_and_is_not_ready() {
    let changes = [(
        "\"gate.user.*.*\"                # it asks",
        "# it does not ask",
    )];
    let nats = Server::start_changed(&changes).await;
    let mut stack = Stack::on(nats, &[]).await;
    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let notification = &registered.json()["data"]["notification"];
    assert_eq!("queued", notification["status"], "{notification}");
    assert!(stack.mails().is_empty());
    // Silence is an abort; the relay knows that the user is committed, and asks nobody.
    eventually("the mail", async || {
        (stack.mails().len() == 1).then_some(())
    })
    .await;
    let process = stack.processes.get_mut("notification-service").unwrap();
    process.says("NATS forbids publishing to gate.user.").await;
    let address = process.admin();
    let ready = reqwest::get(format!("http://{address}/readyz"))
        .await
        .unwrap();
    assert_eq!(503, ready.status());
    let said = ready.text().await.unwrap();
    assert!(
        said.contains("permissions: NATS forbids publishing to gate.user."),
        "{said}"
    );
}

#[tokio::test]
async fn a_gate_that_is_not_the_callers_is_not_asked_and_makes_nobody_unready() {
    let mut stack = Stack::start().await;
    let nats = stack.nats.as_ref().unwrap();
    // The database may call the notification service, which may not publish there.
    let database = with_key_of("database", nats).connect(nats.url()).await;
    let database = database.unwrap();
    let body = r#"{"registration_id":"abcdef","name":"Xenia","email":"x@example.com","gate":"gate.nobody.x.00ff","gate_wait_ms":500}"#;
    let answers = "_INBOX.database.notification.x.00ff";
    let mut answer = database.subscribe(answers).await.unwrap();
    let asked =
        database.publish_with_reply("svc.notification.send_welcome_email", answers, body.into());
    asked.await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer.next()).await;
    let answer = answer.unwrap().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!("aborted", said["status"], "{said}");
    let process = stack.processes.get_mut("notification-service").unwrap();
    process.says("a gate that is not its sender's").await;
    let output = process.output();
    assert!(!output.contains("NATS forbids"), "{output}");
    let ready = reqwest::get(format!("http://{}/readyz", process.admin())).await;
    assert_eq!(200, ready.unwrap().status());
}

#[test]
fn a_frozen_client_is_out_of_its_groups_within_15_seconds() {
    let limits = include_str!("../../nats/limits.conf");
    let number = |name: &str| {
        let (_, rest) = limits.split_once(name).unwrap();
        let digits = rest.trim_start_matches([' ', '"']);
        digits
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse::<u32>()
            .unwrap()
    };
    // The server waits for so many answers, and cuts at the next ping.
    let seconds = number("\nping_interval:") * (number("\nping_max:") + 1);
    assert!(seconds < 15, "{seconds}");
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

#[tokio::test]
async fn a_service_that_may_not_answer_its_callers_says_so_and_is_not_ready() {
    let changes = [("\"_INBOX.*.user.>\"", "\"_INBOX.user.user.>\"")];
    let nats = Server::start_changed(&changes).await;
    let mut stack = Stack::on(nats, &[]).await;
    stack.get("/user/1").await.problem(504);
    let process = stack.processes.get_mut("user-service").unwrap();
    process
        .says("NATS forbids publishing to where it answers")
        .await;
    let address = process.admin();
    let ready = reqwest::get(format!("http://{address}/readyz")).await;
    assert_eq!(503, ready.unwrap().status());
}
