//! All chains with the same work, in turns: what each answers a second, how soon, and for how much computing.

use super::{
    Args,
    oha::{Load, Outcome},
    process::resident,
    stack::{Chain, Nats, Stack, Work},
    table::{Spread, markdown},
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
#[derive(Debug, Clone, Copy)]
struct Turn {
    per_second: f64,
    /// Of all processes and NATS, a request, in microseconds.
    cpu: f64,
    /// With one connection, in microseconds.
    p50: f64,
    /// At half of what the base can do, in milliseconds.
    p99: f64,
    /// Of the process that has most in memory after the full load, in megabytes.
    resident: f64,
}

fn chains() -> Vec<(&'static str, Chain)> {
    let chain = |kind, arguments: &[&str]| Chain {
        kind,
        hops: 2,
        replicas: 1,
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        sends: false,
    };
    let traced = |ratio| chain("ours", &["--ratio", ratio, "--spans-dir", "spans"]);
    let sending = |chain| Chain {
        sends: true,
        ..chain
    };
    vec![
        (BASE, chain("raw", &[])),
        ("tonic, untraced", chain("grpc", &[])),
        ("ours, tracing off", chain("ours", &[])),
        ("ours, access log", chain("ours", &["--access-log"])),
        ("ours, ratio 0", traced("0")),
        ("ours, ratio 0.01 to files", traced("0.01")),
        ("ours, ratio 1 to files", traced("1")),
        (
            "ours, ratio 1 to OTLP",
            sending(chain("ours", &["--ratio", "1"])),
        ),
        ("ours, ratio 1 to both", sending(traced("1"))),
    ]
}

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    let mut contenders = Vec::new();
    for (name, chain) in chains() {
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
    let mut half = 0;
    // One turn to warm up, which also tells what half of the load is.
    for round in 0..=args.rounds {
        for contender in &mut contenders {
            let turn = contender.turn(args, tools, half).await?;
            eprintln!("round {round}, {}: {turn:?}", contender.name);
            if round > 0 {
                contender.turns.push(turn);
            } else if contender.name == BASE {
                half = (turn.per_second / 2.0) as u32;
            }
        }
    }
    println!("{}", shown(&contenders));
    for contender in contenders {
        contender.stack.leave().await.say(contender.name);
    }
    Ok(())
}

impl Contender {
    async fn turn(&self, args: &Args, tools: &Tools, half: u32) -> anyhow::Result<Turn> {
        let load = |connections, rate| Load {
            url: self.stack.url.clone(),
            connections,
            duration: args.load(),
            rate,
        };
        let mut pids = self.stack.pids();
        pids.push(self.nats.pid());
        let work = Work::of(pids);
        let full = load(CONNECTIONS, None).run(&tools.oha).await?;
        let cpu = work.until_now().as_secs_f64() * 1e6 / full.requests;
        let resident = self.stack.pids().into_iter().map(resident).max();
        let resident = resident.unwrap_or_default();
        let one = load(1, None).run(&tools.oha).await?;
        let rate = (half > 0).then_some(half);
        let at_half: Outcome = load(CONNECTIONS, rate).run(&tools.oha).await?;
        Ok(Turn {
            per_second: full.per_second,
            cpu,
            p50: one.p50.as_secs_f64() * 1e6,
            p99: at_half.p99.as_secs_f64() * 1e3,
            resident: resident as f64 / 1e6,
        })
    }
}

/// One column, and its ratio to the base's.
struct Figure {
    name: &'static str,
    digits: usize,
    of: fn(&Turn) -> f64,
}

const FIGURES: [Figure; 5] = [
    Figure {
        name: "requests/s, 64 connections",
        digits: 0,
        of: |turn| turn.per_second,
    },
    Figure {
        name: "CPU µs a request",
        digits: 0,
        of: |turn| turn.cpu,
    },
    Figure {
        name: "p50 µs, 1 connection",
        digits: 0,
        of: |turn| turn.p50,
    },
    Figure {
        name: "p99 ms at half load",
        digits: 1,
        of: |turn| turn.p99,
    },
    Figure {
        name: "largest process, MB",
        digits: 1,
        of: |turn| turn.resident,
    },
];

fn shown(contenders: &[Contender]) -> String {
    let mut head = vec!["contender"];
    head.extend(FIGURES.iter().flat_map(|figure| [figure.name, "ratio"]));
    let base = contenders.iter().find(|one| one.name == BASE);
    let base = base.map_or(&[][..], |base| &base.turns);
    let rows: Vec<Vec<String>> = contenders.iter().map(|one| one.row(base)).collect();
    markdown(&head, &rows)
}

impl Contender {
    /// Ratios are those of each round, in which the machine was the same for all.
    fn row(&self, base: &[Turn]) -> Vec<String> {
        let mut row = vec![self.name.to_owned()];
        for Figure { digits, of, .. } in FIGURES {
            row.push(Spread::of(self.turns.iter().map(of)).shown(digits));
            let rounds = self.turns.iter().zip(base);
            let ratios = rounds.map(|(own, base)| of(own) / of(base));
            row.push(format!("{:.2}", Spread::of(ratios).median));
        }
        row
    }
}
