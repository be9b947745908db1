//! Mails as `.eml` files, for whoever has no mail server.
//!
//! A mail is written under a hidden name and gets its own by a rename, so nobody ever reads half of
//! one, and what the gate refuses was never there.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use lettre::Message;
use opentelemetry::trace::SpanKind;
use tokio::task::spawn_blocking;

use super::mailer::{self, Id, Mailer, Sent};
use crate::{
    Code, Status,
    instance::random_token,
    telemetry::spans::{Failed, Step, What, parent_of_steps},
};

#[derive(Debug, Clone)]
pub(super) struct MailFolder(PathBuf);

/// A mail that is complete on disk and not yet sent. Dropping it takes it back.
#[derive(Debug)]
pub(super) struct Prepared {
    hidden: PathBuf,
    sent: PathBuf,
}

impl MailFolder {
    /// Makes the folder if need be, and sees that it can be written.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let probe = path.join(format!(".probe-{}", std::process::id()));
        File::create(&probe)?;
        fs::remove_file(&probe)?;
        Ok(Self(path.to_owned()))
    }

    async fn write(&self, id: &Id, mail: Vec<u8>) -> Result<Prepared, Status> {
        let prepared = Prepared {
            hidden: self.0.join(format!(".{id}.{}.eml", random_token(8))),
            sent: self.0.join(format!("{id}.eml")),
        };
        let (folder, path) = (self.0.clone(), prepared.hidden.clone());
        blocking("mail write", move || {
            // Somebody may have cleaned up.
            fs::create_dir_all(folder)?;
            let mut file = File::create(path)?;
            file.write_all(&mail)?;
            file.sync_all()
        })
        .await?;
        Ok(prepared)
    }
}

impl Mailer for MailFolder {
    type Prepared = Prepared;

    /// Writes a mail that nobody sees yet.
    async fn prepare(&self, id: &Id, mail: &Message) -> Result<Prepared, Status> {
        self.write(id, mail.formatted()).await
    }
}

impl mailer::Prepared for Prepared {
    /// Makes the mail appear.
    async fn send(self, _until: Instant) -> Result<Sent, Status> {
        let (hidden, sent) = (self.hidden.clone(), self.sent.clone());
        blocking("mail rename", move || {
            let is_there = sent.exists();
            fs::rename(hidden, &sent)?;
            if is_there {
                tracing::warn!("a mail that was there already was sent again");
            }
            // The name must survive a power cut as the note of it does.
            sent.parent()
                .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        })
        .await?;
        Ok(Sent::Accepted)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Gone after it was sent; else a crash may leave the hidden file behind, which nobody reads.
        let _ = fs::remove_file(&self.hidden);
    }
}

/// Does something with a file; a trace tells that it was done, and not which file that is.
async fn blocking(
    name: &'static str,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), Status> {
    let step = Step::below(parent_of_steps(), || What {
        name: name.into(),
        kind: SpanKind::Internal,
        attributes: Vec::new(),
    });
    let doing = async {
        let done = spawn_blocking(work).await;
        done.map_err(io::Error::other).and_then(|result| result)
    };
    let failed = |error: &io::Error| Failed {
        kind: format!("{:?}", error.kind()).into(),
        attributes: Vec::new(),
    };
    step.around(doing, failed).await.map_err(|error| {
        Status::new(Code::Overloaded, "the mail can't be written").with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::{mailer::Prepared as _, *};

    fn r1() -> Id {
        Id::parse("r1").unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_mail_appears_when_it_is_sent_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let folder = MailFolder::open(dir.path()).unwrap();
        let prepared = folder.write(&r1(), b"mail".to_vec()).await.unwrap();
        let hidden = names(dir.path());
        assert!(
            hidden.len() == 1 && hidden[0].starts_with(".r1."),
            "{hidden:?}"
        );
        prepared.send(Instant::now()).await.unwrap();
        assert_eq!(["r1.eml"].as_slice(), names(dir.path()));
    }

    #[tokio::test]
    async fn another_attempt_that_is_not_sent_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let folder = MailFolder::open(dir.path()).unwrap();
        let first = folder.write(&r1(), b"mail".to_vec()).await.unwrap();
        drop(folder.write(&r1(), b"mail".to_vec()).await.unwrap());
        first.send(Instant::now()).await.unwrap();
        assert_eq!(["r1.eml"].as_slice(), names(dir.path()));
    }

    #[tokio::test]
    async fn a_mail_that_is_not_sent_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = MailFolder::open(dir.path()).unwrap();
        drop(folder.write(&r1(), b"mail".to_vec()).await.unwrap());
        assert!(names(dir.path()).is_empty());
    }
}
