//! The status line of `up`: on a terminal the last line, and nowhere else.

mod terminal;

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Process, eventually, process,
    up::{ANY_PORT, between, children},
};
use terminal::Terminal;

const XTERM: (&str, &str) = ("TERM", "xterm-256color");

/// Starts `up` on a terminal of 80 columns and waits for its banner; returns where it is, too.
async fn up(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> (Terminal, String) {
    let mut all = vec!["up"];
    all.extend(arguments);
    let terminal = Terminal::start(80, folder, &all, &[&[ANY_PORT], variables].concat());
    let banner = eventually("the banner", async || {
        let bytes = terminal.bytes();
        bytes.contains("Ctrl-C stops everything").then_some(bytes)
    })
    .await;
    let base = between(&banner, "nats-serve is up at ", "\r\n").to_owned();
    (terminal, base)
}

/// Makes so many requests at the same time, and expects each to be answered so.
async fn request(base: &str, count: usize, hurry: &str, status: u16) {
    let client = reqwest::Client::new();
    let requests = (0..count).map(|_| {
        let request = client.get(format!("{base}/user/1"));
        request.header("request-timeout-ms", hurry).send()
    });
    for reply in futures_util::future::join_all(requests).await {
        assert_eq!(status, reply.unwrap().status());
    }
}

/// Tells whether a row is the whole line of an answer.
fn is_line_of(row: &str, status: &str) -> bool {
    let parts: Vec<&str> = row.split("  ").collect();
    let &["GET", "/user/1", shown, took, trace_id] = parts.as_slice() else {
        return false;
    };
    let is_hex = |text: &str| text.chars().all(|character| character.is_ascii_hexdigit());
    shown == status && took.ends_with(" ms") && trace_id.len() == 32 && is_hex(trace_id)
}

/// Waits for so many lines of answers; they are whole, and the status line is below them and nowhere else.
async fn lines(terminal: &Terminal, count: usize, status: &str) -> Vec<String> {
    let what = format!("{count} lines of answers");
    let rows = eventually(&what, async || {
        let rows = terminal.rows()?;
        let lines = rows.iter().filter(|row| is_line_of(row, status)).count();
        let has_status = rows.last()?.contains(" services, ");
        (lines >= count && has_status).then_some(rows)
    })
    .await;
    let with = |words: &str| rows.iter().filter(|row| row.contains(words)).count();
    assert_eq!(count, with(&format!("  {status}  ")), "{rows:#?}");
    assert_eq!(1, with(" services, "), "{rows:#?}");
    assert!(
        rows.last().unwrap().starts_with("4 services, "),
        "{rows:#?}"
    );
    rows
}

#[tokio::test]
async fn on_a_terminal_the_last_line_says_what_runs_and_how_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (terminal, base) = up(folder.path(), &["--scale", "user-service=3"], &[XTERM]).await;
    let before = "only replicas before the first request";
    let rows = terminal
        .last_row(before, |row| row == "4 services, 6 replicas")
        .await;
    let above = &rows[rows.len() - 2];
    assert_eq!(
        "Ctrl-C stops everything. From here one line a request.",
        above
    );

    request(&base, 1, "2000", 200).await;
    let rows = lines(&terminal, 1, "200").await;
    let status = rows.last().unwrap();
    assert!(status.starts_with("4 services, 6 replicas · "), "{status}");
    for part in [" req/s · p50 ", " ms · p99 ", " ms · 0 errors"] {
        assert!(status.contains(part), "{status}");
    }
    // A child that dies is missed, and is back.
    let (pid, _) = children(terminal.pid())
        .into_iter()
        .find(|(_, what)| what.contains("user-service"))
        .unwrap();
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    eventually("a replica that is missed", async || {
        let bytes = terminal.bytes();
        bytes.contains("4 services, 5 of 6 replicas").then_some(())
    })
    .await;
    let back = |row: &str| row.starts_with("4 services, 6 replicas");
    let rows = terminal.last_row("the replica to be back", back).await;
    assert_eq!(
        1,
        rows.iter()
            .filter(|row| row.contains("user-service died"))
            .count()
    );
    let idle = |row: &str| row == "4 services, 6 replicas · 0 req/s";
    terminal.last_row("the figures to forget", idle).await;
}

