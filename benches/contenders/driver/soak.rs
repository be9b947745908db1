//! Half load for half an hour, while calls time out and replicas are restarted: what grows, and who is failed.
//!
//! Ours with all traces to files and two replicas of each service. One request in a hundred is for what nobody gets in
//! time. These have a driver of their own, at a hundredth of the rate, so that the percentiles are those of the others
//! and each answer that is not as expected shows. In the middle of each minute the second replica of one service leaves,
//! as when its supervisor ends it, and is started again. The load comes minute by minute, each on new connections.

mod answers;
mod targets;
mod trend;
mod watch;

use std::time::Duration;

use anyhow::{Context as _, ensure};

use self::{answers::Minute, watch::Watch};
use super::{
    Args,
    nats::Nats,
    oha::Load,
    stack::{Chain, Stack},
    table::Spread,
    tools::Tools,
};

const CONNECTIONS: u32 = 64;
const MINUTE: Duration = Duration::from_secs(60);
/// What the caller of a late answer waits.
const PATIENCE: &str = "request-timeout-ms: 200";
/// In how many requests one is never answered in time.
const LATE: u32 = 100;

const CHAIN: Chain = Chain {
    replicas: 2,
    ..Chain::new("ours", &["--ratio", "1", "--spans-dir", "spans"])
};

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    let nats = Nats::start(tools).await?;
    let mut stack = Stack::start(&CHAIN, tools, &nats.url).await?;
    let most = most(&stack.url, args, tools).await?;
    let loads = loads(&stack.url, (most.median / 2.0) as u32)?;
    println!(
        "{} minutes of {} requests a second, half of {} in {} loads before; one in {LATE} waits in vain\n",
        args.minutes,
        loads[0].rate.unwrap_or_default() + loads[1].rate.unwrap_or_default(),
        most.shown(0),
        args.rounds(),
    );
    let mut watch = Watch::of(&stack, nats.pid());
    let minutes = tokio::select! {
        minutes = each_minute(&loads, args.minutes, tools) => minutes?,
        ended = watch.tend(&mut stack) => match ended? {},
    };
    let losses = stack.leave().await;
    let whole = MINUTE * args.minutes;
    // As long as buffers and pools take to have met all that comes: five minutes of thirty.
    let warm = whole / 6;
    println!("{}", watch.shown(warm));
    println!("{}", answers::shown(&minutes));
    let rates = [&loads[0], &loads[1]].map(|load| load.rate.unwrap_or_default());
    let verdicts = targets::judge(&watch, warm, &minutes, rates, losses);
    for verdict in &verdicts {
        println!("- {verdict}");
    }
    let judged = verdicts.iter().filter(|verdict| verdict.counts);
    let missed = judged.filter(|verdict| !verdict.met).count();
    ensure!(missed == 0, "{missed} targets of the soak are missed");
    Ok(())
}

/// What the chain can do a second.
async fn most(url: &str, args: &Args, tools: &Tools) -> anyhow::Result<Spread> {
    let load = Load {
        url: url.to_owned(),
        connections: CONNECTIONS,
        duration: args.load(),
        rate: None,
    };
    load.run(&tools.oha).await?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds() {
        rounds.push(load.run(&tools.oha).await?.per_second);
    }
    Ok(Spread::of(rounds))
}

/// What is answered, and what is not.
fn loads(url: &str, rate: u32) -> anyhow::Result<[Load; 2]> {
    let late = rate / LATE;
    ensure!(
        late > 0,
        "half load is {rate} requests a second, of which one in {LATE} is none: this machine is too slow or too busy"
    );
    let (users, _) = url.rsplit_once('/').context("a user has an address")?;
    let load = |url: String, rate| Load {
        url,
        connections: CONNECTIONS,
        duration: MINUTE,
        rate: Some(rate),
    };
    let never = format!("{users}/{}", crate::work::NEVER);
    Ok([load(url.to_owned(), rate - late), load(never, late)])
}

async fn each_minute(
    loads: &[Load; 2],
    minutes: u32,
    tools: &Tools,
) -> anyhow::Result<Vec<Minute>> {
    let [usual, late] = loads;
    let mut all = Vec::new();
    for minute in 1..=minutes {
        let (usual, late) = tokio::try_join!(
            usual.report(&tools.oha, &[]),
            late.report(&tools.oha, &["-H", PATIENCE]),
        )?;
        let came = Minute::read(&usual, &late)?;
        eprintln!("minute {minute}: {came:?}");
        all.push(came);
    }
    Ok(all)
}
