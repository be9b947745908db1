//! The notification service: mail that goes out only for what was committed.

mod folder;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use lettre::{
    Address, Message,
    address::Envelope,
    message::{Mailbox, header::ContentType},
};

use super::{
    api::notification::{MailStatus, Notification, SendWelcomeEmail, SendWelcomeEmailRequest},
    config::{self, state},
    process::{Latency, Process},
};
use crate::{Client, FieldError, Replica, Status, client::Verdict};
use folder::MailFolder;

/// What sending a mail took in the application that this one answers.
const SIMULATED_SEND: Duration = Duration::from_millis(150);

#[derive(Debug)]
struct Mailer {
    client: Client,
    folder: MailFolder,
    from: Mailbox,
    latency: Latency,
}

pub(crate) async fn serve(process: Process, settings: &config::Mail) -> anyhow::Result<()> {
    let folder = settings.folder()?;
    let opened = state::make_for(&folder).and_then(|()| MailFolder::open(&folder));
    let folder = opened.with_context(|| {
        format!(
            "mails can't be written to {}; set MAILS_DIR to a folder that you may write to",
            folder.display()
        )
    })?;
    let mailer = Arc::new(Mailer {
        client: process.client.clone(),
        folder,
        from: settings.from.clone(),
        latency: process.latency,
    });
    let replica = Replica::new(&process.client).handle::<SendWelcomeEmail>(move |_ctx, request| {
        let mailer = Arc::clone(&mailer);
        async move { mailer.welcome(request).await }
    });
    process.serve(replica).await
}

impl Mailer {
    /// Does all that can be done before the point of no return, then asks the gate.
    async fn welcome(&self, request: SendWelcomeEmailRequest) -> Result<Notification, Status> {
        let greeting = format!("Welcome {}! Thanks for joining our service.", request.name);
        let mail = self.compose(&request, greeting.clone())?;
        let prepared = self
            .folder
            .prepare(&request.registration_id, mail.formatted())
            .await?;
        self.latency.simulate(SIMULATED_SEND).await;
        let (status, message) = match self.client.ask(&request.gate).await {
            Verdict::Proceed { .. } => {
                prepared.send().await?;
                (MailStatus::Sent, greeting)
            }
            Verdict::Abort => (MailStatus::Aborted, "The mail was not sent.".to_owned()),
        };
        Ok(Notification {
            status,
            message,
            recipient: request.email,
        })
    }

    fn compose(
        &self,
        request: &SendWelcomeEmailRequest,
        greeting: String,
    ) -> Result<Message, Status> {
        let to: Address = request.email.parse().map_err(|_| {
            Status::invalid(
                "the mail can't be addressed",
                vec![FieldError::new("email", "is not an e-mail address")],
            )
        })?;
        let domain = self.from.email.domain();
        // Named, because lettre would read it back from the header, where not every address survives.
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()]);
        Message::builder()
            .envelope(envelope.map_err(Status::internal)?)
            .message_id(Some(format!("<{}@{domain}>", request.registration_id)))
            .from(self.from.clone())
            .to(Mailbox::new(Some(request.name.clone()), to))
            .subject("Welcome!")
            .header(ContentType::TEXT_PLAIN)
            .body(greeting)
            .map_err(Status::internal)
    }
}
