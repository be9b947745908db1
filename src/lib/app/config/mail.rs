//! Where mails go, and from whom.

use std::path::PathBuf;

use clap::Args;
use lettre::message::Mailbox;

use super::state;

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
}

impl Mail {
    /// Returns the folder, for services that join a running system.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        state::place(self.mails_dir.as_ref(), |run| run.mails_dir, state::MAILS)
    }

    /// Returns the folder of a system that is about to start.
    pub(crate) fn folder_of_new_system(&self) -> PathBuf {
        self.mails_dir
            .clone()
            .unwrap_or_else(|| state::MAILS.into())
    }
}
