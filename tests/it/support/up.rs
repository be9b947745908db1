//! A running `up`, and the processes below it.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

use super::{Process, eventually};

pub(crate) const ANY_PORT: (&str, &str) = ("HTTP_ADDR", "127.0.0.1:0");

pub(crate) async fn up(folder: &Path, arguments: &[&str]) -> Process {
    let mut up = start(folder, arguments);
    up.says("Ctrl-C stops everything").await;
    up
}

pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Process {
    let mut all = vec!["up"];
    all.extend(arguments);
    Process::start(folder, &all, &[ANY_PORT])
}

/// The processes below one, by what they run.
pub(crate) fn children(pid: u32) -> BTreeMap<u32, String> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,args="])
        .stdin(Stdio::null())
        .output()
        .expect("ps");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = text.lines().filter_map(|line| {
        let (pid, rest) = line.trim().split_once(char::is_whitespace)?;
        let (parent, what) = rest.trim().split_once(char::is_whitespace)?;
        Some((
            pid.parse::<u32>().ok()?,
            parent.parse::<u32>().ok()?,
            what.trim().to_owned(),
        ))
    });
    rows.filter(|(_, parent, _)| *parent == pid)
        .map(|(pid, _, what)| (pid, what))
        .collect()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}

pub(crate) async fn all_gone(children: &BTreeMap<u32, String>) {
    eventually("the end of every child", async || {
        children.keys().all(|pid| !is_alive(*pid)).then_some(())
    })
    .await;
}

/// What is printed between two words.
pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.split(after).next().unwrap()
}
