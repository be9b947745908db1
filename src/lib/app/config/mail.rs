//! Where mails go, and from whom.

use std::{fmt, path::PathBuf, time::Duration};

use anyhow::bail;
use clap::Args;
use lettre::message::Mailbox;
use url::Url;

use super::{
    duration,
    secret::Variables,
    state::{self, RunFile},
};
use crate::client::without_credentials;

const VARIABLES: Variables = Variables {
    url: "SMTP_URL",
    password_file: "SMTP_PASSWORD_FILE",
};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Mail")]
pub(crate) struct Mail {
    /// Sender of all mails.
    #[arg(
        long = "mail-from",
        env = "MAIL_FROM",
        value_name = "MAILBOX",
        default_value = "nats-serve <no-reply@localhost>"
    )]
    pub(crate) from: Mailbox,
    /// Folder that mails are written to, as .eml files [default: that of the last `up` in this folder, else
    /// .nats-serve/mails]
    #[arg(long, env = "MAILS_DIR", value_name = "DIR")]
    mails_dir: Option<PathBuf>,
    /// SMTP server that mails are sent by, instead of writing files: smtps://user@host (TLS from the start, port
    /// 465), smtp://user@host?tls=required (STARTTLS, port 587), or smtp://host (no TLS, port 25). A path after
    /// the host is the name for EHLO.
    #[arg(long, env = "SMTP_URL", value_name = "URL", hide_env_values = true)]
    smtp_url: Option<String>,
    /// File with the password of the user in SMTP_URL, so that the URL need not hold it.
    #[arg(long, env = "SMTP_PASSWORD_FILE", value_name = "FILE")]
    smtp_password_file: Option<PathBuf>,
    /// How long each answer of the SMTP server may take, 10s at most. A mail is begun only while there is as much time
    /// left before another process may send it.
    #[arg(long, env = "MAIL_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = mail_timeout)]
    pub(crate) mail_timeout: Duration,
}

/// Where mails go. It has no `Debug`: a password may be in it.
pub(crate) enum Outbox {
    Folder(PathBuf),
    Smtp(Url),
}

/// The same as it is written down for others, without the password.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Folder(PathBuf),
    Smtp {
        url: String,
        password_file: Option<PathBuf>,
    },
}

/// What a mail may take of its lease, which is longer.
const MAX_MAIL_TIMEOUT: Duration = Duration::from_secs(10);

fn mail_timeout(text: &str) -> Result<Duration, String> {
    let read = duration(text)?;
    match read <= MAX_MAIL_TIMEOUT {
        true => Ok(read),
        false => Err("write 10s or less".to_owned()),
    }
}

impl Mail {
    /// Tells whether nobody has said where: then they go to a folder of this host that nobody may look into.
    pub(crate) fn is_default(&self) -> bool {
        self.smtp_url.is_none() && self.mails_dir.is_none()
    }

    /// Returns where mails go, for services that join a running system.
    pub(crate) fn outbox(&self) -> anyhow::Result<Outbox> {
        let of_running_system = |run: RunFile| match run.smtp_url {
            Some(url) => Place::Smtp {
                url,
                password_file: run.smtp_password_file,
            },
            None => Place::Folder(run.mails_dir),
        };
        match state::place(self.set()?.as_ref(), of_running_system, Place::default())? {
            Place::Folder(folder) => Ok(Outbox::Folder(folder)),
            Place::Smtp { url, password_file } => {
                let url = VARIABLES.join(&url, password_file.as_deref())?;
                Ok(Outbox::Smtp(url))
            }
        }
    }

    /// Returns the place of a system that is about to start.
    pub(crate) fn place_of_new_system(&self) -> anyhow::Result<Place> {
        Ok(self.set()?.unwrap_or_default())
    }

    fn set(&self) -> anyhow::Result<Option<Place>> {
        if self.smtp_url.is_none() && self.smtp_password_file.is_some() {
            bail!("SMTP_PASSWORD_FILE is set and SMTP_URL is not");
        }
        match (&self.smtp_url, &self.mails_dir) {
            (Some(_), Some(_)) => {
                bail!("SMTP_URL and MAILS_DIR are both set, and mails go to one place; unset one")
            }
            (Some(url), None) => Ok(Some(Place::Smtp {
                url: url.clone(),
                password_file: self.smtp_password_file.clone(),
            })),
            (None, Some(folder)) => Ok(Some(Place::Folder(folder.clone()))),
            (None, None) => Ok(None),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Smtp { url, .. } => f.write_str(&without_credentials(url)),
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Folder(state::MAILS.into())
    }
}
