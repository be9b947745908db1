//! The notification service: mail that goes out only for what was committed.

mod folder;
mod letter;
mod mailer;
mod smtp;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;
use opentelemetry::KeyValue;
use tokio::time::timeout;

use super::{
    api::{
        notification::{
            MailStatus, Mailed, Notification, SendWelcomeEmail, SendWelcomeEmailRequest,
        },
        outbox::{Outcome, SettleMailRequest},
    },
    config::{self, state},
    note::{NOTE_FOR, keep, note},
    process::{Latency, Process},
};
use crate::{
    Client, Code, Ctx, Replica, Status,
    client::Verdict,
    telemetry::{names, spans},
};
use folder::MailFolder;
use mailer::{Id, Mailer, Prepared, Sent};
use smtp::Smtp;

/// Time for the note that a mail is sent, also where the connection is lost for a moment, and for the answer.
const NOTE_TIME: Duration = Duration::from_secs(2);
/// How often a mail that takes longer than its lease is kept: sooner than a relay that has just started takes anything.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// What sending a mail took in the application that this one answers.
const SIMULATED_SEND: Duration = Duration::from_millis(150);

pub(crate) async fn serve(process: Process, settings: &config::Mail) -> anyhow::Result<()> {
    match settings.outbox()? {
        config::Outbox::Folder(folder) => {
            if settings.is_default() && state::RunFile::read()?.is_none() {
                tracing::warn!(
                    "mails are written to this folder, to {}, and nobody receives them; set SMTP_URL, or MAILS_DIR if that is meant",
                    folder.display()
                );
            }
            let opened = state::make_for(&folder).and_then(|()| MailFolder::open(&folder));
            let folder = opened.with_context(|| {
                format!(
                    "mails can't be written to {}; set MAILS_DIR to a folder that you may write to",
                    folder.display()
                )
            })?;
            serve_by(&process, settings, folder).await
        }
        config::Outbox::Smtp(url) => {
            let smtp = Smtp::new(&url, settings.mail_timeout)?;
            if settings.from.email.domain() == "localhost" {
                tracing::warn!(
                    "mails are sent from {}, which mail servers refuse as a rule; set MAIL_FROM",
                    settings.from.email
                );
            }
            serve_by(&process, settings, smtp).await
        }
    }
}

async fn serve_by<M: Mailer>(
    process: &Process,
    settings: &config::Mail,
    mailer: M,
) -> anyhow::Result<()> {
    let sender = Arc::new(Sender {
        client: process.client.clone(),
        mailer,
        patience: settings.mail_timeout,
        from: settings.from.clone(),
        latency: process.latency,
    });
    let replica =
        Replica::new(&process.client).handle::<SendWelcomeEmail>(move |ctx: Ctx, request| {
            let sender = Arc::clone(&sender);
            async move { sender.welcome(&ctx, request).await }
        });
    process.serve(replica).await
}

struct Sender<M> {
    client: Client,
    mailer: M,
    /// How long sending one mail may take.
    patience: Duration,
    from: Mailbox,
    latency: Latency,
}

impl<M: Mailer> Sender<M> {
    /// Does all that can be done before the point of no return, then asks the gate.
    async fn welcome(&self, ctx: &Ctx, request: SendWelcomeEmailRequest) -> Result<Mailed, Status> {
        let greeting = format!("Welcome {}! Thanks for joining our service.", request.name);
        let id = Id::parse(&request.registration_id)?;
        let mail = letter::compose(&self.from, &id, &request, greeting.clone())?;
        let prepared = self.mailer.prepare(&id, &mail).await?;
        self.latency.simulate(SIMULATED_SEND).await;
        let (status, message) = match self.may_send(ctx, &request).await {
            Some(until) => match prepared.send(until).await? {
                Sent::Accepted => (MailStatus::Sent, greeting),
                Sent::Refused => (
                    MailStatus::Failed,
                    "The welcome mail could not be sent.".to_owned(),
                ),
                Sent::UnderWay(ending) => {
                    return Ok(self.goes_on(ctx, request, ending));
                }
            },
            None if request.gate.is_none() => {
                let words = "there was no time left to send the mail";
                return Err(Status::new(Code::Overloaded, words));
            }
            None => (MailStatus::Aborted, "The mail was not sent.".to_owned()),
        };
        let is_final = matches!(status, MailStatus::Sent | MailStatus::Failed);
        let settled = status.outcome().filter(|_| is_final);
        let settled = settled.and_then(|outcome| settle(&request, outcome));
        let is_noted = settled.is_some();
        if let Some(settled) = settled {
            note(ctx, &self.client, settled);
        }
        Ok(Mailed {
            notification: Notification {
                status,
                message,
                recipient: request.email,
            },
            is_noted,
        })
    }

    /// A mail that takes longer than its lease is sent after all, as a rule: until it is known, nobody else may begin.
    fn goes_on(
        &self,
        ctx: &Ctx,
        request: SendWelcomeEmailRequest,
        mut ending: BoxFuture<'static, Option<Outcome>>,
    ) -> Mailed {
        let settled = settle(&request, Outcome::UnderWay);
        let is_noted = settled.is_some();
        if let Some(settled) = settled {
            let (inner, client) = (ctx.clone(), self.client.clone());
            ctx.spawn(async move {
                let given_up = Instant::now() + NOTE_FOR;
                // One that never ends is left to its lease, and is a try like any other.
                let ended = loop {
                    keep(&client, &settled).await;
                    match timeout(KEEP_EVERY, &mut ending).await {
                        Ok(ended) => break ended,
                        Err(_) if Instant::now() > given_up => break None,
                        Err(_) => {}
                    }
                };
                let outcome = ended.unwrap_or(Outcome::Later);
                note(&inner, &client, SettleMailRequest { outcome, ..settled });
            });
        }
        Mailed {
            notification: Notification {
                status: MailStatus::Queued,
                message: "The welcome mail is on its way.".to_owned(),
                recipient: request.email,
            },
            is_noted,
        }
    }

    /// Asks the gate, if there is one, and returns until when the mail may be sent: from then on somebody else may.
    ///
    /// A process that was frozen meanwhile finds that there is no time left.
    async fn may_send(&self, ctx: &Ctx, request: &SendWelcomeEmailRequest) -> Option<Instant> {
        let mut until = ctx.deadline();
        if let Some(gate) = &request.gate {
            let asked = Instant::now();
            let wait = Duration::from_millis(request.gate_wait_ms);
            let verdict = timeout(wait, self.client.ask(gate)).await;
            let (word, proceeds) = match verdict {
                Ok(Verdict::Proceed { time_left }) => {
                    until = until.min(asked + time_left);
                    ("proceed", true)
                }
                Ok(Verdict::Abort) | Err(_) => ("abort", false),
            };
            let waited = i64::try_from(asked.elapsed().as_micros()).unwrap_or(i64::MAX);
            let attributes = vec![
                KeyValue::new("verdict", word),
                KeyValue::new(names::WAITED_US, waited),
            ];
            spans::event("gate", attributes);
            if !proceeds {
                return None;
            }
        }
        let until = until.checked_sub(NOTE_TIME)?;
        (until.saturating_duration_since(Instant::now()) > self.patience).then_some(until)
    }
}

/// Says what became of a mail in the name of who has its lease: whoever else may send it must know, whatever becomes of the
/// caller. `None` if the caller notes it.
fn settle(request: &SendWelcomeEmailRequest, outcome: Outcome) -> Option<SettleMailRequest> {
    Some(SettleMailRequest {
        registration_id: request.registration_id.clone(),
        holder: request.holder.clone()?,
        outcome,
    })
}
