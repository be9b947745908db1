//! What a process says of itself at its admin address, and what `check` makes of it.

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::{Duration, Instant},
};

use pretty_assertions::assert_eq;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Process, Server, Stack, eventually, process};

/// Where a process tells how it fares: in the log from its start.
async fn admin(process: &mut Process) -> String {
    process.says("health and metrics at http://").await;
    process.admin()
}

async fn get(admin: &str, path: &str) -> (u16, Value) {
    let url = format!("http://{admin}{path}");
    let reply = reqwest::get(url).await.unwrap();
    assert_eq!("application/json", reply.headers()["content-type"]);
    (reply.status().as_u16(), reply.json().await.unwrap())
}

/// Waits until it is not ready for a reason, or ready for none.
async fn stands(admin: &str, reason: Option<&str>) -> Value {
    eventually(&format!("{reason:?} at /readyz"), async || {
        let (status, body) = get(admin, "/readyz").await;
        assert_eq!(
            if body["status"] == "ready" { 200 } else { 503 },
            status,
            "{body}"
        );
        (body["reason"].as_str() == reason).then_some(body)
    })
    .await
}

fn check(stack: &Stack, arguments: &[&str], admin: &str) -> (bool, String) {
    let mut all = vec!["check"];
    all.extend(arguments);
    let (good, text) = process::run(stack.folder(), &all, &[("ADMIN_ADDR", admin)]);
    assert_eq!(1, text.lines().count(), "{text}");
    (good, text)
}

#[tokio::test]
async fn a_service_is_ready_while_nats_is_there() {
    let nats = Server::start().await;
    let port = nats.port();
    let mut stack = Stack::empty(nats, &[]);
    stack.nats.take().unwrap().kill();
    stack.add("user-service", "user-service");
    let admin = admin(stack.processes.get_mut("user-service").unwrap()).await;
    assert_eq!(
        (
            503,
            json!({
                "status": "not ready",
                "reason": "group: not joined yet; nats: not connected yet",
                "checks": {"group": "not joined yet", "nats": "not connected yet"},
            })
        ),
        get(&admin, "/readyz").await
    );
    assert_eq!(
        (200, json!({"status": "alive"})),
        get(&admin, "/livez").await
    );

    let nats = Server::start_on(port).await;
    stack.ready("user-service").await;
    assert_eq!(
        (
            200,
            json!({"status": "ready", "checks": {"group": "joined", "nats": "connected"}})
        ),
        get(&admin, "/readyz").await
    );
    let output = stack.processes["user-service"].output();
    let ready = output.lines().find(|line| line.contains("is ready"));
    assert!(
        ready
            .unwrap()
            .contains(&format!("health and metrics at http://{admin}")),
        "{output}"
    );

    nats.kill();
    let lost = "group: lost with the connection, not joined again yet; nats: the connection is lost; reconnecting";
    stands(&admin, Some(lost)).await;
    assert_eq!(200, get(&admin, "/livez").await.0);
    let (good, words) = check(&stack, &[], &admin);
    assert_eq!(
        (false, format!("nats-serve: not ready: {lost}\n")),
        (good, words)
    );
    assert!(check(&stack, &["--live"], &admin).0);

    stack.nats = Some(Server::start_on(port).await);
    stands(&admin, None).await;
}

