//! `up`: one command to a running system, and nothing left behind.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Process, Server, eventually, process,
    up::{ANY_PORT, all_gone, between, children, start, up},
};

#[tokio::test]
async fn one_command_brings_up_five_processes_and_says_how_to_use_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let banner = up.output();
    assert!(
        banner.lines().count() <= 24,
        "fits on one screen:\n{banner}"
    );
    let running = children(up.pid());
    assert_eq!(5, running.len(), "{running:?}");

    // Each curl line works as it is printed.
    let curls: Vec<&str> = banner
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert_eq!(4, curls.len(), "{banner}");
    for curl in curls {
        let output = Command::new("sh").args(["-c", curl]).output().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            body.get("status").is_none() || body["status"] == "healthy",
            "{curl}: {body}"
        );
    }
    // One line a request, with its trace id; the probe has none.
    up.says("/register  201").await;
    let lines: Vec<String> = up
        .output()
        .lines()
        .filter(|line| line.contains(" ms  "))
        .map(str::to_owned)
        .collect();
    assert_eq!(3, lines.len(), "{lines:?}");
    for line in &lines {
        assert_eq!(32, line.rsplit("  ").next().unwrap().len(), "{line}");
    }
    // Spans, mails and database lie where it says.
    for place in [
        ".nats-serve/spans",
        ".nats-serve/mails",
        ".nats-serve/nats-serve.db",
    ] {
        assert!(banner.contains(place), "{place}");
        let there = async || folder.path().join(place).exists().then_some(());
        eventually(place, there).await;
    }
    let (good, text) = process::run(folder.path(), &["trace", "last"], &[]);
    assert!(good && text.contains("POST /register -> 201"), "{text}");

    let folder = fs::metadata(folder.path().join(".nats-serve")).unwrap();
    assert_eq!(0o700, folder.permissions().mode() & 0o777);

    up.signal(Signal::INT);
    assert!(up.ended().await.success());
    all_gone(&running).await;
    up.says("stopping; requests under way are finished first")
        .await;
    let said = up.output();
    for noise in ["WARN", "ERROR", "died", "panicked", "nats-serve:"] {
        assert!(!said.contains(noise), "{noise} in:\n{said}");
    }
}

#[tokio::test]
async fn sigterm_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &["--scale", "user-service=3"]).await;
    let running = children(up.pid());
    assert_eq!(7, running.len(), "{running:?}");
    up.signal(Signal::TERM);
    assert!(up.ended().await.success());
    all_gone(&running).await;
}

#[tokio::test]
async fn sigkill_leaves_no_process_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let running = children(up.pid());
    assert_eq!(5, running.len(), "{running:?}");
    up.signal(Signal::KILL);
    up.ended().await;
    all_gone(&running).await;
}

#[tokio::test]
async fn a_second_terminal_finds_the_system_by_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let mut second = Process::start(folder.path(), &["user-service"], &[]);
    second.says("user-service is ready").await;
    let (_, status) = process::run(folder.path(), &["status"], &[]);
    assert_eq!(2, status.matches("user-service").count(), "{status}");
    second.signal(Signal::INT);
    assert!(second.ended().await.success());
    let (_, status) = process::run(folder.path(), &["status"], &[]);
    assert_eq!(1, status.matches("user-service").count(), "{status}");
    let words = "the system of this folder is not running";
    assert!(!second.output().contains(words));

    up.signal(Signal::INT);
    assert!(up.ended().await.success());
    let stopped = format!("nats-serve: {words}; start `nats-serve up`\n");
    assert_eq!(
        (false, stopped),
        process::run(folder.path(), &["status"], &[])
    );
    let mut early = Process::start(folder.path(), &["user-service"], &[]);
    early.says(words).await;
    let _up = start(folder.path(), &[]);
    early.says("user-service is ready").await;
}

