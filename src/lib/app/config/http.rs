//! What the gateway listens on, and whom it believes.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::{duration, exposure, switch};
use crate::{http, replica};

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct Http {
    /// Address to listen on; port 0 takes a free one.
    #[arg(
        long = "http-addr",
        env = "HTTP_ADDR",
        value_name = "ADDR",
        default_value = "127.0.0.1:8000"
    )]
    pub(crate) addr: SocketAddr,
    /// Time for a request that asks for none by `request-timeout-ms`.
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    request_timeout: Duration,
    /// Requests a second that one client may make, by its token, or else by its address [default: no limit].
    #[arg(long, env = "RATE_LIMIT", value_name = "NUMBER")]
    rate_limit: Option<NonZeroU32>,
    /// File with the bearer tokens that callers may show, one a line; it is read again when it changes [default:
    /// none, and nobody needs one].
    #[arg(long, env = "TOKENS_FILE", value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Whether everybody is served where others than this machine can reach HTTP_ADDR and no tokens are set.
    #[arg(long, env = "ALLOW_ANONYMOUS", value_name = "BOOL", default_value = "false", value_parser = switch, action = clap::ArgAction::Set)]
    allow_anonymous: bool,
    /// How long the gateway, told to leave, first serves on as before, while /readyz says that it leaves and a balancer
    /// learns it; a part of SHUTDOWN_GRACE.
    #[arg(long, env = "SHUTDOWN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = duration)]
    shutdown_delay: Duration,
    /// Whose `traceparent` is continued [default: always on loopback without tokens, else authenticated].
    #[arg(long, env = "TRUST_TRACEPARENT", value_name = "WHOM")]
    trust_traceparent: Option<Trust>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Trust {
    Always,
    /// Of who shows a token.
    Authenticated,
    Never,
}

impl Http {
    /// Returns how the listener leaves within the time that the process has for it.
    pub(crate) fn leaving(&self, grace: Duration) -> anyhow::Result<http::Leaving> {
        let delay = self.shutdown_delay;
        if delay.is_zero() {
            return Ok(grace.into());
        }
        match grace.checked_sub(delay).filter(|left| !left.is_zero()) {
            Some(grace) => Ok(http::Leaving { delay, grace }),
            None => bail!(
                "SHUTDOWN_DELAY is {delay:?} of SHUTDOWN_GRACE, {grace:?}, which leaves no time for requests under way; raise the latter"
            ),
        }
    }

    /// Returns what the edge allows.
    pub(crate) async fn edge(&self, limits: replica::Limits) -> anyhow::Result<http::Options> {
        let is_loopback = self.addr.ip().is_loopback();
        let tokens = match &self.tokens_file {
            Some(file) => {
                exposure::warn_of_file(file);
                let tokens = http::Tokens::from_file(file).await;
                Some(tokens.context("TOKENS_FILE can't be used")?)
            }
            None => None,
        };
        if tokens.is_none() && !is_loopback && !self.allow_anonymous {
            bail!(
                "HTTP_ADDR is {}, which others than this machine may reach; set TOKENS_FILE, or ALLOW_ANONYMOUS=true to serve everybody",
                self.addr
            );
        }
        let default = match is_loopback && tokens.is_none() {
            true => Trust::Always,
            false => Trust::Authenticated,
        };
        Ok(http::Options {
            request_timeout: self.request_timeout,
            limits,
            rate_limit: self.rate_limit,
            trust_traceparent: match self.trust_traceparent.unwrap_or(default) {
                Trust::Always => http::TrustTraceparent::Always,
                Trust::Authenticated => http::TrustTraceparent::Authenticated,
                Trust::Never => http::TrustTraceparent::Never,
            },
            tokens,
            open: vec!["/"],
            ..http::Options::default()
        })
    }
}
