//! Whoever starts first waits for the others.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Server, Stack, eventually};

#[tokio::test]
async fn services_start_before_nats_and_in_any_order() {
    let mut stack = Stack::empty(Server::start_secured().await, &[]);
    let nats = stack.nats.take().unwrap().kill();
    for service in [
        "gateway",
        "user-service",
        "notification-service",
        "database-service",
    ] {
        stack.add(service, service);
    }
    // They have noticed that nobody is there, and go on.
    for process in stack.processes.values_mut() {
        process.says("can't reach NATS").await;
    }
    stack.nats = Some(nats.start_again().await);
    for service in [
        "gateway",
        "user-service",
        "notification-service",
        "database-service",
    ] {
        stack.ready(service).await;
    }
    eventually("the first answer", async || {
        (stack.get("/user/1").await.status == 200).then_some(())
    })
    .await;
    for process in stack.processes.values() {
        assert_eq!(
            1,
            process.output().matches("can't reach NATS").count(),
            "once an outage"
        );
    }
    // Nobody has said where mails go.
    let said = stack.processes["notification-service"].output();
    assert!(
        said.contains("nobody receives them; set SMTP_URL"),
        "{said}"
    );
}

#[tokio::test]
async fn the_gateway_answers_503_until_the_others_are_there() {
    let mut stack = Stack::empty(Server::start_secured().await, &[]);
    stack.add("gateway", "gateway");
    stack.ready("gateway").await;
    stack.get("/user/1").await.problem(503);
    for service in ["user-service", "database-service"] {
        stack.add(service, service);
        stack.ready(service).await;
    }
    assert_eq!(200, stack.get("/user/1").await.status);
}

#[tokio::test]
async fn a_service_survives_a_nats_that_goes_away_while_it_joins() {
    // A server that greets, and hangs up at the first subscription.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let nats = Server::start().await;
    let url = format!("nats://127.0.0.1:{port}");
    let mut stack = Stack::empty(nats, &[("NATS_URL", &url)]);
    stack.add("user-service", "user-service");
    let (mut stream, _) = listener.accept().await.unwrap();
    let info = r#"INFO {"server_id":"x","version":"2.15.1","go":"","host":"","port":0,"headers":true,"max_payload":65536,"proto":1}"#;
    stream
        .write_all(format!("{info}\r\n").as_bytes())
        .await
        .unwrap();
    let mut said = String::new();
    while !said.contains("SUB ") {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.unwrap();
        said.push_str(&String::from_utf8_lossy(&bytes[..read]));
        if said.contains("PING") {
            stream.write_all(b"PONG\r\n").await.unwrap();
        }
    }
    drop((stream, listener));
    let _nats = Server::start_on(port).await;
    stack.ready("user-service").await;
}
