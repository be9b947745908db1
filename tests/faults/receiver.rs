//! A receiver of spans by OTLP over HTTP that behaves in one bad way or another.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

/// What it does with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Takes it and says nothing, whatever comes.
    Silent,
    /// Closes it at once.
    HangingUp,
    /// Takes what is sent, and says so after a while.
    Answering(Duration),
}

/// Listens as long as it lives.
#[derive(Debug)]
pub(crate) struct Receiver {
    endpoint: String,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    manner: watch::Sender<Manner>,
    exports: AtomicUsize,
}

impl Receiver {
    pub(crate) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            manner: watch::Sender::new(manner),
            exports: AtomicUsize::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            endpoint,
            shared,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Behaves so from the next connection on.
    pub(crate) fn becomes(&self, manner: Manner) {
        self.shared.manner.send_replace(manner);
    }

    /// How often it was sent something and has said that it took it.
    pub(crate) fn exports(&self) -> usize {
        self.shared.exports.load(Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    // Held open, and never looked at.
    let mut silent = Vec::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let manner = *shared.manner.borrow();
        match manner {
            Manner::Silent => silent.push(stream),
            Manner::HangingUp => drop(stream),
            Manner::Answering(after) => {
                connections.spawn(answer(stream, after, Arc::clone(&shared)));
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(stream: TcpStream, after: Duration, shared: Arc<Shared>) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            // Whoever gives up closes the connection.
            if request.into_body().collect().await.is_ok() {
                sleep(after).await;
                shared.exports.fetch_add(1, Relaxed);
            }
            // All fields of the answer have their defaults: nothing was refused.
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = serving.await;
}
