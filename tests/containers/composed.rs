//! docker-compose.yml as it stands in the repository, from nothing to a system that does what README says.

mod cluster;
mod confined;
mod rolling;
mod system;

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use nats_serve::traces::{self, Trace};
use serde_json::Value;

use crate::{
    engine::{docker, repository, sh},
    faults::load::Load,
    images::{self, JAEGER, is_stand_in},
    settings::figure,
    support::{Process, eventually},
};
use system::System;

/// What the base of our image may be exceeded by.
const LARGEST: u64 = 40_000_000;
const RATE: u32 = 50;

/// One test, because one system serves all of it: making it takes longer than any part.
// Several threads: the load goes on while this one waits for the engine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_composed_system_does_what_the_readme_says() {
    images::provide();
    let system = System::build();
    the_image_is_small_and_labelled();

    let started = Instant::now();
    system.compose("up -d");
    let answered = eventually("the first answer", async || {
        let reply = reqwest::get(system.url("/user/1")).await.ok()?;
        (reply.status() == 200).then(Instant::now)
    });
    figure(
        "from `up` to the first 200",
        format!("{:.1?}", answered.await - started),
    );
    for (container, memory) in system.memory() {
        figure(&format!("memory of {container}"), memory);
    }

    confined::nobody_may_more_than_it_needs(&system);
    confined::secrets_stand_in_files_of_their_users_alone(&system);
    a_registration_is_one_trace_one_user_and_one_mail(&system).await;
    system.run_the_commands_of("README.md", "## In containers");
    three_replicas_share_the_work_and_leave_without_a_loss(&system).await;
    one_line_asks_callers_for_a_token(&system).await;
    a_key_is_replaced_as_the_document_says(&system).await;
    a_process_of_the_host_joins(&system).await;
    whoever_starts_it_again_keeps_keys_and_users(&system).await;
    what_is_stored_can_be_taken_along(&system);
    a_user_without_a_password_is_not_made(&system);
    cluster::nothing_that_is_replaced_is_missed(&system).await;
}

fn the_image_is_small_and_labelled() {
    let inspect = |image: &str, format: &str| {
        let said = docker(&["image", "inspect", "--format", format, image]);
        said.trim().to_owned()
    };
    let size = |image: &str| inspect(image, "{{.Size}}").parse::<u64>().unwrap();
    let added = size(system::IMAGE) - size("gcr.io/distroless/cc-debian12:nonroot");
    figure(
        "the image, over its base",
        format!("{:.1} MB", added as f64 / 1e6),
    );
    assert!(added <= LARGEST, "{added}");
    let version = r#"{{index .Config.Labels "org.opencontainers.image.version"}}"#;
    assert_eq!(root_version(), inspect(system::IMAGE, version));
    assert_eq!("65532:65532", inspect(system::IMAGE, "{{.Config.User}}"));
}

