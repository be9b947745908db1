//! Where a new system keeps things, and the file that tells others.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Args, nats::Nats};
use crate::app::config::{DatabasePlace, MailPlace, state::RunFile};

/// Where users, mails and spans go.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) database: DatabasePlace,
    pub(super) mail: MailPlace,
    pub(super) spans: PathBuf,
}

impl Places {
    /// Judges the settings before anything starts with them.
    pub(super) fn of_new_system(args: &Args) -> anyhow::Result<Self> {
        let spans = args.common.telemetry.spans.path_of_new_system();
        see_that_it_is_writable(&spans).with_context(|| {
            format!(
                "spans can't be written to {}; set SPANS_DIR to a folder that you may write to",
                spans.display()
            )
        })?;
        Ok(Self {
            database: args.database.place_of_new_system()?,
            mail: args.mail.place_of_new_system()?,
            spans,
        })
    }

    /// Writes the file by which other commands in this folder find the system.
    pub(super) fn tell_the_folder(&self, nats: &Nats) -> anyhow::Result<()> {
        let (mails_dir, smtp_url, smtp_password_file) = match self.mail.clone() {
            MailPlace::Folder(folder) => (folder, None, None),
            MailPlace::Smtp { url, password_file } => (PathBuf::new(), Some(url), password_file),
        };
        let run = RunFile {
            nats_url: nats.url.clone(),
            nats_nkeys: nats.nkeys.clone(),
            pid: std::process::id(),
            database_url: self.database.url.clone(),
            database_password_file: self.database.password_file.clone(),
            mails_dir,
            smtp_url,
            smtp_password_file,
            spans_dir: self.spans.clone(),
        };
        run.write()
    }
}

/// A service that can't write spans goes on without; at the start somebody is there to mend it.
fn see_that_it_is_writable(folder: &Path) -> io::Result<()> {
    let probe = folder.join(".probe");
    fs::create_dir_all(folder)?;
    fs::write(&probe, "")?;
    fs::remove_file(probe)
}
