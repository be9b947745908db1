//! Settings: the one place that reads the environment.
//!
//! One struct a concern; each field is a flag and a variable with the same meaning. Secrets never come
//! by flag.

mod admin;
mod database;
mod exposure;
mod http;
mod limits;
mod mail;
mod nats;
pub(crate) mod nkey;
mod secret;
pub(crate) mod state;
mod system;
mod telemetry;
mod terminal;
mod user;

use std::time::Duration;

use clap::{
    Arg, Args, Command,
    builder::{OsStr, Resettable},
};

pub(crate) use admin::Admin;
pub(crate) use database::{Database, Place as DatabasePlace, Store};
pub(crate) use exposure::is_loopback;
pub(crate) use http::Http;
pub(crate) use limits::Limits;
pub(crate) use mail::{Mail, Outbox, Place as MailPlace};
pub(crate) use nats::{Nats, STOPPED};
pub(crate) use system::System;
pub(crate) use telemetry::{SpansDir, Telemetry};
pub(crate) use terminal::Terminal;
pub(crate) use user::User;

/// What every service has.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) nats: Nats,
    #[command(flatten)]
    pub(crate) telemetry: Telemetry,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) admin: Admin,
    /// Makes reading take 100 ms, writing 200 ms and mailing 150 ms.
    #[arg(long, env = "SIMULATED_LATENCY", value_name = "on|off", default_value = "off", value_parser = switch, action = clap::ArgAction::Set)]
    pub(crate) simulated_latency: bool,
    /// Prints a line on standard output when ready, and stops when standard input closes.
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}

/// Makes a variable that is set to nothing count as not set, as OpenTelemetry's specification has it and
/// as compose files and shells leave them.
pub(crate) fn ignore_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| {
        let variable = arg.get_env();
        #[expect(clippy::disallowed_methods, reason = "this is where settings are read")]
        variable.is_some_and(|name| std::env::var_os(name).is_some_and(|value| value.is_empty()))
    };
    let unset = |arg: Arg| match is_empty(&arg) {
        true => arg.env(Resettable::<OsStr>::Reset),
        false => arg,
    };
    command
        .mut_args(unset)
        .mut_subcommands(ignore_empty_variables)
}

/// Reads `2s`, `250ms`, `1m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write a number and its unit, like 250ms or 2s"))
}

/// Reads `on` and `off`, in the words that people use for them.
fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" | "yes" => Ok(true),
        "off" | "false" | "0" | "no" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(Ok(Duration::from_millis(250)), duration("250ms"));
        assert_eq!(Ok(Duration::from_secs(2)), duration("2s"));
        assert!(duration("250").unwrap_err().contains("250ms or 2s"));
    }

    #[test]
    fn switches_take_the_usual_words() {
        assert_eq!(Ok(true), switch("on"));
        assert_eq!(Ok(false), switch("False"));
        assert!(switch("maybe").is_err());
    }
}
