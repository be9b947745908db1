//! What was answered, minute by minute.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use serde_json::Value;

use crate::driver::{
    oha::percentile,
    table::{Spread, markdown},
};

/// Minutes a line of the table.
const TOGETHER: usize = 5;

/// How often each status, or what was there in place of one.
type Answers = BTreeMap<String, u64>;

#[derive(Debug, Clone)]
pub(super) struct Minute {
    /// Of the usual ones, and of those that wait in vain.
    pub(super) per_second: [f64; 2],
    p50: Duration,
    pub(super) p99: Duration,
    usual: Answers,
    /// To requests whose callers wait in vain.
    late: Answers,
}

impl Minute {
    /// Reads what oha says of the usual requests, and of those that wait in vain.
    pub(super) fn read(usual: &Value, late: &Value) -> anyhow::Result<Self> {
        let per_second = |report: &Value| {
            let rate = report["summary"]["requestsPerSec"].as_f64();
            rate.context("oha tells no rate")
        };
        Ok(Self {
            per_second: [per_second(usual)?, per_second(late)?],
            p50: percentile(usual, "p50")?,
            p99: percentile(usual, "p99")?,
            usual: answers(usual),
            late: answers(late),
        })
    }

    /// Answers as they are to be.
    fn expected(&self) -> (u64, u64) {
        let of = |answers: &Answers, status| answers.get(status).copied().unwrap_or_default();
        (of(&self.usual, "200"), of(&self.late, "504"))
    }

    /// All others.
    fn unexpected(&self) -> impl Iterator<Item = (String, u64)> {
        let usual = self.usual.iter().filter(|(status, _)| *status != "200");
        let late = self.late.iter().filter(|(status, _)| *status != "504");
        let usual = usual.map(|(status, count)| (status.clone(), *count));
        usual.chain(late.map(|(status, count)| (format!("{status} in place of 504"), *count)))
    }
}

fn answers(report: &Value) -> Answers {
    let all = ["statusCodeDistribution", "errorDistribution"];
    let all = all.iter().filter_map(|kind| report[kind].as_object());
    let all = all.flatten().map(|(status, count)| {
        let count = count.as_u64().unwrap_or_default();
        (status.clone(), count)
    });
    all.collect()
}

/// What was not as it is to be in all these minutes; empty if all was.
pub(super) fn unexpected(minutes: &[Minute]) -> String {
    let mut all = Answers::new();
    for (status, count) in minutes.iter().flat_map(Minute::unexpected) {
        *all.entry(status).or_default() += count;
    }
    let all: Vec<String> = (all.iter())
        .map(|(status, count)| format!("{count} × {status}"))
        .collect();
    all.join(", ")
}

/// Percentiles of several minutes can't be put together: their middle and range are told.
pub(super) fn shown(minutes: &[Minute]) -> String {
    let head = [
        "minutes",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "200",
        "504",
        "others",
    ];
    let rows = minutes.chunks(TOGETHER).enumerate().map(|(at, some)| {
        let spread = |of: fn(&Minute) -> f64| Spread::of(some.iter().map(of));
        let counts = some.iter().map(Minute::expected);
        let (good, late) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        let others = Some(unexpected(some)).filter(|others| !others.is_empty());
        let first = at * TOGETHER;
        vec![
            format!("{first}–{}", first + some.len()),
            spread(|minute| minute.per_second[0]).shown(0),
            spread(|minute| minute.p50.as_secs_f64() * 1e3).shown(2),
            spread(|minute| minute.p99.as_secs_f64() * 1e3).shown(1),
            good.to_string(),
            late.to_string(),
            others.unwrap_or_else(|| "none".to_owned()),
        ]
    });
    let rows: Vec<_> = rows.collect();
    markdown(&head, &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn minute(usual: &Value, late: &Value) -> Minute {
        let report = |statuses: &Value, errors: Value| {
            json!({
                "summary": { "requestsPerSec": 99.0 },
                "latencyPercentiles": { "p50": 0.001, "p99": 0.004 },
                "statusCodeDistribution": statuses,
                "errorDistribution": errors,
            })
        };
        let errors = json!({ "connection closed": 1 });
        let usual = report(usual, errors);
        Minute::read(&usual, &report(late, json!({}))).unwrap()
    }

    #[test]
    fn what_is_not_as_expected_is_counted_by_what_was_expected() {
        let good = minute(&json!({ "200": 10 }), &json!({ "504": 2 }));
        let bad = minute(
            &json!({ "200": 9, "503": 1 }),
            &json!({ "200": 1, "504": 1 }),
        );
        assert_eq!((10, 2), good.expected());
        assert_eq!(
            "1 × 200 in place of 504, 1 × 503, 2 × connection closed",
            unexpected(&[good, bad])
        );
    }

    #[test]
    fn minutes_are_told_by_fives_and_the_rest() {
        let minutes: Vec<_> = (0..7)
            .map(|_| minute(&json!({ "200": 10 }), &json!({ "504": 2 })))
            .collect();
        let table = shown(&minutes);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(2, rows.len(), "{table}");
        assert!(rows[0].starts_with("| 0–5 | 99 (99–99) | 1.00 "), "{table}");
        assert!(
            rows[0].contains("| 50 | 10 | 5 × connection closed |"),
            "{table}"
        );
        assert!(rows[1].starts_with("| 5–7 |"), "{table}");
    }
}
