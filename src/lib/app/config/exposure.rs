//! Who else may read a secret, or put another in its place.
//!
//! A warning and no more: a secret that is mounted into a container is often open to all, and whoever may
//! not change that would have to do without it. So only its owner, who can mend it, is told.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Warns if others than its owner may open a file.
pub(super) fn warn_of_file(file: &Path) {
    if is_ours_and_has(file, 0o077) {
        let shown = file.display();
        tracing::warn!("{shown} is open to others than its owner; do `chmod 600 {shown}`");
    }
}

/// Warns if others than its owner may put something else into a folder.
pub(super) fn warn_of_folder(path: &Path) {
    if is_ours_and_has(path, 0o022) {
        let shown = path.display();
        tracing::warn!(
            "others than its owner may write to {shown}, and so replace the nkeys in it; do `chmod 700 {shown}`"
        );
    }
}

fn is_ours_and_has(path: &Path, permissions: u32) -> bool {
    fs::metadata(path).is_ok_and(|facts| {
        facts.mode() & permissions != 0 && facts.uid() == rustix::process::geteuid().as_raw()
    })
}

/// Tells whether a URL's host is this machine. URLs that are not the web's have names only, also for numbers.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let ip = address.parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}
