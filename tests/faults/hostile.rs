//! Somebody who may publish sends what no client would: it costs a reconnect at most, and is logged.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

use crate::{
    bench::{Bench, shared_turn},
    load::Load,
    settings::figure,
    support::{Server, eventually},
};

/// Speaks to the server byte by byte, and returns once it has taken everything.
async fn publish(nats: &Server, messages: &[u8]) {
    let connection = TcpStream::connect(("127.0.0.1", nats.port()))
        .await
        .unwrap();
    let mut connection = BufReader::new(connection);
    let mut info = String::new();
    connection.read_line(&mut info).await.unwrap();
    let hello = br#"CONNECT {"verbose":false,"pedantic":false,"headers":true}"#;
    let all = [hello, &b"\r\n"[..], messages, b"PING\r\n"].concat();
    connection.get_mut().write_all(&all).await.unwrap();
    let mut pong = [0; 6];
    connection.read_exact(&mut pong).await.unwrap();
    assert_eq!("PONG\r\n", String::from_utf8_lossy(&pong));
}

#[tokio::test]
async fn malformed_headers_and_subjects_cost_a_reconnect_at_most() {
    let _turn = shared_turn().await;
    let services = [("database-service", 1), ("user-service", 1), ("gateway", 1)];
    let mut bench = Bench::on(Server::start().await, &services, &[]).await;
    let nats = bench.stack.nats.take().unwrap();
    let instance = bench.instance("user-service-1");

    let block = b"GARBAGE\xff\xfe no colon\r\n\r\n";
    let header = [
        format!(
            "HPUB svc.user.get_user_profile {} {}\r\n",
            block.len(),
            block.len() + 2
        )
        .as_bytes(),
        block,
        b"{}\r\n",
    ]
    .concat();
    let reply = b"PUB svc.user.get_user_profile _INBOX.\xff\xfe 2\r\n{}\r\n".to_vec();
    let subject = [
        format!("PUB inst.user.{instance}.").as_bytes(),
        b"\xff\xfe 2\r\n{}\r\n",
    ]
    .concat();
    for (what, message) in [
        ("headers", header),
        ("a reply subject", reply),
        ("a subject", subject),
    ] {
        let said = bench.stack.processes["user-service-1"].output().len();
        let sent = std::time::Instant::now();
        publish(&nats, &message).await;
        eventually("a line about it", async || {
            let output = bench.stack.processes["user-service-1"].output();
            output[said..]
                .contains("lost the connection to NATS")
                .then_some(())
        })
        .await;
        let load = Load::start(bench.get_user("gateway-1"), 50);
        let well = eventually("a success", async || load.success_since(sent)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let output = bench.stack.processes["user-service-1"].output();
        let reconnects = output[said..].matches("lost the connection").count();
        assert!(reconnects <= 1, "{}", &output[said..]);
        let late = std::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let report = load.stop().await;
        figure(
            &format!("malformed {what}, success after"),
            format!("{:.1?}", well - sent),
        );
        report
            .between(late, std::time::Instant::now())
            .assert_no_failure();
    }
    let output = bench.stack.processes["user-service-1"].output();
    assert!(!output.contains("panicked"), "{output}");
    assert!(!output.contains("a bug"), "{output}");
}
