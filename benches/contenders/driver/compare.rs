//! All chains with the same work, in turns: what each answers a second, how soon, and for how much computing.

use std::fmt::Write as _;

use anyhow::ensure;

use super::{
    Args, lateness,
    machine::{Machine, Watch},
    nats::Nats,
    oha::Load,
    process::{Work, peak},
    profile::{self, Profile, Threads},
    receiver,
    stack::{Chain, Stack},
    table::{Figure, Spread, compared, failures, heads, markdown, ratio},
    tools::Tools,
};

/// Connections of the full load, and of the half one.
pub(super) const CONNECTIONS: u32 = 64;
/// What the others are compared with.
const BASE: &str = "async-nats alone";

#[derive(Debug)]
struct Contender {
    name: &'static str,
    stack: Stack,
    nats: Nats,
    turns: Vec<Turn>,
}

/// What came of one turn.
#[derive(Debug, Clone)]
struct Turn {
    per_second: f64,
    /// Of all processes and NATS, a request, in microseconds.
    cpu: f64,
    /// With one connection, in microseconds.
    p50: f64,
    /// At half of what it can do itself, in milliseconds: who is given more than he can do is only measured in queues.
    p99: f64,
    /// The same from when each was sent: the driver may come late.
    p99_sent: f64,
    /// What the processors did under the full load.
    machine: Machine,
    /// How often a second the machine was late by itself meanwhile.
    late: f64,
    /// The most that any of the processes has had in memory so far, in megabytes.
    peak: f64,
    /// CPU of a request under the full load, by thread, the receiver's too.
    threads: Threads,
    /// The same with one connection.
    alone: Threads,
    /// Requests that failed, of all three loads.
    failed: f64,
    requests: f64,
    /// Of each answer.
    bytes: u64,
}

const TO_FILES: &[&str] = &["--ratio", "1", "--spans-dir", "spans"];

const fn sending(arguments: &'static [&'static str]) -> Chain {
    Chain {
        sends: true,
        ..Chain::new("ours", arguments)
    }
}

const CHAINS: [(&str, Chain); 9] = [
    (BASE, Chain::new("raw", &[])),
    (GRPC, Chain::new("grpc", &[])),
    ("ours, tracing off", Chain::new("ours", &[])),
    ("ours, access log", Chain::new("ours", &["--access-log"])),
    (
        "ours, ratio 0",
        Chain::new("ours", &["--ratio", "0", "--spans-dir", "spans"]),
    ),
    (
        "ours, ratio 0.01 to files",
        Chain::new("ours", &["--ratio", "0.01", "--spans-dir", "spans"]),
    ),
    ("ours, ratio 1 to files", Chain::new("ours", TO_FILES)),
    ("ours, ratio 1 to OTLP", sending(&["--ratio", "1"])),
    ("ours, ratio 1 to both", sending(TO_FILES)),
];

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    let mut contenders = Vec::new();
    let wants_one = CHAINS
        .iter()
        .any(|(name, chain)| chain.sends && args.wants(name));
    if !args.only.is_empty() && !CHAINS.iter().any(|(name, _)| args.wants(name)) {
        println!(
            "No chain but {BASE} has a name with any of {:?}.\n",
            args.only
        );
    }
    let without = match wants_one {
        true => receiver::missing(tools).await,
        false => None,
    };
    if let Some(missing) = &without {
        println!("Without a receiver of spans: {missing}\n");
    }
    for (name, chain) in CHAINS {
        if chain.sends && without.is_some() {
            continue;
        }
        if name == BASE || args.wants(name) {
            // A server of its own, or one's replicas would work for all others, too.
            let nats = Nats::start(tools).await?;
            contenders.push(Contender {
                name,
                stack: Stack::start(&chain, tools, &nats.url).await?,
                nats,
                turns: Vec::new(),
            });
        }
    }
    let measured = rounds(&mut contenders, args, tools).await;
    // Also what there is of a run that broke off.
    if contenders.iter().any(|one| !one.turns.is_empty()) {
        println!("{}", shown(&contenders));
    }
    measured?;
    let mut lengths = contenders
        .iter()
        .flat_map(|one| one.turns.iter().map(|turn| turn.bytes));
    let first = lengths.next();
    ensure!(
        lengths.all(|bytes| Some(bytes) == first),
        "contenders answer with different lengths, so they do different work"
    );
    for contender in contenders {
        let requests = contender
            .turns
            .iter()
            .map(|turn| (turn.failed, turn.requests));
        if let Some(failed) = failures(contender.name, requests) {
            println!("{failed}");
        }
        contender.stack.leave().await.say(contender.name);
    }
    Ok(())
}

async fn rounds(contenders: &mut [Contender], args: &Args, tools: &Tools) -> anyhow::Result<()> {
    // One turn to warm up.
    for round in 0..=args.rounds() {
        for contender in &mut *contenders {
            let turn = contender.turn(args, tools).await?;
            eprintln!("round {round}, {}: {turn:?}", contender.name);
            if round > 0 {
                contender.turns.push(turn);
            }
        }
    }
    Ok(())
}

