//! Who may come in: bearer tokens from a file, reread when it changes.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::task::AbortOnDropHandle;

use super::Caller;
use crate::{Code, Status};

/// How soon a change of the file is seen.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long a file must stay as it is.
const MOMENT: Duration = Duration::from_millis(100);
/// A shorter token can be guessed.
const SHORTEST: usize = 16;

/// Bearer tokens, one of which a request must show: <https://www.rfc-editor.org/rfc/rfc6750>.
///
/// The file has one token a line, at least 16 characters of `A-Z a-z 0-9 - . _ ~ + / =`; blank lines and lines
/// that begin with `#` are skipped. It is read again within a second of a change: put a second token in, change
/// the callers, and take the first out. A file that can't be read or has a mistake leaves the last good tokens
/// in force, with a warning; one without a token lets nobody in.
///
/// Neither a token nor its length can be told from the time of a refusal. Cheap to clone; clones share the
/// tokens, and the last one ends the rereading.
#[derive(Clone)]
pub struct Tokens {
    known: Arc<Known>,
    _rereading: Arc<AbortOnDropHandle<()>>,
}

/// The digests of the tokens, which are all of one length.
type Known = RwLock<Vec<[u8; 32]>>;

/// Says why a file of tokens can't be used; a token is not quoted.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// The file can't be read.
    #[error("{path} can't be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A line is no token.
    #[error(
        "line {line} of {path} is no token; write at least {SHORTEST} letters, digits, or any of -._~+/="
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Its line, from 1 on.
        line: usize,
    },
    /// No line is a token, so nobody could come in.
    #[error("{path} holds no token")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// What a request showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Nothing,
    /// With its digest.
    AKnownToken([u8; 32]),
    SomethingElse,
}

impl Shown {
    pub(super) fn caller(self) -> Option<Caller> {
        match self {
            Self::AKnownToken(digest) => Some(Caller::with_digest(digest)),
            Self::Nothing | Self::SomethingElse => None,
        }
    }
}

impl Tokens {
    /// Reads the file, and goes on reading it for as long as the tokens are used. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns an error when the file can't be read, is malformed, or holds no token.
    pub async fn from_file(path: impl Into<PathBuf>) -> Result<Self, TokensError> {
        let path = path.into();
        let known = Arc::new(Known::new(read(path.clone()).await?));
        let rereading = tokio::spawn(reread(path, Arc::downgrade(&known)));
        Ok(Self {
            known,
            _rereading: Arc::new(AbortOnDropHandle::new(rereading)),
        })
    }

    pub(super) fn shown_by(&self, headers: &HeaderMap) -> Shown {
        let Some(given) = headers.get(header::AUTHORIZATION) else {
            return Shown::Nothing;
        };
        let bytes = given.as_bytes();
        let is_bearer = |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"bearer ");
        match bytes.split_at_checked(b"bearer ".len()) {
            Some((scheme, token)) if is_bearer(scheme) => {
                let digest = digest(token.trim_ascii());
                match self.knows(digest) {
                    true => Shown::AKnownToken(digest),
                    false => Shown::SomethingElse,
                }
            }
            _ => Shown::SomethingElse,
        }
    }

    /// Compares with every token, whether one has matched or not.
    fn knows(&self, given: [u8; 32]) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = known
            .iter()
            .fold(Choice::from(0), |found, one| found | one.ct_eq(&given));
        found.into()
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

/// The answer to a request without a token that is known.
pub(super) fn refusal(shown: Shown) -> Response {
    let (words, challenge) = match shown {
        Shown::SomethingElse => (
            "this token is not known here",
            r#"Bearer error="invalid_token""#,
        ),
        _ => ("send a token: `Authorization: Bearer <token>`", "Bearer"),
    };
    let mut response = Status::new(Code::Unauthenticated, words).into_response();
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(challenge),
    );
    response
}

async fn reread(path: PathBuf, known: Weak<Known>) {
    let mut is_bad = false;
    loop {
        sleep(LOOK_EVERY).await;
        let read = settled(&path).await;
        let Some(known) = known.upgrade() else {
            return;
        };
        let Some(read) = read else {
            continue;
        };
        match read {
            Ok(tokens) => {
                is_bad = false;
                let is_new = *known.read().unwrap_or_else(PoisonError::into_inner) != tokens;
                if is_new {
                    tracing::info!("the tokens have changed; {} are known", tokens.len());
                    *known.write().unwrap_or_else(PoisonError::into_inner) = tokens;
                }
            }
            // Whoever takes out the last token means it.
            Err(error @ TokensError::Empty { .. }) => {
                if !is_bad {
                    tracing::warn!(error = &error as &dyn std::error::Error, "nobody is let in");
                }
                is_bad = true;
                *known.write().unwrap_or_else(PoisonError::into_inner) = Vec::new();
            }
            Err(error) => {
                if !is_bad {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the tokens can't be read again, and stay as they are"
                    );
                }
                is_bad = true;
            }
        }
    }
}

