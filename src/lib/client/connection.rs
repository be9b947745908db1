//! The connection to NATS: options, and what its events mean for waiting calls.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{ConnectOptions, Event, ServerAddr, ServerError};
use rand::Rng;
use tokio::sync::watch;

use super::{Error, Inbox, Trouble};
use crate::{Health, Instance, health, telemetry::spans};

/// A frozen server is noticed after three of these; the library's own default is a minute.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Messages that may wait in one subscription; what finds it full is dropped, and counted. The receive
/// loops never block, so it stays near zero. After a process was frozen everything that the kernel holds
/// for it comes at once: 6 MiB by default, fewer than this many requests with our headers.
const SUBSCRIPTION_CAPACITY: usize = 65_536;
/// Longest pause between two attempts to reconnect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

pub(super) struct Connection {
    pub(super) nats: async_nats::Client,
    pub(super) server: spans::Server,
    pub(super) connected: watch::Receiver<bool>,
}

impl Connection {
    pub(super) async fn open(
        instance: &Instance,
        url: &str,
        inbox: &Arc<Inbox>,
        trouble: &Arc<Trouble>,
        health: &Health,
    ) -> Result<Self, Error> {
        let servers = servers(url)?;
        let server = servers.first().map(|first| spans::Server {
            host: first.host().to_owned(),
            port: first.port(),
        });
        let (up, connected) = watch::channel(false);
        health.fail(health::NATS, "not connected yet");
        let events = Arc::new(Events {
            url: without_credentials(url),
            up,
            inbox: Arc::clone(inbox),
            trouble: Arc::clone(trouble),
            health: health.clone(),
            complained: AtomicBool::new(false),
        });
        let nats = ConnectOptions::new()
            .name(format!("{}-{}", instance.service().name(), instance.id()))
            .custom_inbox_prefix(format!("_INBOX.{}", instance.service().subject()))
            .retry_on_initial_connect()
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_delay_callback(reconnect_delay)
            .event_callback(move |event| {
                let events = Arc::clone(&events);
                async move { events.note(&event) }
            })
            .connect(servers)
            .await
            .map_err(Error::Connect)?;
        Ok(Self {
            nats,
            server: server.unwrap_or_default(),
            connected,
        })
    }
}

fn servers(url: &str) -> Result<Vec<ServerAddr>, Error> {
    url.split(',')
        .map(|one| {
            ServerAddr::from_str(one.trim()).map_err(|source| Error::Url {
                url: without_credentials(one),
                source,
            })
        })
        .collect()
}

/// Returns a URL, or several, as it may be shown: a password in it is for the server alone.
pub(crate) fn without_credentials(url: &str) -> String {
    let shown = url.split(',').map(|one| match one.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            format!("{scheme}://***@{host}")
        }
        None => one.to_owned(),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// Doubles from 10 ms; jittered, so that a hundred processes don't come back in step.
fn reconnect_delay(attempts: usize) -> Duration {
    let doubled = Duration::from_millis(10 << attempts.min(7));
    doubled
        .min(MAX_RECONNECT_DELAY)
        .mul_f64(rand::rng().random_range(0.5..1.0))
}

struct Events {
    /// As it may be shown.
    url: String,
    up: watch::Sender<bool>,
    inbox: Arc<Inbox>,
    trouble: Arc<Trouble>,
    health: Health,
    /// The present outage has been logged.
    complained: AtomicBool,
}

impl Events {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.trouble.connected();
                self.up.send_replace(true);
                self.health.pass(health::NATS, "connected");
                if self.complained.swap(false, Ordering::Relaxed) {
                    tracing::info!("connected to NATS");
                }
            }
            Event::Disconnected => {
                self.up.send_replace(false);
                let lost = "the connection is lost; reconnecting";
                self.health.fail(health::NATS, lost);
                // Replies to these calls are lost; waiting on would only hide it.
                self.inbox.abandon();
                self.complain("lost the connection to NATS; reconnecting");
            }
            Event::ClientError(error) => {
                self.complain(&format!(
                    "can't reach NATS at {} ({error}); trying on",
                    self.url
                ));
            }
            Event::ServerError(ServerError::Other(error)) => {
                self.trouble.refused(error, &self.inbox);
            }
            Event::ServerError(error) => tracing::error!("NATS refused: {error}"),
            Event::SlowConsumer(_) => self.trouble.dropped_one(),
            Event::LameDuckMode => tracing::warn!("the NATS server is about to leave"),
            Event::Draining | Event::Closed => {}
        }
    }

    fn complain(&self, words: &str) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!("{words}");
        }
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_are_jittered_and_bounded() {
        for attempts in [0, 1, 7, 8, 1_000_000] {
            let delay = reconnect_delay(attempts);
            assert!(delay >= Duration::from_millis(5) && delay <= MAX_RECONNECT_DELAY);
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(
            "nats://***@a:4222,nats://b:4222",
            without_credentials("nats://me:se@cret@a:4222,nats://b:4222")
        );
    }

    #[test]
    fn a_malformed_url_is_named() {
        let error = servers("nats://a:4222,::").expect_err("malformed");
        assert!(error.to_string().starts_with("`::` is not a NATS URL"));
    }
}
