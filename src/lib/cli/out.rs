//! What a command prints for whoever called it.

use std::io::{self, Write};

use anyhow::Context as _;

/// Prints to standard output. Into a pipe that was closed (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.context("standard output can't be written"),
    }
}