/// Reads a file that may just be written: it counts if it is the same a moment later.
async fn settled(path: &Path) -> Option<Result<Vec<[u8; 32]>, TokensError>> {
    let first = read(path.to_owned()).await;
    sleep(MOMENT).await;
    let again = read(path.to_owned()).await;
    let is_same = match (&first, &again) {
        (Ok(first), Ok(again)) => first == again,
        (first, again) => first.is_err() == again.is_err(),
    };
    is_same.then_some(again)
}

async fn read(path: PathBuf) -> Result<Vec<[u8; 32]>, TokensError> {
    let reading = spawn_blocking(move || {
        let text = fs::read_to_string(&path).map_err(|source| TokensError::Read {
            path: path.clone(),
            source,
        })?;
        parse(&text, &path)
    });
    reading
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn parse(text: &str, path: &Path) -> Result<Vec<[u8; 32]>, TokensError> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !is_token(line) {
            return Err(TokensError::Malformed {
                path: path.to_owned(),
                line: number + 1,
            });
        }
        tokens.push(digest(line.as_bytes()));
    }
    if tokens.is_empty() {
        return Err(TokensError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(tokens)
}

fn is_token(line: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    line.len() >= SHORTEST && line.bytes().all(allowed)
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "one-0123456789abcdef";
    const TWO: &str = "two-0123456789abcdef";

    fn shown(tokens: &Tokens, header: &[u8]) -> Shown {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::AUTHORIZATION,
            HeaderValue::from_bytes(header).unwrap(),
        );
        tokens.shown_by(&headers)
    }

    #[tokio::test]
    async fn one_of_the_tokens_must_be_shown_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        fs::write(&file, format!("# of the web team\n{ONE}\n\n  {TWO}  \r\n")).unwrap();
        let tokens = Tokens::from_file(&file).await.unwrap();
        assert_eq!(Shown::Nothing, tokens.shown_by(&HeaderMap::new()));
        for good in [
            ("Bearer", ONE, ""),
            ("bearer", TWO, ""),
            ("BEARER  ", TWO, " "),
        ] {
            let (scheme, token, end) = good;
            let good = format!("{scheme} {token}{end}");
            assert_eq!(
                Shown::AKnownToken(digest(token.as_bytes())),
                shown(&tokens, good.as_bytes()),
                "{good}"
            );
        }
        let shorter = &ONE[..ONE.len() - 1];
        for bad in [
            "".to_owned(),
            "Bearer".to_owned(),
            "Bearer ".to_owned(),
            ONE.to_owned(),
            format!("Basic {ONE}"),
            format!("Bearer {shorter}"),
            format!("Bearer {ONE}0"),
            format!("Bearer {ONE} {TWO}"),
            "Bearer # of the web team".to_owned(),
        ] {
            assert_eq!(
                Shown::SomethingElse,
                shown(&tokens, bad.as_bytes()),
                "{bad}"
            );
        }
        assert_eq!(Shown::SomethingElse, shown(&tokens, b"Bearer \xff\xfe"));
    }

    #[test]
    fn a_mistake_is_named_by_its_line_and_the_token_is_not_quoted() {
        let path = Path::new("tokens");
        let said = |text: &str| parse(text, path).unwrap_err().to_string();
        assert!(said("").contains("tokens holds no token"));
        assert!(said("# none\n\n").contains("tokens holds no token"));
        for bad in ["hunter2", "hunter2-hunter2 hunter2", "hunter2-hunter2-ü"] {
            let said = said(&format!("{ONE}\n{bad}\n"));
            assert!(said.starts_with("line 2 of tokens is no token"), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_change_counts_within_a_second_and_a_mistake_never() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        fs::write(&file, ONE).unwrap();
        let tokens = Tokens::from_file(&file).await.unwrap();
        let knows = async |token: &str, expected: bool| {
            let until = tokio::time::Instant::now() + LOOK_EVERY * 10;
            while tokens.knows(digest(token.as_bytes())) != expected {
                assert!(tokio::time::Instant::now() < until, "{token} {expected}");
                sleep(LOOK_EVERY / 10).await;
            }
        };
        fs::write(&file, format!("{ONE}\n{TWO}")).unwrap();
        knows(TWO, true).await;
        assert!(tokens.knows(digest(ONE.as_bytes())));
        fs::write(&file, TWO).unwrap();
        knows(ONE, false).await;
        fs::write(&file, format!("{ONE}\nshort")).unwrap();
        sleep(LOOK_EVERY * 2).await;
        assert!(tokens.knows(digest(TWO.as_bytes())) && !tokens.knows(digest(ONE.as_bytes())));
        fs::write(&file, "# none\n").unwrap();
        knows(TWO, false).await;
        fs::write(&file, TWO).unwrap();
        knows(TWO, true).await;
    }
}
