//! Small measures: percentiles, and the memory of this process.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

/// The time within which so many of a hundred were done.
pub(crate) fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}

/// Resident memory of this process in KB.
pub(crate) fn resident_kb() -> u64 {
    let output = Command::new("ps")
        .args(["-o", "rss=", "-p", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("ps");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.trim().parse().expect("a number of KB")
}
