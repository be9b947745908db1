//! Mails by SMTP.
//!
//! lettre's transport for async code bounds the connecting and nothing else, and a future of it that is
//! dropped in the middle of a mail gives its connection back to the pool, where the next mail takes the answers
//! to the last for its own. So this uses the transport that blocks: it bounds each read and write by the socket's
//! own timeout, and what has begun is never dropped. It runs on threads for such work, as many as the pool has
//! connections. A server that goes on sending bytes without an end keeps one of those for as long as it does.

mod trouble;

use std::{
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use lettre::{
    Message, SmtpTransport, Transport as _,
    address::Envelope,
    transport::smtp::{
        Error, PoolConfig, SMTP_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT, response::Response,
    },
};
use opentelemetry::{KeyValue, trace::SpanKind};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, spawn_blocking},
    time::timeout_at,
};
use url::Url;

use super::mailer::{Id, Mailer, Prepared, Sent};
use crate::{
    Code, Status,
    app::{api::outbox::Outcome, config::is_loopback},
    telemetry::{
        names::{self, steps::NETWORK_PROTOCOL_NAME},
        spans::{Step, What, parent_of_steps},
    },
};
use trouble::{failed, words};

/// Connections to the server, and threads that use them.
const CONNECTIONS: u32 = 8;
/// A connection that was not used for so long is closed: it may be dead by then without a word, and to find that out takes
/// a mail's time.
const IDLE: Duration = Duration::from_secs(10);

/// An SMTP server; clones share the connections.
#[derive(Debug, Clone)]
pub(super) struct Smtp {
    transport: SmtpTransport,
    places: Arc<Semaphore>,
    patience: Duration,
    host: Arc<str>,
    port: u16,
}

/// A mail as it will be sent.
#[derive(Debug)]
pub(super) struct Letter {
    smtp: Smtp,
    envelope: Envelope,
    text: Vec<u8>,
}

impl Smtp {
    /// Reads the URL. No connection is made: a mail server that is away is no reason not to start.
    pub(super) fn new(url: &Url, patience: Duration) -> anyhow::Result<Self> {
        see_that_no_password_is_told(url)?;
        let builder = SmtpTransport::from_url(url.as_str()).context(
            "SMTP_URL can't be used; write smtps://host, smtp://host?tls=required or smtp://host",
        )?;
        let pool = PoolConfig::new().max_size(CONNECTIONS).idle_timeout(IDLE);
        Ok(Self {
            transport: builder.timeout(Some(patience)).pool_config(pool).build(),
            places: Arc::new(Semaphore::new(CONNECTIONS as usize)),
            patience,
            host: url.host_str().unwrap_or_default().into(),
            port: port(url),
        })
    }

    /// Begins a step, of which a trace tells the server and nothing that is said to it.
    fn step(&self, name: &'static str) -> Step {
        Step::below(parent_of_steps(), || What {
            name: name.into(),
            kind: SpanKind::Client,
            attributes: vec![
                KeyValue::new(NETWORK_PROTOCOL_NAME, "smtp"),
                KeyValue::new(names::SERVER_ADDRESS, Arc::clone(&self.host)),
                KeyValue::new(names::SERVER_PORT, i64::from(self.port)),
            ],
        })
    }

    /// Does something with the server. It is begun while there is a patience left, and awaited until then. What takes
    /// longer goes on by itself, each of its reads and writes within a patience, and keeps its place until it ends.
    async fn with_server<T: Send + 'static>(
        &self,
        name: &'static str,
        until: Instant,
        work: impl FnOnce(&SmtpTransport) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure<T>> {
        let (transport, patience) = (self.transport.clone(), self.patience);
        let last = until.checked_sub(patience).unwrap_or_else(Instant::now);
        let place = timeout_at(last.into(), Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(Failure::Late);
        };
        // It ends with the work, however long somebody waits for that.
        let step = self.step(name);
        let mut work = spawn_blocking(move || {
            let _place = place;
            // This process may have been frozen, or had no thread for it.
            if Instant::now() > last {
                return Err(Failure::Late);
            }
            let done = work(&transport);
            step.end(&done, failed);
            done.map_err(Failure::Smtp)
        });
        match timeout_at(until.into(), &mut work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Failure::Late),
            Err(_) => Err(Failure::UnderWay(work)),
        }
    }
}