#[tokio::test]
async fn a_process_that_leaves_says_so_while_it_answers_what_it_has_accepted() {
    let mut stack = Stack::with(&[("SHUTDOWN_GRACE", "60s")]).await;
    let admin = admin(stack.processes.get_mut("gateway").unwrap()).await;
    let checks = &stands(&admin, None).await["checks"];
    let listening = format!("listening on {}", stack.address());
    assert_eq!(
        &json!({"group": "joined", "http": listening, "nats": "connected"}),
        checks
    );

    // A request whose body is on its way: the gateway asks for it once it works on the request.
    let body = r#"{"name":"David","email":"david@example.com"}"#;
    let head = format!(
        "POST /register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         request-timeout-ms: 30000\r\nexpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(stack.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(
        "HTTP/1.1 100 Continue\r\n\r\n",
        String::from_utf8_lossy(&go_on)
    );

    let mut gateway = stack.processes.remove("gateway").unwrap();
    gateway.signal(rustix::process::Signal::TERM);
    stands(&admin, Some("group: leaving")).await;
    assert_eq!(200, get(&admin, "/livez").await.0);

    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 Created"), "{answer}");
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn a_database_service_whose_file_is_gone_is_not_ready() {
    let mut stack = Stack::empty(Server::start().await, &[]);
    stack.add("database-service", "database-service");
    stack.ready("database-service").await;
    let admin = admin(stack.processes.get_mut("database-service").unwrap()).await;
    let body = stands(&admin, None).await;
    assert_eq!("ok", body["checks"]["store"]);

    let file = stack.folder().join(".nats-serve/nats-serve.db");
    let elsewhere = stack.folder().join("elsewhere.db");
    std::fs::rename(&file, &elsewhere).unwrap();
    stands(&admin, Some("store: the database file is gone")).await;
    std::fs::write(&file, "").unwrap();
    stands(
        &admin,
        Some("store: the database file was replaced by another"),
    )
    .await;
    std::fs::rename(&elsewhere, &file).unwrap();
    stands(&admin, None).await;
}

#[tokio::test]
async fn discovery_tells_where_each_process_tells_its_health() {
    let stack = Stack::start().await;
    let (good, text) = process::run(
        stack.folder(),
        &["status", "--json"],
        &stack.nats_variables(),
    );
    assert!(good, "{text}");
    let replicas: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(4, replicas.len());
    for replica in replicas {
        let admin = replica["metadata"]["admin"].as_str().unwrap();
        stands(admin, None).await;
        let (good, words) = check(&stack, &[], admin);
        assert!(
            good && words.starts_with("ready: group joined, "),
            "{words}"
        );
    }
}

#[tokio::test]
async fn a_check_says_in_one_line_what_is_wrong() {
    let mut stack = Stack::empty(Server::start().await, &[]);
    stack.add("user-service", "user-service");
    stack.ready("user-service").await;
    let admin = admin(stack.processes.get_mut("user-service").unwrap()).await;
    let (_, port) = admin.split_once(':').unwrap();
    let good = (true, "ready: group joined, nats connected\n".to_owned());
    assert_eq!(good, check(&stack, &[], &admin));
    assert_eq!(good, check(&stack, &[], &format!("0.0.0.0:{port}")));
    assert_eq!(
        (true, "alive\n".to_owned()),
        check(&stack, &["--live"], &admin)
    );

    // Accepts, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let answering = stranger.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = answering.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            .unwrap();
    });
    let stranger = stranger.local_addr().unwrap().to_string();
    for (arguments, admin, words) in [
        (
            &["--timeout=100ms"][..],
            &*silent,
            "no answer from http://127.0.0.1",
        ),
        (&[], "127.0.0.1:1", "can't ask http://127.0.0.1:1/readyz: "),
        (
            &[],
            "127.0.0.1:1",
            "is the process running, with this ADMIN_ADDR?",
        ),
        (
            &["--live"],
            "127.0.0.1:1",
            "can't ask http://127.0.0.1:1/livez",
        ),
        // Set to nothing, it is the default, and that names no port.
        (&[], "", "Set ADMIN_ADDR (or --admin-addr)"),
        (&[], &*stranger, "no service of ours"),
    ] {
        let (good, text) = check(&stack, arguments, admin);
        assert!(!good && text.contains(words), "{words}: {text}");
    }
    let (good, help) = process::run(stack.folder(), &["check", "--help"], &[]);
    assert!(
        good && help.contains("Address of the process to ask") && !help.contains("port 0"),
        "{help}"
    );
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_error() {
    let stack = Stack::start().await;
    assert_eq!(200, stack.get("/user/1").await.status);
    let mut variables = stack.nats_variables();
    let admin = stack.admin("gateway");
    variables.push(("ADMIN_ADDR", &admin));
    for arguments in [
        &["keys"][..],
        &["status"],
        &["status", "--json"],
        &["check"],
        &["trace"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let program = process::program().as_ref();
        let output = process::command(program, stack.folder(), arguments, &variables)
            .stdout(writer)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.is_empty(),
            "{arguments:?}: {said}"
        );
    }
}

#[tokio::test]
async fn an_admin_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let variables = [("ADMIN_ADDR", &*taken), ("NATS_URL", "nats://127.0.0.1:1")];
    for (command, words) in [
        (
            "user-service",
            format!("can't listen on {taken}; stop what listens there, or set ADMIN_ADDR"),
        ),
        // Its services would take the address from one another.
        (
            "up",
            format!("ADMIN_ADDR is {taken}, which one process can have"),
        ),
    ] {
        let (good, text) = process::run(folder.path(), &[command], &variables);
        assert!(!good && text.contains(&words), "{text}");
    }
}

#[tokio::test]
async fn a_gateway_with_a_delay_says_that_it_leaves_and_serves_on_meanwhile() {
    const DELAY: Duration = Duration::from_secs(2);
    let delay = format!("{}s", DELAY.as_secs());
    let mut stack = Stack::with(&[("SHUTDOWN_DELAY", &delay)]).await;
    let kept = stack.get("/user/1").await;
    assert_eq!(None, kept.headers.get("connection"));

    let told = Instant::now();
    stack.processes["gateway"].signal(Signal::TERM);
    stands(&stack.admin("gateway"), Some("group: leaving")).await;
    let url = format!("http://{}/user/1", stack.address());
    let mut answers = 0;
    // Each on a connection of its own.
    while let Ok(reply) = reqwest::get(&url).await {
        assert_eq!(200, reply.status());
        assert_eq!("close", reply.headers()["connection"]);
        answers += 1;
    }
    assert!(told.elapsed() >= DELAY, "{:?}", told.elapsed());
    assert!(answers > 1, "{answers}");
    let mut gateway = stack.processes.remove("gateway").unwrap();
    assert!(gateway.ended().await.success(), "{}", gateway.output());
}

#[tokio::test]
async fn a_delay_that_leaves_no_grace_is_refused() {
    let stack = Stack::empty(Server::start().await, &[]);
    let url = stack.nats.as_ref().unwrap().url();
    let (good, said) = process::run(
        stack.folder(),
        &["gateway", "--shutdown-delay", "10s"],
        &[("NATS_URL", &url), ("HTTP_ADDR", "127.0.0.1:0")],
    );
    assert!(
        !good && said.contains("SHUTDOWN_DELAY is 10s of SHUTDOWN_GRACE, 10s"),
        "{said}"
    );
}
