//! What is counted, what is recorded of it, and what is worse than that.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{side::Side, tools::root};

/// How many more instructions are no fault of a change, as a share. Counted again, on a busy machine, they differ by 1 %.
const MORE_INSTRUCTIONS: f64 = 0.03;
/// Those of a traced caller with 8 KB differ by more: seven counts of these were between 169,000 and 181,000, and the one
/// that is recorded may be the least of them.
const MORE_OF_THE_LARGEST: f64 = 0.09;
/// The same of allocations, which differ by 0.2. One more in each call is seen.
const MORE_ALLOCATIONS: f64 = 0.5;

/// All hops, with what has compiled them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) toolchain: String,
    pub(super) rows: Vec<Row>,
}

/// What a call costs one side of a hop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) hop: String,
    pub(super) side: Side,
    #[serde(flatten)]
    pub(super) cost: Cost,
}

impl Row {
    fn tolerance(&self) -> f64 {
        let is_largest = self.hop == "traced, 8 KB" && self.side == Side::Caller;
        if is_largest {
            MORE_OF_THE_LARGEST
        } else {
            MORE_INSTRUCTIONS
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    /// None where there was no valgrind to count them.
    pub(super) instructions: Option<f64>,
    /// Those that grow what there is included.
    pub(super) allocations: f64,
    pub(super) bytes: f64,
}

impl Cost {
    /// Returns what a long run cost beyond a short one, for each of so many calls.
    pub(super) fn a_call(long: &Self, short: &Self, calls: u32) -> Self {
        let a_call = |long: f64, short: f64| (long - short) / f64::from(calls);
        let instructions = long.instructions.zip(short.instructions);
        Self {
            instructions: instructions.map(|(long, short)| a_call(long, short)),
            allocations: a_call(long.allocations, short.allocations),
            bytes: a_call(long.bytes, short.bytes),
        }
    }

    /// Digits beyond these differ each time.
    fn rounded(self) -> Self {
        Self {
            instructions: self.instructions.map(f64::round),
            allocations: (self.allocations * 100.0).round() / 100.0,
            bytes: self.bytes.round(),
        }
    }
}

impl Figures {
    /// Reads what is recorded, if anything is.
    pub(super) fn recorded() -> anyhow::Result<Option<Self>> {
        let Ok(text) = fs::read(path()) else {
            return Ok(None);
        };
        let figures = serde_json::from_slice(&text);
        figures.with_context(|| format!("{} can't be read", path().display()))
    }

    pub(super) fn record(&self) -> anyhow::Result<()> {
        let mut rounded = self.clone();
        for row in &mut rounded.rows {
            row.cost = row.cost.rounded();
        }
        let mut text = serde_json::to_string_pretty(&rounded)?;
        text.push('\n');
        fs::write(path(), text).with_context(|| format!("{} can't be written", path().display()))
    }

    fn of(&self, row: &Row) -> Option<&Cost> {
        let mut rows = self.rows.iter();
        let found = rows.find(|other| other.hop == row.hop && other.side == row.side);
        found.map(|row| &row.cost)
    }

    /// Tells whether instructions can be compared: another compiler makes others.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.toolchain == other.toolchain
    }

    /// Says, a line each, what costs more than is recorded, or is not recorded.
    pub(super) fn worse_than(&self, recorded: &Self) -> Vec<String> {
        let mut worse = Vec::new();
        for row in &self.rows {
            let place = format!("{}, {}", row.hop, row.side.as_str());
            let Some(then) = recorded.of(row) else {
                worse.push(format!("{place}: nothing is recorded"));
                continue;
            };
            let now = &row.cost;
            if let (Some(now), Some(then)) = (now.instructions, then.instructions)
                && self.is_alike(recorded)
                && now > then * (1.0 + row.tolerance())
            {
                worse.push(format!(
                    "{place}: {now:.0} instructions a call, {then:.0} are recorded"
                ));
            }
            if now.allocations > then.allocations + MORE_ALLOCATIONS {
                worse.push(format!(
                    "{place}: {:.1} allocations a call, {:.1} are recorded",
                    now.allocations, then.allocations
                ));
            }
        }
        worse
    }

    /// A Markdown table: each figure, and how it differs from what is recorded.
    pub(super) fn table(&self, recorded: Option<&Self>) -> String {
        let mut text = String::from(
            "| hop | side | instructions a call | recorded | allocations | recorded | bytes allocated | recorded |\n\
             |---|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.rows {
            let then = recorded.and_then(|recorded| recorded.of(row));
            let now = &row.cost;
            let columns = [
                column(now.instructions, then.and_then(|it| it.instructions), 0),
                column(Some(now.allocations), then.map(|it| it.allocations), 1),
                column(Some(now.bytes), then.map(|it| it.bytes), 0),
            ];
            let (hop, side) = (&row.hop, row.side.as_str());
            let _ = writeln!(text, "| {hop} | {side} | {} |", columns.join(" | "));
        }
        text
    }
}

/// Two cells: a figure, and what it is by comparison.
fn column(now: Option<f64>, then: Option<f64>, digits: usize) -> String {
    let Some(now) = now else {
        return "- | -".to_owned();
    };
    match then {
        Some(then) => {
            let percent = ((now / then - 1.0) * 1000.0).round() / 10.0;
            // Not `-0.0`, where it is a little less.
            let percent = percent + 0.0;
            format!("{now:.digits$} | {then:.digits$} ({percent:+.1} %)")
        }
        None => format!("{now:.digits$} | -"),
    }
}

fn path() -> PathBuf {
    root().join("benches/hop/figures.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(instructions: Option<f64>, allocations: f64) -> Figures {
        Figures {
            toolchain: "rustc 1".to_owned(),
            rows: vec![Row {
                hop: "traced".to_owned(),
                side: Side::Caller,
                cost: Cost {
                    instructions,
                    allocations,
                    bytes: 1024.0,
                },
            }],
        }
    }

    #[test]
    fn what_both_runs_did_beside_calls_is_not_counted() {
        let cost = |instructions, allocations, bytes| Cost {
            instructions,
            allocations,
            bytes,
        };
        let (short, long) = (
            cost(Some(9000.0), 60.0, 700.0),
            cost(Some(13_000.0), 100.0, 900.0),
        );
        assert_eq!(
            cost(Some(1000.0), 10.0, 50.0),
            Cost::a_call(&long, &short, 4)
        );
    }

    #[test]
    fn only_what_costs_clearly_more_is_worse() {
        let recorded = figures(Some(1000.0), 10.0);
        for fine in [
            figures(Some(1020.0), 10.4),
            figures(Some(500.0), 2.0),
            figures(None, 10.0),
        ] {
            assert!(fine.worse_than(&recorded).is_empty(), "{fine:?}");
        }
        assert_eq!(
            ["traced, caller: 1100 instructions a call, 1000 are recorded"],
            *figures(Some(1100.0), 10.0).worse_than(&recorded)
        );
        assert_eq!(
            ["traced, caller: 11.0 allocations a call, 10.0 are recorded"],
            *figures(None, 11.0).worse_than(&recorded)
        );
    }

    #[test]
    fn what_was_never_recorded_is_said() {
        let recorded = Figures {
            rows: Vec::new(),
            ..figures(None, 1.0)
        };
        let worse = figures(None, 1.0).worse_than(&recorded);
        assert_eq!(["traced, caller: nothing is recorded"], *worse);
    }

    #[test]
    fn another_compilers_instructions_are_not_held_against_the_record() {
        let recorded = Figures {
            toolchain: "rustc 2".to_owned(),
            ..figures(Some(1000.0), 10.0)
        };
        let now = figures(Some(1100.0), 20.0);
        assert_eq!(
            ["traced, caller: 20.0 allocations a call, 10.0 are recorded"],
            *now.worse_than(&recorded)
        );
    }

    #[test]
    fn a_row_shows_what_is_recorded_beside_what_is() {
        let table = figures(Some(1010.0), 9.0).table(Some(&figures(Some(1000.0), 10.0)));
        let row = "| traced | caller | 1010 | 1000 (+1.0 %) | 9.0 | 10.0 (-10.0 %) | 1024 | 1024 (+0.0 %) |";
        assert_eq!(Some(row), table.lines().last());
        let table = figures(None, 9.0).table(None);
        let row = "| traced | caller | - | - | 9.0 | - | 1024 | - |";
        assert_eq!(Some(row), table.lines().last());
    }
}