/// The version in the Cargo.toml of the package that is in the image.
fn root_version() -> String {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let (_, rest) = manifest.split_once("\nversion = \"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

async fn a_registration_is_one_trace_one_user_and_one_mail(system: &System) {
    let (status, trace_id, body) = system.register("Zoë", "zoe@example.com").await;
    assert_eq!(201, status, "{body}");
    assert_eq!("sent", body["data"]["notification"]["status"], "{body}");
    let id = body["data"]["user"]["id"].as_str().unwrap();
    let read = reqwest::get(system.url(&format!("/user/{id}")))
        .await
        .unwrap();
    assert_eq!(
        "Zoë",
        read.json::<Value>().await.unwrap()["data"]["user"]["name"]
    );

    // The journey over four containers, as the files tell it, the command, and whoever receives OTLP.
    let trace = system.trace(&trace_id, 9).await;
    assert_eq!(9, trace.rows().len());
    let said = system.compose(&format!("exec -T gateway nats-serve trace {trace_id}"));
    assert!(said.contains("9 spans, 4 services"), "{said}");
    let received = async || match is_stand_in(JAEGER) {
        true => {
            let log = system.compose("logs --no-color jaeger");
            log.matches(&trace_id).count()
        }
        false => {
            let path = format!("/api/traces/{trace_id}");
            let url = format!("http://{}{path}", system.address("jaeger", 16686));
            let found = reqwest::get(url).await.ok();
            let found: Option<Value> = async { found?.json().await.ok() }.await;
            let spans = found
                .as_ref()
                .and_then(|found| found["data"][0]["spans"].as_array());
            spans.map_or(0, Vec::len)
        }
    };
    eventually("nine spans at the receiver", async || {
        (received().await == 9).then_some(())
    })
    .await;

    let url = format!("http://{}/api/v1/messages", system.address("mail", 8025));
    let mails: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let mails = mails["messages"].as_array().unwrap();
    assert_eq!(1, mails.len(), "{mails:?}");
    assert_eq!("zoe@example.com", mails[0]["To"][0]["Address"]);
    assert_eq!("Welcome!", mails[0]["Subject"]);

    let (status, _, _) = system.register("Zoë", "ZOE@example.com").await;
    assert_eq!(409, status);
}

async fn three_replicas_share_the_work_and_leave_without_a_loss(system: &System) {
    system.compose("up -d --no-recreate --scale user-service=3");
    let load = Load::start(system.url("/user/1"), RATE);
    let mut seen = BTreeSet::new();
    eventually("work of three replicas", async || {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(system.get("/user/1").await.1);
        }
        let spans = system.spans();
        let read = |id: &String| traces::read(spans.path(), &id.parse().unwrap()).ok();
        let handled = ids.iter().filter_map(read);
        seen.extend(handled.filter_map(|trace| replica_of_the_user_service(&trace)));
        (seen.len() == 3).then_some(())
    })
    .await;
    system.compose("up -d --no-recreate --scale user-service=1");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    figure(
        "three replicas, and two of them leaving, under load",
        &report,
    );
    report.assert_no_failure();
}

fn replica_of_the_user_service(trace: &Trace) -> Option<String> {
    let mut spans = trace.rows().map(|row| row.span);
    let handled = spans.find(|span| {
        span.name == "replica_handle_request" && span.text("deployment") == Some("UserService")
    });
    Some(handled?.text("replica_id")?.to_owned())
}

async fn one_line_asks_callers_for_a_token(system: &System) {
    let output = system.run_the_commands_of("docs/containers.md", "## Tokens");
    let token = output.trim();
    let status = async |token: Option<&str>| {
        let mut request = reqwest::Client::new().get(system.url("/user/1"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Some(request.send().await.ok()?.status().as_u16())
    };
    eventually("an answer", async || {
        status(Some(token)).await.filter(|s| *s == 200)
    })
    .await;
    assert_eq!(Some(401), status(None).await);
    assert_eq!(Some(401), status(Some("some-other-token")).await);
    system.compose("up -d");
    eventually("no more need of one", async || {
        status(None).await.filter(|s| *s == 200)
    })
    .await;
}

async fn a_key_is_replaced_as_the_document_says(system: &System) {
    let seed = || {
        let container = system.compose("ps -q user-service");
        docker(&[
            "cp",
            &format!("{}:/keys/user/user.nk", container.trim()),
            "-",
        ])
    };
    let before = seed();
    system.run_the_commands_of("docs/containers.md", "## Replacing a key");
    assert_ne!(before, seed());
    eventually("an answer with the new key", async || {
        let reply = reqwest::get(system.url("/user/1")).await.ok()?;
        (reply.status() == 200).then_some(())
    })
    .await;
}

async fn a_process_of_the_host_joins(system: &System) {
    let system = system.with("docker-compose.host.yml", Vec::new());
    system.compose("up -d");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("user.nk");
    let container = system.compose("ps -q user-service");
    let from = format!("{}:/keys/user/user.nk", container.trim());
    docker(&["cp", &from, key.to_str().unwrap()]);
    let nats = format!("nats://{}", system.address("nats", 4222));
    let otlp = format!("http://{}", system.address("jaeger", 4318));
    let variables = [
        ("NATS_URL", nats.as_str()),
        ("NATS_NKEY_FILE", key.to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", otlp.as_str()),
    ];
    let mut guest = Process::start(folder.path(), &["user-service"], &variables);
    guest.says("user-service is ready").await;
    // It works for the containers, and its spans are received with theirs.
    eventually("work for the guest", async || {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(system.get("/user/1").await.1);
        }
        let spans = guest_spans(folder.path());
        let id = ids.into_iter().find(|id| spans.contains(id))?;
        let log = system.compose("logs --no-color --tail 2000 jaeger");
        (log.contains(&id) || !is_stand_in(JAEGER)).then_some(())
    })
    .await;
    guest.signal(rustix::process::Signal::TERM);
    assert!(guest.ended().await.success(), "{}", guest.output());
}

/// What a process of this machine has written, once it had the time for it.
fn guest_spans(folder: &Path) -> String {
    std::thread::sleep(Duration::from_millis(500));
    let files = std::fs::read_dir(folder.join(".nats-serve/spans"));
    let files = files.into_iter().flatten().flatten();
    files
        .map(|file| std::fs::read_to_string(file.path()).unwrap())
        .collect()
}

async fn whoever_starts_it_again_keeps_keys_and_users(system: &System) {
    system.compose("down");
    system.compose("up -d");
    let said = system.compose("logs --no-color keys");
    assert!(said.contains("nothing is missing in /keys"), "{said}");
    eventually("the user of before", async || {
        let reply = reqwest::get(system.url("/user/4")).await.ok()?;
        (reply.status() == 200).then_some(())
    })
    .await;
}

fn a_user_without_a_password_is_not_made(system: &System) {
    let psql = "psql -q -U postgres -d postgres -f /docker-entrypoint-initdb.d/roles.sql";
    let id = &system.ids("postgres")[0];
    let said = sh(&format!(
        "docker exec -e PASSWORD_FILE=/nothing {id} {psql}"
    ))
    .unwrap_err();
    assert!(said.contains("PASSWORD_FILE names no file"), "{said}");
    assert!(said.contains("so no user is made"), "{said}");
    assert!(!said.contains("already exists"), "{said}");
}

/// As docs/scaling.md has it for who moves to several hosts; here to another database of the same server.
fn what_is_stored_can_be_taken_along(system: &System) {
    // Nobody writes meanwhile; whoever comes next starts them again.
    system.compose("stop gateway user-service database-service notification-service");
    let psql = "exec -T postgres psql -q -v ON_ERROR_STOP=1";
    let dump = tempfile::NamedTempFile::new().unwrap();
    let file = dump.path().display();
    system.compose(&format!(
        "{psql} -U postgres -d postgres -c 'CREATE DATABASE taken OWNER nats_serve'"
    ));
    system.compose(&format!(
        "exec -T postgres pg_dump -U postgres --no-owner nats_serve > {file}"
    ));
    let of = |database: &str, what: &str| {
        system.compose(&format!(
            "{psql} -h 127.0.0.1 -U nats_serve -d {database} {what}"
        ))
    };
    of("taken", &format!("--single-transaction < {file}"));
    let taken = of("taken", "-tAc 'SELECT email FROM users'");
    assert!(taken.contains("zoe@example.com"), "{taken}");
    for table in ["users", "registrations", "outbox"] {
        let all = format!("-tAc 'SELECT * FROM {table} ORDER BY 1'");
        let all = |database: &str| of(database, &all);
        // Of the others nothing may be left over.
        assert!(table != "users" || !all("taken").is_empty());
        assert_eq!(all("nats_serve"), all("taken"), "{table}");
    }
}
