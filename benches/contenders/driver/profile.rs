//! Where the CPU of a request goes, thread by thread.

use std::{collections::BTreeMap, time::Duration};

use super::{
    process::{cpu_by_thread, cpu_of},
    table::{Spread, markdown},
};

/// What no living thread of a process has computed: its children, as PostgreSQL's backends are, and threads that have ended.
const OTHERS: &str = "children, ended threads";

/// What the threads of some processes computed between two moments.
#[derive(Debug)]
pub(super) struct Profile {
    processes: Vec<(String, u32)>,
    before: Vec<Spent>,
}

type Spent = BTreeMap<String, Duration>;

/// Microseconds a request, by process and thread.
pub(super) type Threads = BTreeMap<(String, String), f64>;

impl Profile {
    pub(super) fn of(processes: Vec<(String, u32)>) -> Self {
        let before = processes.iter().map(|(_, pid)| spent(*pid));
        Self {
            before: before.collect(),
            processes,
        }
    }

    pub(super) fn a_request(&self, requests: f64) -> Threads {
        let mut threads = Threads::new();
        for ((name, pid), before) in self.processes.iter().zip(&self.before) {
            let after = spent(*pid);
            let mut others = after[OTHERS].as_secs_f64() - before[OTHERS].as_secs_f64();
            for (thread, now) in after.into_iter().filter(|(thread, _)| thread != OTHERS) {
                let then = before.get(&thread).copied().unwrap_or_default();
                // What a thread of this name had computed and has ended since is with the others now.
                others -= then.saturating_sub(now).as_secs_f64();
                let spent = now.saturating_sub(then).as_secs_f64() * 1e6 / requests;
                *threads.entry((name.clone(), thread)).or_default() += spent;
            }
            let others = others.max(0.0) * 1e6 / requests;
            *threads
                .entry((name.clone(), OTHERS.to_owned()))
                .or_default() += others;
        }
        threads
    }
}

fn spent(pid: u32) -> Spent {
    let mut threads = cpu_by_thread(pid);
    let living: Duration = threads.values().sum();
    threads.insert(OTHERS.to_owned(), cpu_of(pid).saturating_sub(living));
    threads
}

/// A table of those threads that take a microsecond, of some contenders side by side.
pub(super) fn shown(contenders: &[(&str, Vec<&Threads>)]) -> String {
    let mut head = vec!["CPU µs a request: process", "thread"];
    head.extend(contenders.iter().map(|(name, _)| *name));
    let all = contenders.iter().flat_map(|(_, rounds)| rounds);
    let mut keys: Vec<_> = all.flat_map(|round| round.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut rows = Vec::new();
    for key in keys {
        let of = |rounds: &[&Threads]| {
            let rounds = rounds.iter();
            Spread::of(rounds.map(|round| round.get(key).copied().unwrap_or_default()))
        };
        let spreads: Vec<Spread> = contenders.iter().map(|(_, rounds)| of(rounds)).collect();
        if !spreads.iter().any(|spread| spread.median >= 1.0) {
            continue;
        }
        let mut row = vec![key.0.clone(), key.1.clone()];
        row.extend(spreads.iter().map(|spread| spread.shown(0)));
        rows.push(row);
    }
    markdown(&head, &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_stand_side_by_side_and_idle_ones_are_left_out() {
        let threads = |all: &[(&str, f64)]| -> Threads {
            let all = all.iter();
            all.map(|(thread, spent)| (("gateway".to_owned(), (*thread).to_owned()), *spent))
                .collect()
        };
        let (one, other) = (
            threads(&[("main", 40.0), ("idle", 0.1)]),
            threads(&[("main", 50.0), ("sqlite", 20.0)]),
        );
        let table = shown(&[("in memory", vec![&one, &one]), ("on SQLite", vec![&other])]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(
            [
                "| gateway | main | 40 (40–40) | 50 (50–50) |",
                "| gateway | sqlite | 0 (0–0) | 20 (20–20) |",
            ],
            *rows
        );
    }
}
