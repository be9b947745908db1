//! The hops that are counted, and how.

use std::{fs, path::Path};

use anyhow::Context as _;
use tokio::process::Command;

use super::{
    figures::{Cost, Row},
    process::{Nats, Process},
    side::Side,
    tools::Tools,
};

/// Calls of a short run and of a long one. Start, connection, warming up and end are in both, so the difference is that
/// of the calls alone.
const CALLS: [u32; 2] = [250, 1_250];
/// How often instructions are counted; the middle one holds. Whether a body of 8 KB that grows has to be moved depends
/// on what lies beside it, which is up to when the spans' thread frees what: a process of such luck has 3 % more or less.
const ROUNDS: usize = 3;

#[derive(Debug)]
pub(super) struct Hop {
    pub(super) name: &'static str,
    /// Bytes of the request's body, and of the reply's.
    body: usize,
    /// All calls, to span files.
    is_traced: bool,
}

pub(super) const HOPS: [Hop; 4] = [
    Hop::new("untraced, 64 B", 64, false),
    Hop::new("untraced, 8 KB", 8192, false),
    Hop::new("traced, 64 B", 64, true),
    Hop::new("traced, 8 KB", 8192, true),
];

impl Hop {
    const fn new(name: &'static str, body: usize, is_traced: bool) -> Self {
        Self {
            name,
            body,
            is_traced,
        }
    }

    /// Counts a call at both sides. Allocations are those of runs without callgrind, which makes all so slow that fewer
    /// spans share a line of their file.
    pub(super) async fn count(&self, tools: &Tools, nats: &Nats) -> anyhow::Result<[Row; 2]> {
        let (mut plain, mut counted) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(self.a_call(tools, nats, false).await?);
            if tools.has_valgrind {
                counted.push(self.a_call(tools, nats, true).await?);
            }
        }
        let of = |rounds: &[[Cost; 2]], side: usize, figure: fn(&Cost) -> Option<f64>| {
            middle(rounds.iter().filter_map(|it| figure(&it[side])))
        };
        let cost = |side: usize| Cost {
            instructions: of(&counted, side, |it| it.instructions),
            allocations: of(&plain, side, |it| Some(it.allocations)).unwrap_or_default(),
            bytes: of(&plain, side, |it| Some(it.bytes)).unwrap_or_default(),
        };
        let [caller, replica] = [cost(0), cost(1)];
        let row = |side, cost| Row {
            hop: self.name.to_owned(),
            side,
            cost,
        };
        Ok([row(Side::Caller, caller), row(Side::Replica, replica)])
    }

    async fn a_call(&self, tools: &Tools, nats: &Nats, counted: bool) -> anyhow::Result<[Cost; 2]> {
        let [few, many] = CALLS;
        let short = self.run(tools, nats, counted, few).await?;
        let long = self.run(tools, nats, counted, many).await?;
        let cost = |side: usize| Cost::a_call(&long[side], &short[side], many - few);
        Ok([cost(0), cost(1)])
    }

    /// Runs both processes from start to end, and returns what that cost each.
    async fn run(
        &self,
        tools: &Tools,
        nats: &Nats,
        counted: bool,
        calls: u32,
    ) -> anyhow::Result<[Cost; 2]> {
        let folder = tempfile::tempdir().context("no folder can be made")?;
        let count_of = |side: Side| counted.then(|| folder.path().join(side.as_str()));
        let start = |side: Side| {
            let mut command = program(tools, count_of(side).as_deref());
            command
                .args(["serve", side.as_str(), "--nats", &nats.url])
                .args(["--calls", &calls.to_string()])
                .args(["--body", &self.body.to_string()]);
            if self.is_traced {
                command.arg("--spans-dir").arg(folder.path().join("spans"));
            }
            Process::start(command)
        };
        let mut replica = start(Side::Replica)?;
        replica.says("ready").await?;
        let mut caller = start(Side::Caller)?;
        let called = caller.says("allocated").await?;
        caller.ends().await?;
        replica.leave();
        let served = replica.says("allocated").await?;
        replica.ends().await?;
        Ok([
            cost(&called, count_of(Side::Caller).as_deref())?,
            cost(&served, count_of(Side::Replica).as_deref())?,
        ])
    }
}

fn program(tools: &Tools, count: Option<&Path>) -> Command {
    let Some(count) = count else {
        return Command::new(&tools.hop);
    };
    let mut command = Command::new("valgrind");
    command
        // Of several threads the one that has waited longest goes on: the spans' must not starve.
        .args(["--tool=callgrind", "--quiet", "--fair-sched=yes"])
        .arg(format!("--callgrind-out-file={}", count.display()))
        .arg(&tools.hop);
    command
}

/// Puts together what a process has said, and what callgrind has written of it.
fn cost(allocated: &str, count: Option<&Path>) -> anyhow::Result<Cost> {
    let (allocations, bytes) = allocated.split_once(' ').context("these are two figures")?;
    let instructions = count.map(|count| {
        let text = fs::read_to_string(count).context("callgrind has written nothing")?;
        instructions(&text).context("callgrind tells no total")
    });
    Ok(Cost {
        instructions: instructions.transpose()?,
        allocations: allocations.parse()?,
        bytes: bytes.parse()?,
    })
}

fn middle(counts: impl Iterator<Item = f64>) -> Option<f64> {
    let mut counts: Vec<f64> = counts.collect();
    counts.sort_by(f64::total_cmp);
    counts.get(counts.len() / 2).copied()
}

/// Reads what a process has executed, on all its threads.
fn instructions(callgrind: &str) -> Option<f64> {
    let mut lines = callgrind.lines();
    let total = lines.find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_behind_what_each_function_has() {
        let file = "events: Ir\nfn=(1) main\n12 4000\ncalls=1 3\n12 700\n\ntotals: 4700\n";
        assert_eq!(Some(4700.0), instructions(file));
        assert_eq!(None, instructions("events: Ir\n12 4000\n"));
    }

    #[test]
    fn one_count_that_stands_out_is_not_the_one_that_holds() {
        assert_eq!(Some(11.0), middle([99.0, 10.0, 11.0].into_iter()));
        assert_eq!(None, middle([].into_iter()));
    }

    #[test]
    fn a_process_without_callgrind_tells_its_allocations() {
        let cost = cost("120 4096", None).unwrap();
        assert_eq!(
            (120.0, 4096.0, None),
            (cost.allocations, cost.bytes, cost.instructions)
        );
    }
}