/// Why nothing came of it.
enum Failure<T> {
    /// There was no time left to begin.
    Late,
    /// The time ran out meanwhile; this ends when it is done.
    UnderWay(JoinHandle<Result<T, Failure<T>>>),
    Smtp(Error),
}

impl<T> Failure<T> {
    fn into_status(self, code: Code) -> Status {
        let away = Status::new(code, "the mail server is busy or away");
        match self {
            Self::Late | Self::UnderWay(_) => away.with_source("the SMTP server took too long"),
            Self::Smtp(error) => away.with_source(words(&error)),
        }
    }
}

impl Mailer for Smtp {
    type Prepared = Letter;

    /// Sees that the server is there, and leaves a connection to it in the pool.
    async fn prepare(&self, _id: &Id, mail: &Message) -> Result<Letter, Status> {
        let (envelope, text) = (mail.envelope().clone(), mail.formatted());
        // Twice: to begin, and to be done.
        let until = Instant::now() + 2 * self.patience;
        let connecting = self.with_server("smtp connect", until, |transport| {
            transport.test_connection()
        });
        connecting.await.map_err(|failure| match &failure {
            // It will not change its mind soon; knocking every few seconds would make it worse.
            Failure::Smtp(error) if error.is_permanent() || error.is_tls() => {
                failure.into_status(Code::Unavailable)
            }
            _ => failure.into_status(Code::Overloaded),
        })?;
        Ok(Letter {
            smtp: self.clone(),
            envelope,
            text,
        })
    }
}

impl Prepared for Letter {
    async fn send(self, until: Instant) -> Result<Sent, Status> {
        let Self {
            smtp,
            envelope,
            text,
        } = self;
        let mut addresses = envelope.to().iter().chain(envelope.from());
        let is_plain = addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii());
        let sending = smtp.with_server("smtp send", until, move |transport| {
            transport.send_raw(&envelope, &text)
        });
        became(sending.await, is_plain)
    }
}

/// The port that lettre goes to.
fn port(url: &Url) -> u16 {
    let has_tls = url.query_pairs().any(|(name, _)| name == "tls");
    url.port().unwrap_or(match url.scheme() {
        "smtps" => SUBMISSIONS_PORT,
        _ if has_tls => SUBMISSION_PORT,
        _ => SMTP_PORT,
    })
}

/// Reads what became of a mail.
fn became(sent: Result<Response, Failure<Response>>, is_plain: bool) -> Result<Sent, Status> {
    match sent {
        Ok(_) => Ok(Sent::Accepted),
        Err(Failure::UnderWay(work)) => Ok(Sent::UnderWay(Box::pin(async move {
            match became(work.await.ok()?, is_plain) {
                Ok(Sent::Accepted) => Some(Outcome::Sent),
                Ok(Sent::Refused) => Some(Outcome::Failed),
                Ok(Sent::UnderWay(_)) | Err(_) => None,
            }
        }))),
        Err(Failure::Smtp(error)) if is_about_the_mail(&error, is_plain) => {
            tracing::warn!("a mail was refused: {}", words(&error));
            Ok(Sent::Refused)
        }
        Err(Failure::Late) => Err(Failure::<Response>::Late.into_status(Code::Overloaded)),
        Err(failure) => Err(failure.into_status(Code::Unavailable)),
    }
}

