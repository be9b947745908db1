//! Keys for containers: a folder for each, to be mounted there and nowhere else.
//!
//! ```text
//! DIR/gateway/{gateway.nk,tokens}     DIR/nats/nkeys.conf
//! DIR/user/user.nk                    DIR/postgres/{password,admin-password}
//! DIR/notification/notification.nk    DIR/tools/tools.nk
//! DIR/database/{database.nk,postgres-password}     DIR/events/events.nk
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Making, PUBLIC, Replaced, make_folder};
use crate::instance::random_token;

/// Letters and digits of a password or token: more than 200 bits.
pub(super) const LENGTH: usize = 40;

/// Makes what is missing below a folder, and returns what it made.
pub(super) fn provide(
    folder: &Path,
    replace: Option<Replaced>,
    nodes: &[url::Url],
) -> anyhow::Result<Vec<PathBuf>> {
    let nats = folder.join("nats");
    // Each of the folders may be a volume; two runs share this one, whatever is above it.
    let mut making = Making::in_folder(&nats)?;
    making.nkeys(&nats.join(PUBLIC), replace, |holder| {
        folder.join(holder.subject())
    })?;
    making.routes(&nats, replace, nodes)?;

    let postgres = folder.join("postgres");
    make_folder(&postgres)?;
    let random = || Ok(random_token(LENGTH));
    // PostgreSQL runs as a user of its own, who may read nothing that is ours alone.
    making.secret(&postgres.join("admin-password"), 0o644, false, random)?;
    let password = postgres.join("password");
    making.secret(&password, 0o644, false, random)?;
    making.text(
        &folder.join("database/postgres-password"),
        0o600,
        &fs::read_to_string(&password)?,
    )?;
    making.secret(&folder.join("gateway/tokens"), 0o600, false, random)?;
    Ok(making.made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn each_container_gets_its_own_and_a_second_run_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path();
        let made = provide(keys, None, &[]).unwrap();
        let mut names: Vec<_> = made
            .iter()
            .map(|file| file.strip_prefix(keys).unwrap().to_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(
            [
                "database/database.nk",
                "database/postgres-password",
                "events/events.nk",
                "gateway/gateway.nk",
                "gateway/tokens",
                "nats/nkeys.conf",
                "notification/notification.nk",
                "postgres/admin-password",
                "postgres/password",
                "tools/tools.nk",
                "user/user.nk",
            ],
            *names
        );
        assert!(provide(keys, None, &[]).unwrap().is_empty());

        let text = |name: &str| fs::read_to_string(keys.join(name)).unwrap();
        assert_eq!(LENGTH, text("gateway/tokens").trim().len());
        assert_eq!(
            text("postgres/password"),
            text("database/postgres-password")
        );
        assert_ne!(text("postgres/password"), text("postgres/admin-password"));
        for file in &made {
            let mode = fs::metadata(file).unwrap().permissions().mode() & 0o777;
            let is_others = ["nats", "postgres"]
                .iter()
                .any(|of| file.starts_with(keys.join(of)));
            assert_eq!(if is_others { 0o644 } else { 0o600 }, mode, "{file:?}");
        }

        let before = (text("user/user.nk"), text("gateway/gateway.nk"));
        let made = provide(keys, Some(Replaced::Key(crate::app::api::user::USER)), &[]).unwrap();
        assert_eq!(
            [keys.join("user/user.nk"), keys.join("nats/nkeys.conf")],
            *made
        );
        assert_ne!(before.0, text("user/user.nk"));
        assert_eq!(before.1, text("gateway/gateway.nk"));

        // The copy follows the original, which PostgreSQL has.
        fs::write(keys.join("postgres/password"), "another\n").unwrap();
        assert_eq!(
            [keys.join("database/postgres-password")],
            *provide(keys, None, &[]).unwrap()
        );
        assert_eq!("another\n", text("database/postgres-password"));
    }
}
