//! Runs a router on a listener, and leaves without breaking off an answer.
//!
//! `axum::serve` gives hyper no timer, so a client that never finishes its headers would hold its
//! connection for ever, and shutdown with it. Hence hyper itself.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    http::{HeaderValue, Request, header},
    response::IntoResponse,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tower::ServiceExt;

use super::stream::{Behind, Stream};
use crate::{Code, Shutdown, Status};

/// Longest time for a client to send a request's headers, and between two requests.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for a client to take some more of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection may hold unread, a request's head above all: with all places taken that is 26 MB.
const MAX_HEAD: usize = 32 * 1024;
/// What the edge takes: below the usual limit of open files.
const EDGE: Places = Places {
    connections: 768,
    refusals: 64,
};
/// Time for the last answers to be written and their connections to close.
const CLOSING_TIME: Duration = Duration::from_millis(300);
/// How long those are looked for who have connected already, and what they have sent.
const LAST_LOOK: Duration = Duration::from_millis(20);
/// Pause after an accept that failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whose connection a request came by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// How many connections a listener has at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) connections: usize,
    /// Further connections that are told 503 and closed; beyond these they are closed without a word.
    pub(super) refusals: usize,
}

/// How a listener leaves once it is told.
///
/// A duration alone is the grace, without a delay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leaving {
    /// How long it first goes on as before, so that whoever asks `/readyz` has time to send elsewhere. Each answer closes
    /// its connection meanwhile.
    pub delay: Duration,
    /// How long requests under way may take after that.
    pub grace: Duration,
}

impl From<Duration> for Leaving {
    fn from(grace: Duration) -> Self {
        let delay = Duration::ZERO;
        Self { delay, grace }
    }
}

/// Serves until shutdown is requested, 768 connections at a time: 64 more are
/// answered 503 and closed, further ones closed. A head may have 32 KB and take 10 s, and so long may a client
/// take nothing of its answer.
/// Then goes on for the delay of `leaving`, takes no more connections, and waits at most the grace for requests under way.
/// [`Shutdown::hurry`] ends both.
///
/// # Cancellation
///
/// Dropping the future stops accepting; open connections go on until their requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: &Shutdown,
    leaving: impl Into<Leaving>,
) {
    serve_at_most(EDGE, listener, router, shutdown, leaving.into()).await;
}

/// The same, with as many connections as one says.
pub(super) async fn serve_at_most(
    at_most: Places,
    listener: TcpListener,
    router: Router,
    shutdown: &Shutdown,
    leaving: Leaving,
) {
    let mut door = Door::new(at_most, router);
    let is_closing = Arc::clone(&door.is_closing);
    let mut told = pin!(async {
        shutdown.requested().await;
        is_closing.store(true, Relaxed);
        tokio::select! {
            () = sleep(leaving.delay) => {}
            () = shutdown.hurried() => {}
        }
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut told => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => door.admit(stream, Peer(peer.ip())),
            Err(error) => door.pause_after(&error).await,
        }
    }
    // Who has connected already is answered; dropping the listener would cut him off.
    let last = Instant::now() + LAST_LOOK;
    for _ in 0..at_most.connections {
        let Ok(Ok((stream, peer))) = timeout_at(last, listener.accept()).await else {
            break;
        };
        door.admit(stream, Peer(peer.ip()));
    }
    drop(listener);
    // What they have sent is read before they are told that nothing more is: a connection of which nothing has been
    // read is closed at once.
    sleep(LAST_LOOK).await;
    door.requests.close();
    // Connections without a request have nothing to wait for: a client that never finishes its headers
    // would hold everything up.
    let (requests, behind) = (door.requests.clone(), door.behind.clone());
    let answered = async move {
        loop {
            requests.wait().await;
            sleep(CLOSING_TIME).await;
            // The other half of a head may have come meanwhile, or a client may not have taken all of its answer.
            if requests.is_empty() && !behind.is_any() {
                return;
            }
        }
    };
    tokio::select! {
        () = door.connections.shutdown() => {}
        () = answered => {}
        () = shutdown.hurried() => tracing::warn!("left with open requests: told to leave at once"),
        () = sleep(leaving.grace) => tracing::warn!("left with open requests: the grace time is over"),
    }
}

/// Lets connections in as long as there are places, and tells a few more that there are none.
struct Door {
    server: http1::Builder,
    connections: GracefulShutdown,
    router: Router,
    refusing: Router,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    requests: TaskTracker,
    /// Whether connections end with the answer that they have asked for.
    is_closing: Arc<AtomicBool>,
    /// Clients that have not taken all of their answers.
    behind: Behind,
    at_most: Places,
    /// All places were taken a moment ago, which has been logged.
    full: bool,
    /// Accepting failed a moment ago, which has been logged.
    failing: bool,
}

impl Door {
    fn new(at_most: Places, router: Router) -> Self {
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_buf_size(MAX_HEAD);
        Self {
            server,
            connections: GracefulShutdown::new(),
            router,
            refusing: Router::new().fallback(refuse),
            places: Arc::new(Semaphore::new(at_most.connections)),
            refusals: Arc::new(Semaphore::new(at_most.refusals)),
            requests: TaskTracker::new(),
            is_closing: Arc::default(),
            behind: Behind::default(),
            at_most,
            full: false,
            failing: false,
        }
    }

    fn admit(&mut self, stream: TcpStream, peer: Peer) {
        self.failing = false;
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            self.full = false;
            return self.connect(stream, peer, place, self.router.clone());
        }
        if !self.full {
            let all = self.at_most.connections;
            tracing::warn!("all {all} connections are taken; refusing more");
        }
        self.full = true;
        if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.connect(stream, peer, place, self.refusing.clone());
        }
    }

    async fn pause_after(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::warn!("connections can't be accepted at the moment: {error}");
        }
        self.failing = true;
        sleep(ACCEPT_PAUSE).await;
    }

    fn connect(&self, stream: TcpStream, peer: Peer, place: OwnedSemaphorePermit, router: Router) {
        // Answers are small and complete when they are written; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let requests = self.requests.clone();
        let is_closing = Arc::clone(&self.is_closing);
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let answered = answer(router.clone(), request);
            let token = requests.token();
            let is_last = is_closing.load(Relaxed);
            async move {
                let whole = |body| {
                    Body::new(Whole {
                        body,
                        _token: token,
                    })
                };
                let mut response = answered.await.map(whole);
                if is_last {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        // hyper has no timer for who does not take its answers, and would wait for ever.
        let stream = TokioIo::new(Stream::new(stream, WRITE_TIMEOUT, self.behind.clone()));
        let connection = self.server.serve_connection(stream, service);
        let watched = self.connections.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off or speaks no HTTP is its own affair.
            let _ = watched.await;
            drop(place);
        });
    }
}

/// Answers a connection that is one too many, and closes it.
async fn refuse() -> impl IntoResponse {
    let status = Status::new(Code::Overloaded, "too many connections at the moment");
    ([(header::CONNECTION, "close")], status)
}

/// An answer's body, which ends the request with its own end.
struct Whole {
    body: Body,
    _token: TaskTrackerToken,
}

impl HttpBody for Whole {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn answer(router: Router, request: Request<Incoming>) -> axum::response::Response {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
