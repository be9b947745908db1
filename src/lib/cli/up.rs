//! `nats-serve up`: the whole system on one machine, each service a process of its own.

mod child;
mod durations;
mod figures;
mod lines;
mod nats;
mod places;
mod redraw;
mod replicas;
mod screen;
mod spec;
mod status_line;
mod team;

use std::{pin::pin, time::Duration};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    Shutdown,
    app::{
        api,
        config::{self, state},
    },
};
use child::Report;
use places::Places;
use screen::Screen;
use spec::Spec;
use team::Team;

/// Longest time for a service to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The services in the order in which they start; they stop the other way round.
const SERVICES: [crate::Service; 4] = [
    api::database::DATABASE,
    api::notification::NOTIFICATION,
    api::user::USER,
    api::GATEWAY,
];

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Start several replicas of a service: user-service=3. May be repeated.
    #[arg(long, value_name = "SERVICE=N", value_parser = scale)]
    scale: Vec<(&'static str, usize)>,
    #[command(flatten)]
    system: config::System,
    #[command(flatten)]
    common: config::Common,
    #[command(flatten)]
    http: config::Http,
    #[command(flatten)]
    user: config::User,
    #[command(flatten)]
    database: config::Database,
    #[command(flatten)]
    mail: config::Mail,
    #[command(flatten)]
    terminal: config::Terminal,
    /// What was given by flag, as the variables that the children read.
    #[arg(skip)]
    pub(super) handed_on: Vec<(String, String)>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    args.common.admin.for_several()?;
    let _folder = state::Held::take()?;
    // One thread, this one: a child's leash is tied to the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("signals can't be handled")?;
        let mut team = Team::new(shutdown.clone());
        let all = args.common.telemetry.filter_is_set();
        let mut screen = Screen::new(all, &args.terminal, team.replicas())
            .context("the thread that prints can't be started")?;
        let result = watch(args, &mut team, &mut screen, &shutdown).await;
        screen.end_status();
        if shutdown.is_requested() {
            screen
                .say("stopping; requests under way are finished first, Ctrl-C again stops at once");
        }
        let mut impatient = signal(SignalKind::interrupt()).context("signals can't be handled")?;
        let children = team.children();
        let was_hurried = {
            let mut stopping = pin!(team.stop(&mut screen));
            tokio::select! {
                () = &mut stopping => false,
                _ = impatient.recv() => {
                    children.iter().for_each(Shutdown::hurry);
                    stopping.await;
                    true
                }
            }
        };
        if was_hurried {
            screen.say("stopped at once, as asked again");
        }
        result
    })
}

/// Starts everything, then reports until it is time to stop.
async fn watch(
    args: &Args,
    team: &mut Team,
    screen: &mut Screen,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let places = Places::of_new_system(args)?;
    let Some(nats) = nats::provide(args, team, screen, shutdown).await? else {
        return Ok(());
    };
    places.tell_the_folder(&nats)?;
    let grace = args.common.limits.shutdown_grace;
    let mut waiting = Vec::new();
    for service in SERVICES {
        let count = args
            .scale
            .iter()
            .rev()
            .find(|(name, _)| *name == service.name());
        for _ in 0..count.map_or(1, |(_, count)| *count) {
            team.start(Spec::service(service, &nats, &args.handed_on, grace));
            waiting.push(service.name());
        }
    }
    let all_ready = tokio::time::Instant::now() + START_TIMEOUT;
    let mut address = None;
    while !waiting.is_empty() {
        let report = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            report = tokio::time::timeout_at(all_ready, team.next()) => report,
        };
        match report.with_context(|| late(&waiting))? {
            Report::Ready(name, ready) => {
                let at = waiting.iter().position(|waiting| *waiting == name);
                at.map(|at| waiting.swap_remove(at));
                address = address.or(ready.http);
            }
            Report::NeverReady { name, last_words } => bail!("{name} can't start: {last_words}"),
            report => screen.show(&report),
        }
    }
    screen.banner(args, address, &nats, &places);
    loop {
        let report = tokio::select! {
            () = shutdown.requested() => return Ok(()),
            report = team.next() => report,
        };
        screen.show(&report);
    }
}

/// What it waited for may have been said above: a database that is away, for one.
fn late(waiting: &[&str]) -> String {
    format!(
        "not ready within {START_TIMEOUT:?}: {}; what it waits for is said above, or with RUST_LOG=info",
        waiting.join(", ")
    )
}

fn scale(text: &str) -> Result<(&'static str, usize), String> {
    let scalable = SERVICES.map(|service| service.name());
    let scalable = &scalable[..3];
    let known = |wanted: &str| scalable.iter().copied().find(|name| *name == wanted);
    text.split_once('=')
        .and_then(|(name, count)| Some((known(name)?, count.parse().ok()?)))
        .filter(|(_, count)| (1..=32).contains(count))
        .ok_or_else(|| {
            format!(
                "write SERVICE=N, N from 1 to 32, with one of {}",
                scalable.join(", ")
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_name_a_service_and_a_number() {
        assert_eq!(Ok(("user-service", 3)), scale("user-service=3"));
        for wrong in [
            "",
            "user-service",
            "user-service=0",
            "user-service=x",
            "gateway=2",
            "x=2",
        ] {
            assert!(scale(wrong).is_err(), "{wrong}");
        }
    }
}
