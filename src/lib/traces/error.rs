//! Why no trace was read, in one sentence that says what to do.

use std::{fmt, io, path::PathBuf};

use super::TraceId;

/// Says why there is no trace to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing was ever written there.
    #[error(
        "there is no spans directory `{}`: send a request first, or check that SPANS_DIR is right",
        dir.display()
    )]
    NoDirectory {
        /// The directory that was looked for.
        dir: PathBuf,
    },
    /// The directory holds no span.
    #[error(
        "there are no spans in `{}` yet: send a request first, or check that SPANS_DIR is right",
        dir.display()
    )]
    NoSpans {
        /// The directory that was read.
        dir: PathBuf,
    },
    /// No span has such a trace id.
    #[error(
        "no span in `{}` has a trace id that begins with `{prefix}`: the trace was not sampled, \
         is not written yet, or is older than the files kept",
        dir.display()
    )]
    UnknownTrace {
        /// The start of the id that was looked for.
        prefix: String,
        /// The directory that was read.
        dir: PathBuf,
    },
    /// Several traces fit.
    #[error("`{prefix}` is the start of {count} trace ids, give more of it: {}", List(candidates, *count))]
    Ambiguous {
        /// The start of the id that was looked for.
        prefix: String,
        /// The traces that fit, the last one first, five at most.
        candidates: Vec<TraceId>,
        /// How many traces fit.
        count: usize,
    },
    /// A file or the directory is there and can't be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// What can't be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

struct List<'a>(&'a [TraceId], usize);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{id}")?;
        }
        match self.1.saturating_sub(self.0.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
