//! A load of registrations, each with an address of its own: oha takes its bodies at random, and would repeat some.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, sleep_until, timeout},
};

use crate::driver::oha::{Outcome, Request as Sent};

/// Longer than any deadline of the application.
const HANGS: Duration = Duration::from_secs(40);
/// Before a request is sent again.
const PAUSE: Duration = Duration::from_millis(100);

/// No address is registered twice, whichever application it is.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Requests that were sent again.
static REPEATED: AtomicU64 = AtomicU64::new(0);

/// How many requests were sent again since this was asked.
pub(in crate::driver) fn repeated() -> u64 {
    REPEATED.swap(0, Relaxed)
}

/// Registers over so many connections. With a rate so many a second, each timed from when it was due.
pub(in crate::driver) async fn load(
    at: &str,
    connections: u32,
    duration: Duration,
    rate: Option<u32>,
) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let until = began + duration;
    let each = rate.map(|rate| Duration::from_secs(1) / rate);
    let all = (0..connections).map(|nth| async move {
        let mut due = each.map(|each| (began + each * nth, each * connections));
        let mut connection = connect(at).await?;
        let mut took = Vec::new();
        loop {
            let started = match &mut due {
                Some((at, pause)) => {
                    let started = *at;
                    *at += *pause;
                    started
                }
                None => Instant::now(),
            };
            if started.max(Instant::now()) >= until {
                return anyhow::Ok(took);
            }
            sleep_until(started.into()).await;
            let sent = Instant::now();
            register(&mut connection, at).await?;
            took.push(Sent {
                sent: started - began,
                took: started.elapsed(),
                answered: sent.elapsed(),
            });
        }
    });
    let took = try_join_all(all).await?;
    let took: Vec<Sent> = took.into_iter().flatten().collect();
    Outcome::of(&took, duration, rate)
}

/// Sends one request, on a connection of its own.
pub(in crate::driver) async fn get(at: &str, path: &str) -> anyhow::Result<StatusCode> {
    let mut connection = connect(at).await?;
    let request = Request::get(path).header(HOST, at);
    let answer = connection.send_request(request.body(Full::default())?);
    Ok(answer.await?.status())
}

async fn connect(at: &str) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(at).await;
    let stream = stream.with_context(|| format!("{at} can't be reached"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Registers somebody new. What is answered 503 or 504 is sent again with the same key, as the API says, and all of it is
/// that registration's time; any other failure ends the load.
async fn register(connection: &mut SendRequest<Full<Bytes>>, at: &str) -> anyhow::Result<()> {
    let nth = NEXT.fetch_add(1, Relaxed);
    let registering = async {
        loop {
            let (status, body) = ask(connection, at, nth).await?;
            match status {
                StatusCode::CREATED => return Ok(()),
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                    REPEATED.fetch_add(1, Relaxed);
                    sleep(PAUSE).await;
                }
                _ => bail!("a registration is answered {status}: {body}"),
            }
        }
    };
    let registered = timeout(HANGS, registering).await;
    registered.context("a registration does not come about")?
}

async fn ask(
    connection: &mut SendRequest<Full<Bytes>>,
    at: &str,
    nth: u64,
) -> anyhow::Result<(StatusCode, String)> {
    let body = format!(r#"{{"name":"Ada Lovelace","email":"ada{nth}@example.com"}}"#);
    let request = Request::post("/register")
        .header(HOST, at)
        .header(CONTENT_TYPE, "application/json")
        .header("idempotency-key", format!("load-{nth}"))
        .body(Full::from(body))?;
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
