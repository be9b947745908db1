//! Lines of styled parts, cut to the width before colours are added.

use super::{Options, text::fit};

/// Chooses how a part of a line looks where colours are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Error,
}

impl Style {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Error => Some("31"),
        }
    }
}

/// Collects the lines.
pub(super) struct Page {
    options: Options,
    text: String,
}

impl Page {
    pub(super) const fn new(options: Options) -> Self {
        Self {
            options,
            text: String::new(),
        }
    }

    pub(super) const fn options(&self) -> Options {
        self.options
    }

    /// Adds a line; what doesn't fit is cut, whoever composed it.
    pub(super) fn line<const N: usize>(&mut self, parts: [(Style, String); N]) {
        let mut room = self.options.width;
        for (style, part) in parts {
            let part = fit(&part, room, self.options.ascii);
            room -= part.chars().count();
            match style
                .code()
                .filter(|_| self.options.color && !part.trim().is_empty())
            {
                Some(code) => {
                    self.text.push_str("\u{1b}[");
                    self.text.push_str(code);
                    self.text.push('m');
                    self.text.push_str(&part);
                    self.text.push_str("\u{1b}[0m");
                }
                None => self.text.push_str(&part),
            }
        }
        self.text.push('\n');
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}