#[tokio::test]
async fn a_burst_and_a_narrower_window_leave_the_lines_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (terminal, base) = up(folder.path(), &[], &[XTERM]).await;
    request(&base, 200, "10000", 200).await;
    lines(&terminal, 200, "200").await;

    terminal.resize(40);
    let cut = |row: &str| row.starts_with("4 services, 4 replicas · ") && row.chars().count() == 39;
    let rows = terminal.last_row("a status line of 39 columns", cut).await;
    assert_eq!(
        1,
        rows.iter()
            .filter(|row| row.contains(" services, "))
            .count()
    );
    request(&base, 20, "2000", 200).await;
    let rows = terminal.last_row("the status line", cut).await;
    assert_eq!(
        1,
        rows.iter()
            .filter(|row| row.contains(" services, "))
            .count()
    );
}

#[tokio::test]
async fn errors_are_counted_in_red_unless_colour_is_not_wanted() {
    for (variable, red) in [(("LANG", "en_US.UTF-8"), true), (("NO_COLOR", "1"), false)] {
        let folder = tempfile::tempdir().unwrap();
        let slow = ("SIMULATED_LATENCY", "on");
        let (terminal, base) = up(folder.path(), &[], &[XTERM, slow, variable]).await;
        request(&base, 2, "20", 504).await;
        let rows = lines(&terminal, 2, "504").await;
        assert!(rows.last().unwrap().ends_with(" · 2 errors"), "{rows:#?}");
        assert_eq!(red, terminal.bytes().contains("\x1b[31m2 errors\x1b[0m"));
        assert_eq!(red, terminal.bytes().contains("\x1b[2m"));
    }
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut terminal, base) = up(folder.path(), &[], &[XTERM]).await;
    request(&base, 1, "2000", 200).await;
    lines(&terminal, 1, "200").await;
    terminal.type_in("\u{3}");
    eventually("the echo", async || {
        terminal.bytes().contains("^C").then_some(())
    })
    .await;
    terminal.signal(Signal::INT);
    assert!(terminal.ended().await.success());
    let farewell = "stopping; requests under way are finished first";
    let rows = terminal
        .last_row(farewell, |row| {
            row.starts_with(farewell) || row.ends_with("at once")
        })
        .await;
    let all = rows.join("\n");
    assert!(!all.contains(" services, ") && !all.contains("^C"), "{all}");
    assert_eq!(1, all.matches(farewell).count(), "{all}");
    assert!(terminal.bytes().ends_with('\n'));
}

#[tokio::test]
async fn a_terminal_without_unicode_gets_ascii() {
    let folder = tempfile::tempdir().unwrap();
    let (terminal, base) = up(folder.path(), &[], &[XTERM, ("LC_ALL", "C")]).await;
    request(&base, 1, "2000", 200).await;
    let rows = lines(&terminal, 1, "200").await;
    assert!(rows.last().unwrap().contains(" req/s | p50 "), "{rows:#?}");
    assert!(terminal.bytes().is_ascii());
}

#[tokio::test]
async fn what_is_no_terminal_or_a_dumb_one_gets_plain_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (terminal, base) = up(folder.path(), &[], &[("TERM", "dumb")]).await;
    request(&base, 1, "2000", 200).await;
    let line = |row: &str| is_line_of(row, "200");
    terminal.last_row("the line of the answer", line).await;
    assert!(!terminal.bytes().contains('\x1b'));

    let folder = tempfile::tempdir().unwrap();
    let mut piped = Process::start(folder.path(), &["up"], &[ANY_PORT, XTERM]);
    piped.says("Ctrl-C stops everything").await;
    let base = between(&piped.output(), "nats-serve is up at ", "\n").to_owned();
    request(&base, 1, "2000", 200).await;
    piped.says("GET  /user/1  200").await;
    piped.signal(Signal::INT);
    assert!(piped.ended().await.success());
    piped.says("stopping; requests under way").await;
    let said = piped.output();
    assert!(
        !said.contains('\x1b') && !said.contains(" services, "),
        "{said}"
    );
}

#[tokio::test]
async fn a_trace_is_as_wide_as_the_terminal_unless_columns_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let (_up, base) = up(folder.path(), &[], &[XTERM]).await;
    request(&base, 1, "2000", 200).await;
    let trace = &["trace", "last"];
    let shown = async |columns: u16, variables: &[(&str, &str)]| {
        let mut terminal = Terminal::start(columns, folder.path(), trace, variables);
        assert!(terminal.ended().await.success());
        let end = |row: &str| row.contains("user-service/");
        terminal.last_row("the whole trace", end).await.join("\n")
    };
    let piped = |columns| process::run(folder.path(), trace, &[("COLUMNS", columns)]).1;
    assert_eq!(piped("72").trim_end(), shown(72, &[]).await);
    assert_eq!(
        piped("90").trim_end(),
        shown(130, &[("COLUMNS", "90")]).await
    );
    assert_ne!(piped("72"), piped("90"));
}
