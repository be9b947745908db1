//! How patient a registration is.

use std::time::Duration;

use clap::Args;

use super::duration;

#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Registration")]
pub(crate) struct User {
    /// How long an answer waits for the welcome mail once the user is committed.
    #[arg(long, env = "MAIL_WAIT", value_name = "DURATION", default_value = "300ms", value_parser = duration)]
    pub(crate) mail_wait: Duration,
}
