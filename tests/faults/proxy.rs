//! A TCP proxy between processes and nats-server, for what a network does: delay, cut, go silent, and
//! lose a reply.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    frames::{Frames, subject},
    support::Server,
};

/// Chunks under way in one direction; then the sender feels it.
const UNDER_WAY: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Connections stay, and new ones come about, but nothing passes.
    Silent,
    /// Every connection is closed, new ones at once.
    Cut,
}

/// Stands before a nats-server as long as it lives.
#[derive(Debug)]
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    delay: Duration,
    line: watch::Sender<Line>,
    /// The start of the subject of the message that gets lost next.
    loses: Mutex<Option<String>>,
}

impl Proxy {
    pub(crate) async fn start(nats: &Server) -> Self {
        Self::slow(nats, Duration::ZERO).await
    }

    /// Delays each direction; as much gets through as ever.
    pub(crate) async fn slow(nats: &Server, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server: SocketAddr::from(([127, 0, 0, 1], nats.port())),
            delay,
            line: watch::Sender::new(Line::Open),
            loses: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            port,
            shared,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Lets nothing through any more, and says so to nobody.
    pub(crate) fn go_silent(&self) {
        self.shared.line.send_replace(Line::Silent);
    }

    /// Closes all connections, and each new one.
    pub(crate) fn cut(&self) {
        self.shared.line.send_replace(Line::Cut);
    }

    /// Lets everything through again, what has waited first.
    pub(crate) fn heal(&self) {
        self.shared.line.send_replace(Line::Open);
    }

    /// Loses the next message towards a client whose subject begins so.
    pub(crate) fn lose_next(&self, subject: &str) {
        *self.shared.loses.lock().unwrap() = Some(subject.to_owned());
    }

    /// Whether a message that was to get lost has come by.
    pub(crate) fn has_lost(&self) -> bool {
        self.shared.loses.lock().unwrap().is_none()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *shared.line.borrow() != Line::Cut {
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                // Either end may break off at any time; the other is then closed too.
                let _ = carry(client, &shared).await;
            });
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn carry(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut line = shared.line.subscribe();
    tokio::select! {
        done = pump(from_client, to_server, None, shared) => done,
        done = pump(from_server, to_client, Some(Frames::default()), shared) => done,
        _ = line.wait_for(|line| *line == Line::Cut) => Ok(()),
    }
}

async fn pump(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    frames: Option<Frames>,
    shared: &Shared,
) -> io::Result<()> {
    let (sender, chunks) = mpsc::channel(UNDER_WAY);
    let (read, written) = tokio::join!(
        read(from, sender, frames, shared),
        write(to, chunks, shared.line.subscribe())
    );
    read.and(written)
}

async fn read(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<(Instant, Bytes)>,
    mut frames: Option<Frames>,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let bytes = match &mut frames {
            Some(frames) => shared.sift(frames, &buffer[..length]),
            None => Bytes::copy_from_slice(&buffer[..length]),
        };
        // Each chunk has its own due time, so that a delay costs no throughput.
        let due = Instant::now() + shared.delay;
        if chunks.send((due, bytes)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Bytes)>,
    mut line: watch::Receiver<Line>,
) -> io::Result<()> {
    while let Some((due, bytes)) = chunks.recv().await {
        sleep_until(due).await;
        let _ = line.wait_for(|line| *line != Line::Silent).await;
        to.write_all(&bytes).await?;
    }
    // The end of a connection doesn't pass a silent line either.
    let _ = line.wait_for(|line| *line != Line::Silent).await;
    Ok(())
}

impl Shared {
    /// Leaves out the message that is to get lost.
    fn sift(&self, frames: &mut Frames, bytes: &[u8]) -> Bytes {
        frames.push(bytes);
        let mut kept = Vec::with_capacity(bytes.len());
        while let Some(frame) = frames.next() {
            let mut loses = self.loses.lock().unwrap();
            let lost = (loses.as_deref()).is_some_and(|start| {
                subject(&frame).is_some_and(|subject| subject.starts_with(start))
            });
            if lost {
                *loses = None;
            } else {
                kept.extend_from_slice(&frame);
            }
        }
        kept.into()
    }
}
