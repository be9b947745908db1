//! What the terminal can show.

use std::io::{self, IsTerminal};

use clap::Args;
use rustix::{process::getpgrp, termios};

#[derive(Debug, Clone, Args)]
pub(crate) struct Terminal {
    #[arg(long, env = "COLUMNS", hide = true)]
    columns: Option<String>,
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: Option<String>,
    #[arg(long, env = "LC_ALL", hide = true)]
    lc_all: Option<String>,
    #[arg(long, env = "LC_CTYPE", hide = true)]
    lc_ctype: Option<String>,
    #[arg(long, env = "LANG", hide = true)]
    lang: Option<String>,
    #[arg(long, env = "TERM", hide = true)]
    term: Option<String>,
}

impl Terminal {
    /// Returns the width as it is now, where it is known: as it was set, if to a number, or else as the
    /// terminal has it.
    pub(crate) fn columns(&self) -> Option<usize> {
        let set = self.columns.as_ref().and_then(|set| set.parse().ok());
        set.or_else(|| {
            let size = termios::tcgetwinsize(io::stdout()).ok()?;
            // Nobody has told this terminal its size.
            (size.ws_col > 0).then_some(usize::from(size.ws_col))
        })
    }

    /// Tells whether what was written to standard output can be written over.
    pub(crate) fn can_redraw(&self) -> bool {
        let term = self.term.as_deref();
        io::stdout().is_terminal() && term.is_some_and(|term| term != "dumb")
    }

    /// Tells whether the terminal is ours now. In the background (`&`, Ctrl-Z and `bg`) it is somebody else's;
    /// where nobody can say whose it is, it is ours.
    pub(crate) fn is_ours() -> bool {
        termios::tcgetpgrp(io::stdout()).map_or(true, |foreground| foreground == getpgrp())
    }

    /// Any value but an empty one forbids colour, <https://no-color.org>, and so does a terminal that knows none.
    pub(crate) fn allows_color(&self) -> bool {
        let is_dumb = self.term.as_deref() == Some("dumb");
        self.no_color.as_ref().is_none_or(String::is_empty) && !is_dumb
    }

    /// The first of these that is set decides; a locale that names no encoding is taken as modern.
    pub(crate) fn has_unicode(&self) -> bool {
        let set = [&self.lc_all, &self.lc_ctype, &self.lang];
        let locale = set.into_iter().flatten().find(|value| !value.is_empty());
        locale.is_none_or(|locale| {
            let locale = locale.to_ascii_lowercase();
            !matches!(locale.as_str(), "c" | "posix")
                && locale
                    .split_once('.')
                    .is_none_or(|(_, encoding)| encoding.starts_with("utf"))
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Given {
        #[command(flatten)]
        terminal: Terminal,
    }

    #[test]
    fn a_terminal_that_knows_no_colour_gets_none_and_neither_does_who_wants_none() {
        for (flags, expected) in [
            (&["--term=xterm", "--no-color="][..], true),
            (&["--term=dumb", "--no-color="], false),
            (&["--term=xterm", "--no-color=1"], false),
        ] {
            let given = Given::parse_from([&["x"], flags].concat());
            assert_eq!(expected, given.terminal.allows_color(), "{flags:?}");
        }
    }
}
