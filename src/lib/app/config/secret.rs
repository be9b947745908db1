//! Passwords in files, so that the URL that they belong to is no secret.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};
use url::Url;

use super::exposure;

/// Where a URL came from, for whoever has to mend it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variables {
    pub(super) url: &'static str,
    pub(super) password_file: &'static str,
}

impl Variables {
    /// Reads a URL, and puts the password from its file into it, if there is one.
    ///
    /// No error quotes the URL: it may hold a password of its own.
    pub(super) fn join(self, url: &str, password_file: Option<&Path>) -> anyhow::Result<Url> {
        let mut url = Url::parse(url).with_context(|| format!("{} is no URL", self.url))?;
        let Some(file) = password_file else {
            return Ok(url);
        };
        if url.password().is_some() {
            bail!(
                "{} holds a password and {} names another; take one of them away",
                self.url,
                self.password_file
            );
        }
        let password = read(self.password_file, file)?;
        if url.set_password(Some(&password)).is_err() {
            bail!(
                "{} names no host, so the password of {} has no place in it",
                self.url,
                self.password_file
            );
        }
        Ok(url)
    }
}

/// Reads the secret in a file that a variable names. A line break at its end is none of it.
fn read(variable: &str, file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .with_context(|| format!("{shown} can't be read; {variable} names it"))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        bail!("{shown} is empty; {variable} names it");
    }
    exposure::warn_of_file(file);
    Ok(secret.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Variables = Variables {
        url: "X_URL",
        password_file: "X_PASSWORD_FILE",
    };

    #[test]
    fn the_password_is_what_stands_before_the_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (text, url) in [
            ("s3cret", "x://user:s3cret@host/path?a=b"),
            (
                "s@/ cr:t \r\n",
                "x://user:s%40%2F%20cr%3At%20@host/path?a=b",
            ),
        ] {
            fs::write(&file, text).unwrap();
            let joined = X.join("x://user@host/path?a=b", Some(&file)).unwrap();
            assert_eq!(url, joined.as_str());
        }
    }

    #[test]
    fn an_error_says_which_setting_is_wrong_and_quotes_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "\n").unwrap();
        let none = folder.path().join("none");
        for (url, file, words) in [
            ("hunter2", None, "X_URL is no URL"),
            (
                "x://user@host",
                Some(&file),
                "password is empty; X_PASSWORD_FILE names it",
            ),
            (
                "x://user@host",
                Some(&none),
                "none can't be read; X_PASSWORD_FILE names it",
            ),
            (
                "x://user:hunter2@host",
                Some(&file),
                "X_URL holds a password and X_PASSWORD_FILE names another",
            ),
        ] {
            let said = format!("{:#}", X.join(url, file.map(AsRef::as_ref)).unwrap_err());
            assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
        }
    }
}
