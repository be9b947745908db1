//! What the gateway listens on, and whom it believes.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};

use super::duration;
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
    /// Whose `traceparent` is continued [default: always on loopback, else never].
    #[arg(long, env = "TRUST_TRACEPARENT", value_name = "WHOM")]
    trust_traceparent: Option<Trust>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Trust {
    Always,
    Never,
}

impl Http {
    pub(crate) fn edge(&self, limits: replica::Limits) -> http::Options {
        let trust = self
            .trust_traceparent
            .unwrap_or(if self.addr.ip().is_loopback() {
                Trust::Always
            } else {
                Trust::Never
            });
        http::Options {
            request_timeout: self.request_timeout,
            limits,
            trust_traceparent: match trust {
                Trust::Always => http::TrustTraceparent::Always,
                Trust::Never => http::TrustTraceparent::Never,
            },
            ..http::Options::default()
        }
    }
}
