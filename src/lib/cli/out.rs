//! What a command prints for whoever called it.

use std::io::{self, Write};

use anyhow::Context as _;

/// Prints to standard output. Into a pipe that was closed (`| head`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_while_read(text).map(|_| ())
}

/// The same, and tells whether anybody still reads.
pub(super) fn print_while_read(text: &str) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("standard output can't be written"),
    }
}
