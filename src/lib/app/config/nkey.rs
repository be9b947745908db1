//! Nkeys in files: where each lies, and what may be wrong with one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::exposure;
use crate::{Service, client::Nkey};

/// Returns where a service's key lies in a folder of keys.
pub(crate) fn file_in(folder: &Path, service: Service) -> PathBuf {
    folder.join(format!("{}.nk", service.subject()))
}

/// Reads a service's key from its file, or from the folder that its file is in.
pub(crate) fn read(path: &Path, service: Service) -> anyhow::Result<Nkey> {
    let file = match path.is_dir() {
        true => {
            exposure::warn_of_folder(path);
            file_in(path, service)
        }
        false => path.to_owned(),
    };
    let text = fs::read_to_string(&file).with_context(|| what_to_do(&file))?;
    exposure::warn_of_file(&file);
    text.parse().with_context(|| {
        format!(
            "{} can't be used; remove it, and have a new one made with `nats-serve keys`",
            file.display()
        )
    })
}

fn what_to_do(file: &Path) -> String {
    let shown = file.display();
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!(
            "the nkey {shown} is missing; `nats-serve keys --dir {}` makes it",
            file.parent().unwrap_or(file).display()
        ),
        _ => format!(
            "the nkey {shown} can't be read; run this as its owner, or let this user read it"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Service = Service::new("user-service").with_subject("user");

    #[test]
    fn an_error_names_the_file_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| format!("{:#}", read(path, SERVICE).unwrap_err());
        let file = folder.path().join("user.nk");
        let missing = said(folder.path());
        assert!(missing.contains(&file.display().to_string()), "{missing}");
        assert!(
            missing.contains("is missing; `nats-serve keys --dir"),
            "{missing}"
        );
        fs::write(&file, "no seed").unwrap();
        for path in [folder.path(), &file] {
            let wrong = said(path);
            assert!(
                wrong.contains("user.nk can't be used; remove it"),
                "{wrong}"
            );
            assert!(!wrong.contains("no seed\n"), "{wrong}");
        }
    }

    #[test]
    fn a_folder_holds_a_file_for_each_service() {
        let folder = tempfile::tempdir().unwrap();
        let pair = nkeys::KeyPair::new_user();
        fs::write(folder.path().join("user.nk"), pair.seed().unwrap()).unwrap();
        let read = read(folder.path(), SERVICE).unwrap();
        assert_eq!(pair.public_key(), read.public_key());
    }
}
