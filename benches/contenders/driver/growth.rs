//! How ours and async-nats alone grow: with replicas, connections, bodies and hops, each by itself.
//!
//! Contenders have their turns within a round, so that a ratio is of one moment of the machine.

mod dimension;

use std::fmt::Write as _;

use anyhow::ensure;

use self::dimension::{Dimension, Setting};
use super::{
    Args,
    nats::Nats,
    oha::Load,
    process::Work,
    stack::{Chain, Stack},
    table::{Figure, compared, failures, heads, markdown},
    tools::Tools,
};

/// What the others are compared with.
const BASE: &str = "async-nats alone";

/// A contender in one setting of the dimension.
#[derive(Debug)]
struct Cell {
    name: &'static str,
    setting: Setting,
    /// Which of the stacks serves it: settings that differ in the load alone share one.
    stack: usize,
    turns: Vec<Turn>,
}

/// What came of one turn.
#[derive(Debug, Clone, Copy)]
struct Turn {
    per_second: f64,
    /// Of all processes and NATS, a request, in microseconds.
    cpu: f64,
    /// In milliseconds, each connection asking again when it is answered.
    p50: f64,
    p99: f64,
    failed: f64,
    requests: f64,
}

#[derive(Debug)]
struct Running {
    name: &'static str,
    chain: (usize, usize),
    stack: Stack,
    nats: Nats,
}

pub(super) async fn run(args: &Args, tools: &Tools) -> anyhow::Result<()> {
    for dimension in dimension::ALL {
        println!("{}", measure(&dimension, args, tools).await?);
    }
    Ok(())
}

async fn measure(dimension: &Dimension, args: &Args, tools: &Tools) -> anyhow::Result<String> {
    let mut running: Vec<Running> = Vec::new();
    let mut cells = Vec::new();
    for setting in dimension.settings() {
        for (name, kind, arguments) in contenders(dimension.traced) {
            if name != BASE && !args.wants(name) {
                continue;
            }
            let chain = (setting.hops, setting.replicas);
            let is_it = |it: &Running| it.name == name && it.chain == chain;
            let stack = match running.iter().position(is_it) {
                Some(stack) => stack,
                None => {
                    let chain = Chain {
                        hops: setting.hops,
                        replicas: setting.replicas,
                        ..Chain::new(kind, arguments)
                    };
                    running.push(Running::start(name, &chain, args, tools).await?);
                    running.len() - 1
                }
            };
            cells.push(Cell {
                name,
                setting,
                stack,
                turns: Vec::new(),
            });
        }
    }
    for round in 1..=args.rounds() {
        for cell in &mut cells {
            let turn = running[cell.stack].turn(cell.setting, args, tools).await?;
            let (name, size) = (cell.name, dimension.size(cell.setting));
            eprintln!("round {round}, {} {size}, {name}: {turn:?}", dimension.name);
            cell.turns.push(turn);
        }
    }
    // All at once: one after the other they would take longer than the loads.
    let leaving = running.into_iter().map(async |it| {
        let Running {
            name,
            stack,
            nats: _nats,
            ..
        } = it;
        (name, stack.leave().await)
    });
    for (name, losses) in futures_util::future::join_all(leaving).await {
        losses.say(name);
    }
    let mut text = shown(dimension, &cells);
    for cell in &cells {
        let name = format!("{}, {}", dimension.size(cell.setting), cell.name);
        let requests = cell.turns.iter().map(|turn| (turn.failed, turn.requests));
        if let Some(failed) = failures(&name, requests) {
            let _ = writeln!(text, "\n{failed}");
        }
    }
    Ok(text)
}

/// Name, chain and its arguments.
fn contenders(traced: bool) -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    let mut all: Vec<(_, _, &'static [_])> =
        vec![(BASE, "raw", &[]), ("ours, tracing off", "ours", &[])];
    if traced {
        let arguments = &["--ratio", "1", "--spans-dir", "spans"];
        all.push(("ours, ratio 1 to files", "ours", arguments));
    }
    all
}

impl Running {
    async fn start(
        name: &'static str,
        chain: &Chain,
        args: &Args,
        tools: &Tools,
    ) -> anyhow::Result<Self> {
        // A server of its own, or one's replicas would work for all others, too.
        let nats = Nats::start(tools).await?;
        let running = Self {
            name,
            chain: (chain.hops, chain.replicas),
            stack: Stack::start(chain, tools, &nats.url).await?,
            nats,
        };
        let to_warm_up = Setting {
            hops: chain.hops,
            replicas: chain.replicas,
            ..Setting::BASE
        };
        running.turn(to_warm_up, args, tools).await?;
        Ok(running)
    }

    async fn turn(&self, setting: Setting, args: &Args, tools: &Tools) -> anyhow::Result<Turn> {
        let load = Load {
            url: format!("{}?bytes={}", self.stack.url, setting.bytes),
            connections: setting.connections,
            // There are forty cells, and what a shorter load tells less of, more rounds tell.
            duration: args.load() * 3 / 10,
            rate: None,
        };
        let mut pids = self.stack.pids();
        pids.push(self.nats.pid());
        let work = Work::of(pids);
        let outcome = load.run(&tools.oha).await?;
        ensure!(
            outcome.bytes >= setting.bytes as u64,
            "answers have {} bytes",
            outcome.bytes
        );
        Ok(Turn {
            per_second: outcome.per_second,
            cpu: work.until_rest().await.as_secs_f64() * 1e6 / outcome.requests,
            p50: outcome.p50.as_secs_f64() * 1e3,
            p99: outcome.p99_ms(),
            failed: outcome.failed,
            requests: outcome.requests,
        })
    }
}

const FIGURES: [Figure<Turn>; 4] = [
    ("requests/s", 0, |turn| turn.per_second),
    ("CPU µs a request", 0, |turn| turn.cpu),
    ("p50 ms", 2, |turn| turn.p50),
    ("p99 ms", 1, |turn| turn.p99),
];

fn shown(dimension: &Dimension, cells: &[Cell]) -> String {
    let rows = cells.iter().map(|cell| {
        let base = cells
            .iter()
            .find(|base| base.name == BASE && base.setting == cell.setting);
        let base = base.map_or(&[][..], |base| &base.turns);
        let name = format!("{}: {}", dimension.size(cell.setting), cell.name);
        compared(name, &FIGURES, &cell.turns, base)
    });
    let rows: Vec<_> = rows.collect();
    markdown(&heads(dimension.name, &FIGURES), &rows)
}
