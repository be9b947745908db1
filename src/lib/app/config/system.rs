//! What `up` needs to know of the machine that it runs on.

use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser};

use super::ignore_empty_variables;

#[derive(Debug, Clone, Args)]
pub(crate) struct System {
    /// A nats-server binary to run, instead of one from PATH or the pinned one.
    #[arg(long, env = "NATS_SERVER", value_name = "FILE")]
    pub(crate) nats_server: Option<PathBuf>,
    /// Set by cargo, so that the lines to type next can be those that were typed before.
    #[arg(long, env = "CARGO", hide = true)]
    cargo: Option<String>,
}

impl System {
    /// Reads the variables alone.
    pub(crate) fn from_environment() -> Self {
        #[derive(Parser)]
        struct Variables {
            #[command(flatten)]
            system: System,
        }
        let command = ignore_empty_variables(Variables::command());
        let read = Variables::from_arg_matches(&command.get_matches_from([""]));
        read.unwrap_or_else(|error| error.exit()).system
    }

    /// Returns how this program is called here.
    pub(crate) fn program(&self) -> String {
        if self.cargo.is_some() {
            let program = std::env::current_exe().unwrap_or_default();
            let release = program
                .parent()
                .is_some_and(|folder| folder.ends_with("release"));
            let profile = if release { " --release" } else { "" };
            return format!("cargo run -q{profile} --");
        }
        let called = std::env::args().next();
        called.unwrap_or_else(|| "nats-serve".to_owned())
    }
}
