//! The connection to NATS: options, and what its events mean for waiting calls.

use std::{
    io,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::{
    ClientError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError,
    connection::State,
};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::{Error, Inbox, Nkey, Options, Tls, Trouble, servers::Servers};
use crate::{Health, Instance, Service, health};

/// Messages that may wait in one subscription; the library drops what finds it full. On a runtime of one thread it
/// is never full: the connection's task reads 128 times `READ_BUFFER`, 1 MiB, before it makes way, which is less than
/// this many messages of 20 bytes, and a replica's loop then takes all that there is.
const SUBSCRIPTION_CAPACITY: usize = 65_536;
const READ_BUFFER: u16 = 8 * 1024;
/// How often it is looked whether events were missed: the library drops them when 128 wait to be noted.
const LOOK: Duration = Duration::from_secs(1);
/// For the way to one server and the handshake. A host that is gone answers nothing, and others are tried then. Its name
/// is looked up before, in the system's own time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Connection {
    pub(super) nats: async_nats::Client,
    pub(super) servers: Arc<Servers>,
    pub(super) connected: watch::Receiver<bool>,
    pub(super) refused: Arc<AtomicBool>,
    pub(super) looking: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) async fn open(
        instance: &Instance,
        options: &Options,
        inbox: &Arc<Inbox>,
        trouble: &Arc<Trouble>,
        health: &Health,
    ) -> Result<Self, Error> {
        let named = addresses(&options.url)?;
        let servers = Arc::new(Servers::new(named.first()));
        let (up, connected) = watch::channel(false);
        health.fail(health::NATS, "not connected yet");
        let refused = Arc::<AtomicBool>::default();
        let events = Arc::new(Events {
            url: without_credentials(&options.url),
            service: instance.service(),
            public_key: options.nkey.as_ref().map(|key| key.public_key().to_owned()),
            up,
            servers: Arc::clone(&servers),
            inbox: Arc::clone(inbox),
            trouble: Arc::clone(trouble),
            health: health.clone(),
            connects: AtomicU64::new(0),
            complained: AtomicBool::new(false),
            refused: Arc::clone(&refused),
        });
        let (noting, choosing) = (Arc::clone(&events), Arc::clone(&servers));
        let nats = secured(credentials(options.nkey.as_ref()), &options.tls)
            .name(format!("{}-{}", instance.service().name(), instance.id()))
            .custom_inbox_prefix(format!("_INBOX.{}", instance.service().subject()))
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(options.ping_interval)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .read_buffer_capacity(READ_BUFFER)
            .reconnect_to_server_callback(move |known, last| {
                let chosen = choosing.choose(&known, &last);
                async move { chosen }
            })
            .event_callback(move |event| {
                let events = Arc::clone(&noting);
                async move { events.note(&event) }
            })
            .connect(named)
            .await
            .map_err(Error::Connect)?;
        let looking = AbortOnDropHandle::new(tokio::spawn(look(nats.clone(), events)));
        Ok(Self {
            nats,
            servers,
            connected,
            refused,
            looking,
        })
    }
}

/// Notes what an event that was dropped would have: each time that two looks in a row find another state than the one
/// that was noted, or more connections.
async fn look(nats: async_nats::Client, events: Arc<Events>) {
    let mut missed_before = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let is_up = nats.connection_state() == State::Connected;
        let connects = nats.statistics().connects.load(Ordering::Relaxed);
        let is_another = connects > events.connects.load(Ordering::Relaxed);
        let is_missed = is_up != *events.up.borrow() || is_another;
        // The same as a second ago: an event that is only late would have been noted by now.
        let found = is_missed.then_some((is_up, connects));
        if found.is_some() && found == missed_before {
            if is_another || !is_up {
                events.note(&Event::Disconnected);
            }
            if is_up {
                events.note(&Event::Connected);
            }
            events.connects.store(connects, Ordering::Relaxed);
        }
        missed_before = found;
    }
}

fn credentials(nkey: Option<&Nkey>) -> ConnectOptions {
    match nkey {
        Some(nkey) => ConnectOptions::with_nkey(nkey.seed().to_owned()),
        None => ConnectOptions::new(),
    }
}

/// A certificate that nobody looks at is none: whoever names any has no connection without TLS.
fn secured(options: ConnectOptions, tls: &Tls) -> ConnectOptions {
    let options = match &tls.ca_file {
        Some(file) => options
            .add_root_certificates(file.clone())
            .require_tls(true),
        None => options,
    };
    match &tls.identity {
        Some(own) => {
            let (certificate, key) = (own.certificate_file.clone(), own.key_file.clone());
            options
                .add_client_certificate(certificate, key)
                .require_tls(true)
        }
        None => options,
    }
}

fn addresses(url: &str) -> Result<Vec<ServerAddr>, Error> {
    let read = |one: &str| without_login(ServerAddr::from_str(one)?);
    url.split(',')
        .map(|one| {
            read(one.trim()).map_err(|source| Error::Url {
                url: without_credentials(url),
                source,
            })
        })
        .collect()
}

