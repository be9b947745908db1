//! The table: a row a replica, within 80 columns.

use std::time::{Duration, SystemTime};

use crate::client::{EndpointStats, ServiceStats};

/// `LOAD` is how many requests are worked on, of how many at most; `QUEUE` how many wait for a place;
/// `LATE` how many came when nobody waited for the answer any more.
const HEAD: [&str; 8] = [
    "SERVICE", "REPLICA", "UPTIME", "REQUESTS", "ERRORS", "LOAD", "QUEUE", "LATE",
];

pub(super) fn table(replicas: &[ServiceStats], now: SystemTime) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(replicas.iter().map(|replica| row(replica, now)));
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.max().unwrap_or(0)
    });
    let line = |row: &[String; HEAD.len()]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(replica: &ServiceStats, now: SystemTime) -> [String; HEAD.len()] {
    let sum =
        |of: fn(&EndpointStats) -> u64| replica.endpoints.iter().map(of).sum::<u64>().to_string();
    // Each operation tells the load of the whole replica.
    let told = replica.endpoints.first().map(|endpoint| &endpoint.data);
    let number = |name: &str| told.and_then(|data| data[name].as_u64());
    let text = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let leaving = told.is_some_and(|data| data["draining"] == true);
    let load = match (number("ongoing"), number("limit")) {
        _ if leaving => "leaving".to_owned(),
        (Some(ongoing), Some(limit)) => format!("{ongoing}/{limit}"),
        _ => "-".to_owned(),
    };
    [
        // Anybody may answer, and a terminal obeys control characters.
        replica.name.escape_debug().to_string(),
        replica.id.escape_debug().to_string(),
        uptime(&replica.started, now),
        sum(|endpoint| endpoint.num_requests),
        sum(|endpoint| endpoint.num_errors),
        load,
        text(number("queued")),
        text(number("expired")),
    ]
}

/// Writes the two largest units: `1h2m`. Exact to the second only in the first hour.
fn uptime(started: &str, now: SystemTime) -> String {
    let Ok(started) = humantime::parse_rfc3339(started) else {
        return "?".to_owned();
    };
    let up = now.duration_since(started).unwrap_or(Duration::ZERO);
    let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
    match up.as_secs() {
        seconds if seconds < minute => format!("{seconds}s"),
        seconds if seconds < hour => format!("{}m{}s", seconds / minute, seconds % minute),
        seconds if seconds < day => format!("{}h{}m", seconds / hour, seconds % hour / minute),
        seconds if seconds < 100 * day => {
            format!("{}d{}h", seconds / day, seconds % day / hour)
        }
        seconds => format!("{}d", seconds / day),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn replica(name: &str, id: &str, started: &str, data: &Value) -> ServiceStats {
        let endpoint = |name: &str, requests: u64, errors: u64| {
            json!({"name": name, "subject": format!("svc.user.{name}"), "queue_group": "user",
                "num_requests": requests, "num_errors": errors, "processing_time": 7,
                "average_processing_time": 1, "data": data})
        };
        serde_json::from_value(json!({
            "name": name, "id": id, "version": "0.1.0", "started": started,
            "endpoints": [endpoint("a", 7, 1), endpoint("b", 3, 0)],
        }))
        .unwrap()
    }

    fn at(time: &str) -> SystemTime {
        humantime::parse_rfc3339(time).unwrap()
    }

    #[test]
    fn replicas_stand_in_a_table() {
        let load = |draining| json!({"ongoing": 12, "limit": 256, "queued": 3, "expired": 1, "draining": draining});
        let started = "2026-01-01T00:00:00Z";
        let replicas = [
            replica("user-service", "u1", started, &load(false)),
            replica("user-service", "u2", started, &load(true)),
            replica("other", "o1", started, &Value::Null),
        ];
        assert_eq!(
            "\
SERVICE       REPLICA  UPTIME  REQUESTS  ERRORS     LOAD  QUEUE  LATE
user-service  u1         1h2m        10       1   12/256      3     1
user-service  u2         1h2m        10       1  leaving      3     1
other         o1         1h2m        10       1        -      -     -
",
            table(&replicas, at("2026-01-01T01:02:03Z"))
        );
    }

    #[test]
    fn a_busy_system_fits_into_80_columns() {
        let load = json!({"ongoing": 512, "limit": 512, "queued": 99_999, "expired": 9_999, "draining": false});
        let mut busy = replica(
            "notification-service",
            "6vkzrijjiv",
            "2026-01-01T00:00:00Z",
            &load,
        );
        busy.endpoints[0].num_requests = 99_999_000;
        busy.endpoints[0].num_errors = 999_998;
        let table = table(&[busy], at("2026-01-01T23:59:59Z"));
        assert_eq!(
            [80, 80].as_slice(),
            table.lines().map(str::len).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_uptime_is_short() {
        let started = "2026-01-01T00:00:00Z";
        for (now, shown) in [
            ("2025-12-31T00:00:00Z", "0s"),
            ("2026-01-01T00:00:59Z", "59s"),
            ("2026-01-01T00:59:59Z", "59m59s"),
            ("2026-01-01T23:59:59Z", "23h59m"),
            ("2026-04-10T23:00:00Z", "99d23h"),
            ("2029-01-01T00:00:00Z", "1096d"),
        ] {
            assert_eq!(shown, uptime(started, at(now)));
        }
        assert_eq!("?", uptime("soon", SystemTime::now()));
    }
}
