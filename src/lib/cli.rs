//! The commands: `up`, `status`, `trace`, `outbox`, `check`, `keys`, and the four services.

mod check;
mod keys;
mod nats_server;
mod out;
mod outbox;
mod status;
mod tools;
mod trace;
mod up;

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, parser::ValueSource};

use crate::{
    app::{self, api, config, process},
    http, replica,
};

/// Ray-Serve-style services on NATS, traced end to end.
///
/// Without a command it runs `up`: the whole system on this machine. The services' settings are
/// variables; each command's --help lists them, and `up` hands them on.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What is read by OpenTelemetry's own libraries, and so is no flag.
const AFTER_HELP: &str = "\
OpenTelemetry's variables hold as it defines them: OTEL_EXPORTER_OTLP_ENDPOINT turns OTLP export on
(OTEL_EXPORTER_OTLP_PROTOCOL: http/protobuf, the default, or grpc); OTEL_EXPORTER_OTLP_HEADERS, _TIMEOUT (ms),
_COMPRESSION and their _TRACES_ forms; OTEL_TRACES_EXPORTER=none, OTEL_SDK_DISABLED, OTEL_TRACES_SAMPLER(_ARG),
OTEL_RESOURCE_ATTRIBUTES. NO_COLOR and COLUMNS shape what `up` and `trace` print.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole system: NATS, gateway, user, database and notification service.
    Up(Box<up::Args>),
    /// Show which replicas run, and what they have done.
    Status(status::Args),
    /// Show the journey of a request.
    Trace(trace::Args),
    /// Ask a process at its ADMIN_ADDR whether it is ready; exit 0 if it is, else 1.
    Check(check::Args),
    /// Show which mails and events are not sent yet, and have them tried again.
    #[command(args_conflicts_with_subcommands = true)]
    Outbox(outbox::Args),
    /// Make the keys by which NATS tells the services apart.
    Keys(keys::Args),
    /// Run the HTTP gateway.
    Gateway {
        #[command(flatten)]
        common: config::Common,
        #[command(flatten)]
        http: config::Http,
    },
    /// Run a replica of the user service.
    UserService {
        #[command(flatten)]
        common: config::Common,
        #[command(flatten)]
        user: config::User,
    },
    /// Run a replica of the database service.
    DatabaseService {
        #[command(flatten)]
        common: config::Common,
        #[command(flatten)]
        database: config::Database,
    },
    /// Run a replica of the notification service.
    NotificationService {
        #[command(flatten)]
        common: config::Common,
        #[command(flatten)]
        mail: config::Mail,
    },
    /// Becomes a nats-server that dies with its parent.
    #[command(name = nats_server::LEASH, hide = true)]
    Leash(nats_server::LeashArgs),
}

/// Runs the program by its arguments.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs one service, as a binary of its own does.
#[must_use]
pub fn main_of(service: &'static str) -> ExitCode {
    let arguments = std::env::args_os();
    let command: [OsString; 2] = ["nats-serve".into(), service.into()];
    run(command.into_iter().chain(arguments.skip(1)))
}

/// Returns a nats-server to run, as `up` finds or installs it. The tests use the same.
///
/// # Errors
///
/// Returns an error that says what to do when there is none to be had.
pub fn find_nats_server() -> anyhow::Result<std::path::PathBuf> {
    let named = config::System::from_environment().nats_server;
    nats_server::find(named.as_deref(), |_| {})
}

fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match dispatch(parse(arguments.collect())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read that either.
            let _ = writeln!(io::stderr(), "nats-serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the arguments; without a command the command is `up`.
fn parse(mut arguments: Vec<OsString>) -> Command {
    let is_flag = |first: &OsString| first.as_encoded_bytes().starts_with(b"-");
    let about_us = ["-h", "--help", "-V", "--version"];
    match arguments.get(1) {
        Some(first) if about_us.iter().any(|flag| first == flag) => {}
        Some(first) if !is_flag(first) => {}
        _ => arguments.insert(1.min(arguments.len()), "up".into()),
    }
    let matches = config::ignore_empty_variables(Cli::command()).get_matches_from(arguments);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match (cli.command, matches.subcommand_matches("up")) {
        (Command::Up(mut args), Some(given)) => {
            args.handed_on = flags_as_variables(given);
            Command::Up(args)
        }
        (command, _) => command,
    }
}

/// Returns what was given by flag as the variables that mean the same, for `up`'s children.
fn flags_as_variables(given: &ArgMatches) -> Vec<(String, String)> {
    let command = Cli::command();
    let Some(up) = command.find_subcommand("up") else {
        return Vec::new();
    };
    let mut variables = Vec::new();
    for argument in up.get_arguments() {
        let id = argument.get_id().as_str();
        let by_flag = given.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(variable) = argument.get_env().filter(|_| by_flag) {
            let value = given.get_raw(id).and_then(|mut values| values.next());
            variables.extend(value.map(|value| {
                let text = |os: &OsStr| os.to_string_lossy().into_owned();
                (text(variable), text(value))
            }));
        }
    }
    variables
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    // Its handlers wait, for others or for the disk, and take no core meanwhile: a burst of some
    // hundred requests is no overload.
    let replica = replica::Limits {
        max_ongoing: 256,
        max_queued: 512,
        ..replica::Limits::default()
    };
    match command {
        Command::Up(args) => up::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Outbox(args) => outbox::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Gateway { common, http } => {
            let limits = http::Options::default().limits;
            process::run(api::GATEWAY, &common, limits, async |process| {
                app::gateway::serve(process, &http).await
            })
        }
        Command::UserService { common, user } => {
            process::run(api::user::USER, &common, replica, async |process| {
                app::user::serve(process, &user).await
            })
        }
        Command::DatabaseService { common, database } => {
            process::run(api::database::DATABASE, &common, replica, async |process| {
                app::database::serve(process, &database).await
            })
        }
        Command::NotificationService { common, mail } => process::run(
            api::notification::NOTIFICATION,
            &common,
            replica,
            async |process| app::notification::serve(process, &mail).await,
        ),
        Command::Leash(args) => nats_server::become_server(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