/// The library has no use for the login of a URL, but its debug lines show it.
fn without_login(address: ServerAddr) -> io::Result<ServerAddr> {
    let mut url = address.into_inner();
    // A URL that can't have one has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    ServerAddr::from_url(url)
}

/// Returns a URL, or several, as it may be shown: a password in it is for the server alone.
///
/// A password may have a comma, too. What stands before an `@` and begins with no scheme may be the rest of one.
pub(crate) fn without_credentials(url: &str) -> String {
    let mut is_login = false;
    let shown = url.rsplit(',').map(|one| {
        let (before, host) = one.rsplit_once('@').unzip();
        let scheme = one.split_once("://").map(|(scheme, _)| scheme);
        let scheme = scheme.map(|scheme| format!("{scheme}://"));
        let was_login = is_login;
        is_login = scheme.is_none() && (is_login || before.is_some());
        let scheme = scheme.unwrap_or_default();
        match host {
            Some(host) => format!("{scheme}***@{host}"),
            None if was_login => format!("{scheme}***"),
            None => one.to_owned(),
        }
    });
    let shown: Vec<_> = shown.collect();
    shown.into_iter().rev().collect::<Vec<_>>().join(",")
}

struct Events {
    /// As it may be shown.
    url: String,
    service: Service,
    public_key: Option<String>,
    up: watch::Sender<bool>,
    servers: Arc<Servers>,
    inbox: Arc<Inbox>,
    trouble: Arc<Trouble>,
    health: Health,
    /// How often it came about, as far as was told.
    connects: AtomicU64,
    /// The present outage has been logged.
    complained: AtomicBool,
    /// The last server that answered did not let us in, which has been logged.
    refused: Arc<AtomicBool>,
}

impl Events {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.connects.fetch_add(1, Ordering::Relaxed);
                self.servers.connected();
                self.trouble.connected();
                self.up.send_replace(true);
                self.health.pass(health::NATS, "connected");
                self.refused.store(false, Ordering::Relaxed);
                if self.complained.swap(false, Ordering::Relaxed) {
                    tracing::info!("connected to NATS");
                }
            }
            Event::Disconnected => {
                if self.up.send_replace(false) {
                    self.trouble.disconnected();
                }
                let lost = "the connection is lost; reconnecting";
                self.health.fail(health::NATS, lost);
                // Replies to these calls are lost; waiting on would only hide it.
                self.inbox.abandon();
                self.complain("lost the connection to NATS; reconnecting");
            }
            Event::ClientError(error) if is_refusal(error) => self.complain_of_refusal(),
            Event::ClientError(error) => {
                let reason = self.servers.failure().unwrap_or_else(|| error.to_string());
                self.complain(&format!(
                    "can't reach NATS at {} ({reason}); trying on",
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

    /// Said whatever else was said of this outage: waiting does not mend it, and somebody has to act.
    fn complain_of_refusal(&self) {
        let reason = match &self.public_key {
            Some(_) => "the server refuses this process's nkey",
            None => "the server refuses this process, which shows no nkey",
        };
        self.health.fail(health::NATS, reason);
        if self.refused.swap(true, Ordering::Relaxed) {
            return;
        }
        self.complained.store(true, Ordering::Relaxed);
        let (url, service) = (&self.url, self.service.name());
        match &self.public_key {
            Some(key) => tracing::error!(
                "NATS at {url} does not know the nkey of this process, {key}; put it into the server's \
                 configuration, or start {service} with the nkey that is there; trying on"
            ),
            None => tracing::error!(
                "NATS at {url} refuses {service}, which shows no nkey; start it with its own; trying on"
            ),
        }
    }

    fn complain(&self, words: &str) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            tracing::warn!("{words}");
        }
    }
}

/// The library tells the kind of a failed attempt in words only.
fn is_refusal(error: &ClientError) -> bool {
    let words = ConnectErrorKind::AuthorizationViolation.to_string();
    matches!(error, ClientError::Other(said) if *said == words)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        for (url, shown) in [
            (
                "nats://me:se@cret@a:4222,nats://b:4222",
                "nats://***@a:4222,nats://b:4222",
            ),
            (
                "nats://a,nats://me:s,e,cret@b,c",
                "nats://a,nats://***,***,***@b,c",
            ),
            ("me:s,ecret@a", "***,***@a"),
        ] {
            assert_eq!(shown, without_credentials(url));
        }
    }

    #[test]
    fn the_library_is_told_no_login_that_its_debug_lines_could_show() {
        let servers = addresses("nats://me:secret@a:4222/x,token@b").expect("two servers");
        let told = format!("{servers:?}");
        assert!(
            !told.contains("secret") && !told.contains("token"),
            "{told}"
        );
        assert_eq!(("a", 4222), (servers[0].host(), servers[0].port()));
        assert_eq!(("b", 4222), (servers[1].host(), servers[1].port()));
    }

    #[test]
    fn a_malformed_url_is_named() {
        let error = addresses("nats://a:4222,::").expect_err("malformed");
        assert!(
            error
                .to_string()
                .starts_with("`nats://a:4222,::` is not a NATS URL")
        );
    }
}
