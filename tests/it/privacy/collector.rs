//! A collector that keeps what it gets as it came, byte by byte.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

#[derive(Debug, Default, Clone)]
pub(super) struct Received {
    /// Of the requests, their first lines included.
    pub(super) heads: Vec<u8>,
    pub(super) payloads: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Collector {
    pub(super) url: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Received>>::default();
        let all = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(keep(connection, Arc::clone(&all)));
            }
        });
        Self { url, received }
    }

    pub(super) fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

/// Answers each request on a connection, until it is closed.
async fn keep(mut connection: TcpStream, received: Arc<Mutex<Received>>) -> Option<()> {
    let mut unread = Vec::new();
    loop {
        let head = loop {
            let end = unread.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break unread.drain(..end + 4).collect::<Vec<u8>>();
            }
            read(&mut connection, &mut unread).await?;
        };
        let lines = String::from_utf8_lossy(&head).to_lowercase();
        let (_, length) = lines.split_once("content-length: ").unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        while unread.len() < length {
            read(&mut connection, &mut unread).await?;
        }
        {
            let mut received = received.lock().unwrap();
            received.heads.extend(&head);
            received.payloads.extend(unread.drain(..length));
        }
        connection.write_all(ANSWER).await.ok()?;
    }
}

/// Reads what comes next; `None` at the end.
async fn read(connection: &mut TcpStream, unread: &mut Vec<u8>) -> Option<()> {
    let bytes = connection.read_buf(unread).await.ok()?;
    (bytes > 0).then_some(())
}
