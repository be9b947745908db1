//! What the terminal can show.

use clap::Args;

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
}

impl Terminal {
    /// Returns the width, where it is known: what is no number is no width.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.columns.as_ref()?.parse().ok()
    }

    /// Any value but an empty one forbids colour: <https://no-color.org>.
    pub(crate) fn allows_color(&self) -> bool {
        self.no_color.as_ref().is_none_or(String::is_empty)
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