#[tokio::test]
async fn a_child_that_dies_is_reported_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let base = between(&up.output(), "nats-serve is up at ", "\n").to_owned();
    for victim in ["user-service", "nats-server"] {
        let running = children(up.pid());
        let (pid, _) = running
            .iter()
            .find(|(_, what)| what.contains(victim))
            .unwrap();
        kill(*pid);
        up.says(&format!("{victim} died (signal: 9 (SIGKILL))"))
            .await;
        eventually("an answer after the restart", async || {
            let reply = reqwest::get(format!("{base}/user/1")).await.ok()?;
            reply.status().is_success().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_restart_keeps_users_and_the_port_of_nats() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = up(folder.path(), &[]).await;
    let nats = between(&first.output(), "nats      ", "\n").to_owned();
    first.signal(Signal::INT);
    first.ended().await;
    let second = up(folder.path(), &[]).await;
    assert_eq!(nats, between(&second.output(), "nats      ", "\n"));
}

#[tokio::test]
async fn up_uses_a_server_that_is_named() {
    let nats = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut up = Process::start(
        folder.path(),
        &["up"],
        &[ANY_PORT, ("NATS_URL", &nats.url())],
    );
    up.says("Ctrl-C stops everything").await;
    assert!(up.output().contains(&nats.url()));
    assert_eq!(4, children(up.pid()).len());
}

#[tokio::test]
async fn settings_given_by_flag_reach_the_services() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Process::start(
        folder.path(),
        &[
            "up",
            "--http-addr",
            "127.0.0.1:0",
            "--spans-dir",
            "elsewhere",
            "--mails-dir",
            "letters",
        ],
        &[],
    );
    up.says("Ctrl-C stops everything").await;
    let base = between(&up.output(), "nats-serve is up at ", "\n").to_owned();
    assert!(
        reqwest::get(format!("{base}/user/1"))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    eventually("spans where they were asked for", async || {
        folder.path().join("elsewhere").exists().then_some(())
    })
    .await;
    assert!(folder.path().join("letters").exists());
    assert!(!folder.path().join(".nats-serve/spans").exists());
}

#[test]
fn each_service_is_a_binary_and_a_command_with_the_same_settings() {
    let folder = tempfile::tempdir().unwrap();
    for service in crate::support::stack::SERVICES {
        let (good, by_command) = process::run(folder.path(), &[service, "--help"], &[]);
        assert!(good, "{by_command}");
        for variable in [
            "NATS_URL",
            "SPANS_DIR",
            "TRACING_SAMPLING_RATIO",
            "MAX_ONGOING_REQUESTS",
        ] {
            assert!(
                by_command.contains(&format!("[env: {variable}")),
                "{service}: {variable}"
            );
        }
        let binary = process::build_folder().join(service);
        let output = process::command(&binary, folder.path(), &["--help"], &[])
            .output()
            .unwrap();
        let by_binary = String::from_utf8(output.stdout).unwrap();
        assert_eq!(by_command, by_binary);
    }
}

#[tokio::test]
async fn a_gateway_that_comes_back_elsewhere_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let running = children(up.pid());
    let (pid, _) = running
        .iter()
        .find(|(_, what)| what.contains("gateway"))
        .unwrap();
    kill(*pid);
    up.says("the gateway is at http://").await;
    let base = between(&up.output(), "the gateway is at ", " now").to_owned();
    let reply = reqwest::get(format!("{base}/user/1")).await.unwrap();
    assert!(reply.status().is_success());
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn requests_go_on_when_nobody_reads_what_up_prints() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let program = process::program().as_ref();
    // A pipe whose other end is held and never read, as a pager does.
    let mut up = process::command(
        program,
        folder.path(),
        &["up", "--http-addr", &address],
        &[],
    )
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let client = reqwest::Client::new();
    let get = async |path: &str| {
        let request = client.get(format!("http://{address}{path}"));
        let reply = request
            .timeout(crate::support::PATIENCE)
            .send()
            .await
            .ok()?;
        Some(reply.status().as_u16())
    };
    eventually("the first answer", async || {
        get("/user/1").await.filter(|status| *status == 200)
    })
    .await;
    // More lines than pipe and queue hold.
    let work = (0..50).map(|_| async {
        for _ in 0..160 {
            assert_eq!(Some(404), get("/nope").await);
        }
    });
    futures_util::future::join_all(work).await;
    assert_eq!(Some(200), get("/user/1").await);
    let pid = rustix::process::Pid::from_raw(up.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    eventually("the end of up", async || up.try_wait().unwrap()).await;
}

#[tokio::test]
async fn whatever_the_log_filter_each_request_has_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Process::start(folder.path(), &["up"], &[ANY_PORT, ("RUST_LOG", "warn")]);
    up.says("Ctrl-C stops everything").await;
    let base = between(&up.output(), "nats-serve is up at ", "\n").to_owned();
    let _ = reqwest::get(format!("{base}/user/1")).await.unwrap();
    up.says("GET  /user/1  200").await;
}

#[tokio::test]
async fn a_replica_from_a_second_terminal_shares_the_systems_database() {
    let folder = tempfile::tempdir().unwrap();
    let up = up(folder.path(), &["--database-url", "sqlite://elsewhere.db"]).await;
    let mut second = Process::start(folder.path(), &["database-service"], &[]);
    second.says("database-service is ready").await;
    let base = between(&up.output(), "nats-serve is up at ", "\n").to_owned();
    let client = reqwest::Client::new();
    let body = r#"{"name":"David","email":"david@example.com"}"#;
    let register = client.post(format!("{base}/register")).body(body);
    let register = register.header("content-type", "application/json");
    assert_eq!(201, register.send().await.unwrap().status());
    for _ in 0..20 {
        let reply = client.get(format!("{base}/user/4")).send().await.unwrap();
        assert_eq!(200, reply.status());
    }
    assert!(!folder.path().join(".nats-serve/nats-serve.db").exists());
}

#[tokio::test]
async fn variables_that_are_set_to_nothing_count_as_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let empty = [
        "NATS_URL",
        "TRACING_ENABLED",
        "OTEL_SDK_DISABLED",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    let mut variables: Vec<(&str, &str)> = empty.iter().map(|name| (*name, "")).collect();
    variables.extend([ANY_PORT, ("COLUMNS", "wide")]);
    let mut up = Process::start(folder.path(), &["up"], &variables);
    up.says("Ctrl-C stops everything").await;
    let base = between(&up.output(), "nats-serve is up at ", "\n").to_owned();
    assert!(
        reqwest::get(format!("{base}/user/1"))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let (good, text) = process::run(folder.path(), &["trace"], &variables);
    assert!(good, "{text}");
}

#[tokio::test]
async fn flags_without_a_command_are_those_of_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = Process::start(folder.path(), &["--http-addr", "127.0.0.1:0"], &[]);
    up.says("nats-serve is up at http://127.0.0.1:").await;
}

/// Freezes a child of `up`.
fn freeze(children: &BTreeMap<u32, String>, service: &str) {
    let frozen = children.iter().find(|(_, what)| what.contains(service));
    let frozen = Pid::from_raw(frozen.unwrap().0.cast_signed()).unwrap();
    kill_process(frozen, Signal::STOP).unwrap();
}

#[tokio::test]
async fn who_asks_twice_gets_the_spans_of_what_was_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let all = children(up.pid());
    let url = format!("{}/user/1", between(&up.output(), "is up at ", "\n"));
    // Nobody answers it as long as the test takes.
    freeze(&all, "database-service");
    let request = reqwest::Client::new()
        .get(url)
        .header("request-timeout-ms", "30000");
    let request = tokio::spawn(request.send());
    eventually("a request under way", async || {
        let (_, said) = process::run(folder.path(), &["status"], &[]);
        let mut rows = said.lines();
        let row = rows.find(|row| row.starts_with("user-service"))?;
        row.contains(" 1/").then_some(())
    })
    .await;
    up.signal(Signal::INT);
    up.says("stopping;").await;
    up.signal(Signal::INT);
    assert!(up.ended().await.success());
    up.says("stopped at once, as asked again").await;
    all_gone(&all).await;
    let _ = request.await;
    let (good, said) = process::run(folder.path(), &["trace", "last"], &[]);
    assert!(good && said.contains("GET /user/1"), "{said}");
}

#[tokio::test]
async fn a_frozen_process_is_killed_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut up = up(folder.path(), &[]).await;
    let all = children(up.pid());
    freeze(&all, "user-service");
    up.signal(Signal::INT);
    up.says("stopping;").await;
    up.signal(Signal::INT);
    up.says("user-service was killed: it did not leave").await;
    assert!(up.ended().await.success());
    all_gone(&all).await;
}
