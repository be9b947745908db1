//! The NATS that the services use: the one that was named, or a child of our own.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::time::{sleep, timeout};

use super::{Args, child::Report, screen::Screen, spec::Spec, team::Team};
use crate::{
    Client, Instance, Shutdown,
    app::config::{
        self,
        state::{self, RunFile},
    },
    cli::{
        keys::{self, TOOLS},
        nats_server,
    },
    client,
};

const CONFIG: &str = include_str!("../../../../nats/nats-server.conf");
const LIMITS: &str = include_str!("../../../../nats/limits.conf");
/// Longest time for a server that was named to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest time to look who is there.
const SURVEY: Duration = Duration::from_secs(1);
/// How often our own may fail before it is said to.
const MAX_LIVES: u32 = 3;
/// Longest time for our own to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A NATS that answers.
#[derive(Debug)]
pub(super) struct Nats {
    pub(super) url: String,
    /// What the services show it, if anything, as in `NATS_NKEY_FILE`.
    pub(super) nkeys: Option<PathBuf>,
}

/// Returns a server that answers; `None` if it was stopped meanwhile.
pub(super) async fn provide(
    args: &Args,
    team: &mut Team,
    screen: &Screen,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Nats>> {
    let named = &args.common.nats;
    let nats = match &named.nats_url {
        Some(url) => {
            tokio::select! {
                () = shutdown.requested() => return Ok(None),
                answered = see_that_it_answers(named, url) => answered?,
            }
            Nats {
                url: url.clone(),
                nkeys: named.nats_nkey_file.clone(),
            }
        }
        None => match start(args, team, screen, shutdown).await? {
            Some(nats) => nats,
            None => return Ok(None),
        },
    };
    Ok(Some(nats))
}

async fn see_that_it_answers(named: &config::Nats, url: &str) -> anyhow::Result<()> {
    let client = Client::connect(&Instance::new(TOOLS), named.options(TOOLS)?).await?;
    if timeout(ANSWER_TIMEOUT, client.ready()).await.is_err() {
        if client.is_refused() {
            bail!(
                "the NATS server at NATS_URL={} refuses us; set NATS_NKEY_FILE to the folder of its nkeys, as `nats-serve keys` makes one",
                client::without_credentials(url)
            );
        }
        let reason = client.failure().unwrap_or_else(|| "no answer".to_owned());
        bail!(
            "no NATS server answers at NATS_URL={} ({reason}); start it, or unset NATS_URL to run one here",
            client::without_credentials(url)
        );
    }
    // The server may know the key as somebody else's, which shows when it is used.
    client.survey(SURVEY).await;
    if let Some(forbidden) = client.forbidden() {
        bail!(
            "the NATS server at NATS_URL={} forbids us {forbidden}; set NATS_NKEY_FILE to the folder of its nkeys, as `nats-serve keys` makes one",
            client::without_credentials(url)
        );
    }
    Ok(())
}

async fn start(
    args: &Args,
    team: &mut Team,
    screen: &Screen,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Nats>> {
    let server = nats_server::find(args.system.nats_server.as_deref(), |text| screen.say(text))?;
    let port = match free_port_of_last_time() {
        Some(port) => port,
        None => free_port().context("no free port is left on 127.0.0.1")?,
    };
    prepare_folder().with_context(|| format!("can't write to {}", state::FOLDER))?;
    keys::provide(Path::new(state::NKEYS))?;
    team.start(Spec {
        name: "nats-server",
        arguments: nats_server::leashed(&server, &arguments(port)),
        variables: Vec::new(),
        is_service: false,
        grace: Duration::ZERO,
    });
    let listening = timeout(START_TIMEOUT, async {
        let mut lives = MAX_LIVES;
        loop {
            tokio::select! {
                report = team.next() => if let Report::Died { how, last_words, .. } = report {
                    // Between our look at the port and its own somebody may have taken it for a moment.
                    lives -= 1;
                    if lives == 0 {
                        bail!("nats-server can't start ({how}): {last_words}");
                    }
                },
                () = sleep(Duration::from_millis(10)) => if has_ports_file()? {
                    return Ok(());
                },
            }
        }
    });
    tokio::select! {
        () = shutdown.requested() => Ok(None),
        listening = listening => {
            listening.context("nats-server did not listen within 10 s")??;
            Ok(Some(Nats {
                url: format!("nats://127.0.0.1:{port}"),
                nkeys: Some(state::NKEYS.into()),
            }))
        }
    }
}

fn arguments(port: u16) -> Vec<String> {
    [
        "--config",
        state::NATS_CONFIG,
        "--addr",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        // The server writes a file there once it listens.
        "--ports_file_dir",
        state::NATS_PORTS,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The port that it had last time, so that whoever knows the URL finds it again.
fn free_port_of_last_time() -> Option<u16> {
    let last = RunFile::read().ok().flatten()?;
    let port = last
        .nats_url
        .strip_prefix("nats://127.0.0.1:")?
        .parse()
        .ok()?;
    TcpListener::bind(("127.0.0.1", port))
        .is_ok()
        .then_some(port)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn prepare_folder() -> io::Result<()> {
    let ports = Path::new(state::NATS_PORTS);
    match fs::remove_dir_all(ports) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir_all(ports)?;
    fs::write(state::NATS_LIMITS, LIMITS)?;
    fs::write(state::NATS_CONFIG, CONFIG)
}

fn has_ports_file() -> anyhow::Result<bool> {
    let mut entries = fs::read_dir(state::NATS_PORTS)
        .with_context(|| format!("{} can't be read", state::NATS_PORTS))?;
    Ok(entries.next().is_some())
}