impl Contender {
    async fn turn(&self, args: &Args, tools: &Tools) -> anyhow::Result<Turn> {
        let load = |connections, rate| Load {
            url: self.stack.url.clone(),
            connections,
            duration: args.load(),
            rate,
        };
        let mut pids = self.stack.pids();
        pids.push(self.nats.pid());
        let work = Work::of(pids);
        let profile = Profile::of(self.named());
        let watch = Watch::begin();
        let full = load(CONNECTIONS, None).run(&tools.oha).await?;
        let machine = watch.end();
        let cpu = work.until_rest().await.as_secs_f64() * 1e6 / full.requests;
        let threads = profile.a_request(full.requests);
        let peak = self.stack.pids().into_iter().map(peak).max();
        let peak = peak.unwrap_or_default();
        let profile = Profile::of(self.named());
        let one = load(1, None).run(&tools.oha).await?;
        let alone = profile.a_request(one.requests);
        let rate = ((full.per_second / 2.0) as u32).max(1);
        let half = load(CONNECTIONS, Some(rate));
        let (half, late) = lateness::during(half.run(&tools.oha)).await;
        let half = half?;
        Ok(Turn {
            per_second: full.per_second,
            cpu,
            p50: one.p50.as_secs_f64() * 1e6,
            p99: half.p99_ms(),
            p99_sent: half.p99_sent.as_secs_f64() * 1e3,
            machine,
            late,
            peak: peak as f64 / 1e6,
            threads,
            alone,
            failed: full.failed + one.failed + half.failed,
            requests: full.requests + one.requests + half.requests,
            bytes: full.bytes,
        })
    }

    /// Its processes, the NATS server, and who receives spans.
    fn named(&self) -> Vec<(String, u32)> {
        let hops = ["gateway", "service in the middle", "last service"];
        let members = self.stack.members().iter();
        let members = members.map(|member| (hops[member.hop].to_owned(), member.process.pid()));
        let nats = ("nats-server".to_owned(), self.nats.pid());
        let receiver = self
            .stack
            .receiver()
            .map(|pid| ("receiver of spans".to_owned(), pid));
        members.chain([nats]).chain(receiver).collect()
    }
}

const FIGURES: [Figure<Turn>; 6] = [
    ("requests/s, 64 connections", 0, |turn| turn.per_second),
    ("CPU µs a request", 0, |turn| turn.cpu),
    ("p50 µs, 1 connection", 0, |turn| turn.p50),
    ("p99 ms at half its load", 1, |turn| turn.p99),
    ("from when it was sent", 1, |turn| turn.p99_sent),
    ("largest process at most, MB", 1, |turn| turn.peak),
];

/// What a team would take instead, with which some of ours are compared besides.
const GRPC: &str = "tonic, untraced";

fn shown(contenders: &[Contender]) -> String {
    let turns = |name: &str| {
        let found = contenders.iter().find(|one| one.name == name);
        found.map_or(&[][..], |one| &one.turns)
    };
    let base = turns(BASE);
    let rows = contenders
        .iter()
        .map(|one| compared(one.name.to_owned(), &FIGURES, &one.turns, base));
    let mut text = markdown(&heads("contender", &FIGURES), &rows.collect::<Vec<_>>());
    for name in ["ours, tracing off", "ours, ratio 1 to files"] {
        let rounds = turns(name).iter().zip(turns(GRPC));
        if rounds.len() == 0 {
            continue;
        }
        let ratio = ratio(rounds.map(|(own, grpc)| (own.per_second, grpc.per_second)));
        let _ = writeln!(
            text,
            "\nRequests/s of *{name}* to those of *{GRPC}*: {ratio}."
        );
    }
    let _ = write!(text, "\n{}", processors(contenders));
    let late = contenders.iter().flat_map(|one| &one.turns);
    let late = Spread::of(late.map(|turn| turn.late)).shown(1);
    let _ = writeln!(
        text,
        "\nUnder the half loads a process that does nothing was woken more than 10 ms late so often a second: {late}."
    );
    let compared = [
        BASE,
        GRPC,
        "ours, tracing off",
        "ours, ratio 0",
        "ours, ratio 1 to files",
        "ours, ratio 1 to OTLP",
    ];
    let compared: Vec<&str> = compared
        .into_iter()
        .filter(|name| !turns(name).is_empty())
        .collect();
    let threads = compared
        .iter()
        .map(|name| (*name, turns(name).iter().map(|it| &it.threads).collect()));
    let _ = write!(text, "\n{}", profile::shown(&threads.collect::<Vec<_>>()));
    let alone = compared
        .iter()
        .map(|name| (*name, turns(name).iter().map(|it| &it.alone).collect()));
    let _ = write!(
        text,
        "\nWith one connection:\n\n{}",
        profile::shown(&alone.collect::<Vec<_>>())
    );
    text
}

/// What two cores, or as many as there are, do under the full load. What is neither a contender's nor the driver's nor nothing
/// is the receiver's of spans, where there is one.
fn processors(contenders: &[Contender]) -> String {
    let head = [
        "cores under the full load",
        "busy with it",
        "with the load driver",
        "with nothing",
    ];
    let rows = contenders.iter().map(|one| {
        let of = |figure: fn(&Turn) -> f64| Spread::of(one.turns.iter().map(figure)).shown(2);
        vec![
            one.name.to_owned(),
            of(|turn| turn.cpu * turn.per_second / 1e6),
            of(|turn| turn.machine.driver),
            of(|turn| turn.machine.idle),
        ]
    });
    markdown(&head, &rows.collect::<Vec<_>>())
}
