//! The NATS client tells of its connection by events, and drops them when too many wait.

use nats_serve::{Client, Instance, client::Options};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{echo::CALLER, eventually};

const INFO: &str =
    r#"INFO {"server_id":"X","version":"2.15.0","proto":1,"max_payload":65536,"headers":true}"#;

#[tokio::test]
async fn a_lost_connection_is_noted_though_its_event_was_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let instance = Instance::new(CALLER);
    let options = Options {
        url,
        ..Options::default()
    };
    let (client, mut server) = tokio::join!(
        async { Client::connect(&instance, options).await.unwrap() },
        accept(&listener)
    );
    client.ready().await;
    drop(listener);
    // More errors than events can wait, and the end, all in one piece.
    let errors = "-ERR 'Something'\r\n".repeat(400);
    server.write_all(errors.as_bytes()).await.unwrap();
    drop(server);
    eventually("the end of the connection", async || {
        let report = client.health().report().await;
        report.words("nats")?.contains("is lost").then_some(())
    })
    .await;
}

/// Lets a client in, like a server.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let info = format!("{INFO}\r\n");
    stream.write_all(info.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    while !said.windows(4).any(|four| four == b"PING") {
        assert!(stream.read_buf(&mut said).await.unwrap() > 0);
    }
    stream.write_all(b"PONG\r\n").await.unwrap();
    stream
}
