//! What goes on failing, said once.

use std::io;

/// Logs the first failure of a state, and its end; not each of a thousand in between.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failing: bool,
}

impl Trouble {
    /// Notes how the last attempt went.
    pub(super) fn note(&mut self, what: &str, result: Result<(), impl Into<io::Error>>) {
        match result {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("{what}: works again");
            }
            Err(error) if !self.failing => {
                self.failing = true;
                let error: io::Error = error.into();
                tracing::warn!("{what}: {error}; requests are not affected");
            }
            _ => {}
        }
    }
}
