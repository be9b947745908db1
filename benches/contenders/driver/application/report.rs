//! The tables of the application: reading, and registering beside what each store can do.

use super::subject::{Contender, Group, Subject, Turn};
use crate::driver::{
    profile,
    table::{self, Spread, markdown},
};

/// What reading is compared with.
pub(super) const RAW: &str = "async-nats alone";
pub(super) const MEMORY: &str = "ours, in memory, traced to files, access log";

pub(super) fn shown(contenders: &[Contender]) -> String {
    let reads = |one: &&Contender| one.group == Group::Get && one.name != RAW;
    let registers = |one: &&Contender| {
        one.group != Group::Get && matches!(one.subject, Subject::Application(..))
    };
    let tables = [
        reading(contenders),
        profile(contenders.iter().filter(reads)),
        registering(contenders),
        profile(contenders.iter().filter(registers)),
    ];
    tables.join("\n")
}

/// What a request of each costs each thread, side by side.
fn profile<'a>(contenders: impl Iterator<Item = &'a Contender>) -> String {
    let all = contenders.map(|one| {
        let rounds = one.turns.iter().map(|turn| &turn.threads).collect();
        (one.name.as_str(), rounds)
    });
    profile::shown(&all.collect::<Vec<_>>())
}

fn reading(contenders: &[Contender]) -> String {
    let head = [
        "GET /user/1",
        "requests/s, 64 connections",
        "of async-nats alone",
        "of ours in memory",
        "CPU µs a request",
        "ratio",
        "p50 µs, 1 connection",
        "ratio",
        "p99 ms at half its load",
    ];
    let turns = |name: &str| {
        let found = contenders.iter().find(|one| one.name == name);
        found.map_or(&[][..], |one| &one.turns)
    };
    let (raw, memory) = (turns(RAW), turns(MEMORY));
    let read = contenders.iter().filter(|one| one.group == Group::Get);
    let rows = read.map(|Contender { name, turns, .. }| {
        vec![
            name.clone(),
            spread(turns, per_second, 0),
            ratio(turns, raw, per_second),
            ratio(turns, memory, per_second),
            spread(turns, |turn| turn.cpu, 0),
            ratio(turns, raw, |turn| turn.cpu),
            spread(turns, p50, 0),
            ratio(turns, raw, p50),
            spread(turns, |turn| turn.p99, 1),
        ]
    });
    markdown(&head, &rows.collect::<Vec<_>>())
}

fn registering(contenders: &[Contender]) -> String {
    let head = [
        "registering",
        "registrations/s",
        "of the store, one by one",
        "of the store, many at once",
        "CPU µs a request",
        "cores busy with it",
        "with the load driver",
        "with nothing",
        "waiting for the disk",
        "p50 ms, 1 connection; a store's own commits",
        "p99 ms at half its load",
        "sent again a turn",
    ];
    let mut rows = Vec::new();
    for one in contenders {
        let Group::Register(store) = one.group else {
            continue;
        };
        let bare = |many: bool| {
            let found = contenders.iter().find(|it| {
                let is_it = matches!(&it.subject, Subject::Store(bare) if bare.has_many() == many);
                it.group == Group::Register(store) && is_it
            });
            found.map_or(&[][..], |it| &it.turns)
        };
        let turns = &one.turns;
        rows.push(vec![
            one.name.clone(),
            spread(turns, per_second, 0),
            ratio(turns, bare(false), per_second),
            ratio(turns, bare(true), per_second),
            spread(turns, |turn| turn.cpu, 0),
            spread(
                turns,
                |turn| turn.cpu.map(|cpu| cpu * turn.per_second / 1e6),
                2,
            ),
            spread(turns, |turn| turn.machine.map(|it| it.driver), 2),
            spread(turns, |turn| turn.machine.map(|it| it.idle), 2),
            spread(turns, |turn| turn.machine.map(|it| it.disk), 2),
            spread(turns, |turn| Some(turn.p50 / 1e3), 2),
            spread(turns, |turn| turn.p99, 1),
            spread(turns, |turn| Some(turn.repeated), 0),
        ]);
    }
    markdown(&head, &rows)
}

type Figure = fn(&Turn) -> Option<f64>;

fn per_second(turn: &Turn) -> Option<f64> {
    Some(turn.per_second)
}

fn p50(turn: &Turn) -> Option<f64> {
    Some(turn.p50)
}

fn spread(turns: &[Turn], of: Figure, digits: usize) -> String {
    let figures: Vec<f64> = turns.iter().filter_map(of).collect();
    match figures.is_empty() {
        true => "–".to_owned(),
        false => Spread::of(figures).shown(digits),
    }
}

/// Of each round, in which the machine was the same for all.
fn ratio(turns: &[Turn], base: &[Turn], of: Figure) -> String {
    let rounds = turns.iter().zip(base);
    table::ratio(rounds.filter_map(|(own, base)| of(own).zip(of(base))))
}