/// A refusal for good: of this mailbox, or of this mail. Others are about us, an address of ours that is blocked or
/// a server that relays nothing, and end when somebody mends that: <https://www.rfc-editor.org/rfc/rfc3463>.
fn is_about_the_mail(error: &Error, is_plain: bool) -> bool {
    if !error.is_permanent() {
        // lettre's own refusals: of an address that this server can't write, or of a server that lacks something.
        return error.is_client() && !is_plain;
    }
    let code = error.status().map(|code| code.to_string());
    let code = code.unwrap_or_default();
    match enhanced_code(error) {
        // 5.1.7 and 5.1.8 are about the sender.
        Some(enhanced) => {
            let is_about = |class: &&str| enhanced.starts_with(*class);
            let is_about_us = ["5.1.7", "5.1.8"].contains(&enhanced.as_str());
            !is_about_us && ["5.1.", "5.2.", "5.6."].iter().any(is_about)
        }
        None => {
            let said = error.source().map(ToString::to_string);
            let said = said.unwrap_or_default().to_lowercase();
            let is_about_us = said.contains("relay") || said.contains("sender");
            !is_about_us && ["550", "551", "552", "553"].contains(&code.as_str())
        }
    }
}

/// Reads the three numbers that many servers begin their words with: `5.1.1`.
fn enhanced_code(error: &Error) -> Option<String> {
    let said = error.source()?.to_string();
    let first = said.split_whitespace().next()?.to_owned();
    let numbers: Vec<&str> = first.split('.').collect();
    let is_code = numbers.len() == 3 && numbers.iter().all(|one| one.parse::<u16>().is_ok());
    is_code.then_some(first)
}

/// Without TLS, or where TLS is only offered, whoever is on the way reads the password.
fn see_that_no_password_is_told(url: &Url) -> anyhow::Result<()> {
    let is_loopback = url.host_str().is_some_and(is_loopback);
    let has_tls = url.scheme() == "smtps"
        || url
            .query_pairs()
            .any(|pair| pair == ("tls".into(), "required".into()));
    if url.password().is_some() && !has_tls && !is_loopback {
        bail!(
            "SMTP_URL would send the password unencrypted; write smtps://, or ?tls=required at its end"
        );
    }
    if url.password().is_none() && !url.username().is_empty() {
        bail!("SMTP_URL names a user and no password; set SMTP_PASSWORD_FILE");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(url: &str) -> String {
        let url: Url = url.parse().unwrap();
        let refused = Smtp::new(&url, Duration::from_secs(1)).unwrap_err();
        format!("{refused:#}")
    }

    #[tokio::test]
    async fn a_password_goes_to_another_host_by_tls_alone() {
        for url in [
            "smtp://u:hunter2@mail.example.com",
            "smtp://u:hunter2@mail.example.com?tls=opportunistic",
            "smtp://u:hunter2@10.0.0.1:2525",
        ] {
            let said = refused(url);
            assert!(
                said.contains("unencrypted") && !said.contains("hunter2"),
                "{said}"
            );
        }
        for url in [
            "smtps://u:hunter2@mail.example.com",
            "smtp://u:hunter2@mail.example.com?tls=required",
            "smtp://u:hunter2@127.0.0.1:2525",
            "smtp://u:hunter2@[::1]:2525",
            "smtp://mail.example.com",
        ] {
            let made = Smtp::new(&url.parse().unwrap(), Duration::from_secs(1));
            assert!(made.is_ok(), "{url}: {:#}", made.unwrap_err());
        }
    }

    #[test]
    fn the_port_is_that_of_the_url_or_of_its_kind() {
        for (url, expected) in [
            ("smtp://mail", 25),
            ("smtp://u@mail?tls=required", 587),
            ("smtps://u@mail", 465),
            ("smtps://u@mail:2525", 2525),
        ] {
            assert_eq!(expected, port(&url.parse().unwrap()), "{url}");
        }
    }

    #[test]
    fn a_url_that_cant_be_used_is_an_error_that_says_what_to_write() {
        assert!(refused("smtp://u@mail.example.com").contains("set SMTP_PASSWORD_FILE"));
        assert!(refused("http://mail.example.com").contains("write smtps://host"));
        assert!(refused("smtp://mail.example.com?tls=yes").contains("write smtps://host"));
    }
}
