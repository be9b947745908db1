//! `nats-serve keys`: the keys by which NATS tells the services apart.

mod containers;
mod nodes;

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nkeys::KeyPair;

use super::out;
use crate::{
    Service,
    app::{
        api,
        config::{
            nkey,
            state::{self, RunFile},
        },
    },
    client::without_credentials,
};

/// People and their tools; replies come to `_INBOX.tools.>`.
pub(super) const TOOLS: Service = Service::new("tools");

/// Whoever listens to events: other teams' processes.
const EVENTS: Service = Service::new("events");

/// Everybody that nats/nats-server.conf knows.
const HOLDERS: [Service; 6] = [
    api::GATEWAY,
    api::user::USER,
    api::database::DATABASE,
    api::notification::NOTIFICATION,
    TOOLS,
    EVENTS,
];

/// No service has this name.
const ROUTES: &str = "routes";

/// The public keys, in a file that nats/nats-server.conf includes.
const PUBLIC: &str = "nkeys.conf";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Folder of the keys. Put it beside nats-server.conf under the name nkeys; the server needs
    /// nkeys.conf alone.
    #[arg(long, value_name = "DIR", default_value = state::NKEYS)]
    dir: PathBuf,
    /// Makes a folder for each service instead of one for all, so that a container can be given its own alone,
    /// and what the composed system needs besides: PostgreSQL's passwords, and a token for the gateway.
    #[arg(long)]
    for_containers: bool,
    /// Makes the key of a service anew, though it is there. Tell each server (`nats-server --signal reload`), and
    /// restart the service. Or `routes`: makes the password of the nodes anew; restart them together.
    #[arg(long, value_name = "SERVICE", value_parser = replaced)]
    replace: Option<Replaced>,
    /// Makes routes.conf too, for the nodes of a NATS cluster: their password, and the routes to these hosts. The
    /// port is 6222 where none is said.
    #[arg(long, value_name = "HOST,HOST…", value_delimiter = ',', value_parser = nodes::route)]
    nodes: Vec<url::Url>,
}

/// What is made anew, though it is there.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Replaced {
    Key(Service),
    /// The password by which the nodes of a cluster know one another.
    Routes,
}

/// Finds who has a key by the name that its file has.
fn replaced(name: &str) -> Result<Replaced, String> {
    if name == ROUTES {
        return Ok(Replaced::Routes);
    }
    let found = HOLDERS.into_iter().find(|holder| holder.subject() == name);
    let names: Vec<&str> = HOLDERS.iter().map(|holder| holder.subject()).collect();
    found
        .map(Replaced::Key)
        .ok_or_else(|| format!("write one of {}, {ROUTES}", names.join(", ")))
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    // A second set beside them would be used by nobody, and a stolen key that was to be replaced would stay good.
    if !args.for_containers && args.dir.join("nats").join(PUBLIC).exists() {
        bail!(
            "{} has keys in folders of their owners; say --for-containers, as when they were made",
            args.dir.display()
        );
    }
    let made = match args.for_containers {
        true => containers::provide(&args.dir, args.replace, &args.nodes)?,
        false => make(&args.dir, args.replace, &args.nodes)?,
    };
    let mut said = String::new();
    for file in &made {
        let _ = writeln!(said, "made {}", file.display());
    }
    if made.is_empty() {
        let _ = writeln!(said, "nothing is missing in {}", args.dir.display());
    }
    if !args.for_containers {
        let running = RunFile::read()?.filter(|run| uses(run, &args.dir));
        let url = running.map_or_else(|| "nats://127.0.0.1:4222".to_owned(), |run| run.nats_url);
        let _ = writeln!(
            said,
            "\nA service finds its own with NATS_NKEY_FILE={}. The `nats` tool is used like this:\n\n  {}",
            args.dir.display(),
            nats_tool(&url, &args.dir)
        );
    }
    out::print(&said)
}

/// Tells whether the system of this folder has its keys there: its server knows no others.
fn uses(run: &RunFile, folder: &Path) -> bool {
    let same = |keys: &PathBuf| Some(keys.canonicalize().ok()? == folder.canonicalize().ok()?);
    run.nats_nkeys.as_ref().and_then(same).unwrap_or(false)
}

/// Makes what is missing in a folder of keys, and returns what it made. Several processes may ask at once.
pub(super) fn provide(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    make(folder, None, &[])
}

/// The same, and one key anew, and what the nodes of a cluster need.
fn make(
    folder: &Path,
    replace: Option<Replaced>,
    nodes: &[url::Url],
) -> anyhow::Result<Vec<PathBuf>> {
    let mut making = Making::in_folder(folder)?;
    making.nkeys(&folder.join(PUBLIC), replace, |_| folder.to_owned())?;
    making.routes(folder, replace, nodes)?;
    Ok(making.made)
}

/// The making of keys and the like, by one process at a time.
struct Making {
    made: Vec<PathBuf>,
    _alone: File,
}

impl Making {
    /// Waits until no other process makes anything in a folder.
    fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let failed = || format!("can't write to {}", folder.display());
        make_folder(folder)?;
        let alone = File::open(folder).with_context(failed)?;
        alone.lock().with_context(failed)?;
        Ok(Self {
            made: Vec::new(),
            _alone: alone,
        })
    }

    /// Makes the nkeys that are missing, each in a folder of the holder's, and the file of all public keys.
    fn nkeys(
        &mut self,
        public: &Path,
        replace: Option<Replaced>,
        folder_of: impl Fn(Service) -> PathBuf,
    ) -> anyhow::Result<()> {
        let mut text = "# Public keys, no secrets; written by `nats-serve keys`.\n".to_owned();
        for holder in HOLDERS {
            let folder = folder_of(holder);
            make_folder(&folder)?;
            let file = nkey::file_in(&folder, holder);
            let seed = || KeyPair::new_user().seed().context("a key can't be made");
            self.secret(&file, 0o600, replace == Some(Replaced::Key(holder)), seed)?;
            let key = nkey::read(&folder, holder)?;
            let name = holder.subject().to_uppercase();
            let _ = writeln!(text, "NKEY_{name}: \"{}\"", key.public_key());
        }
        self.text(public, 0o644, &text)
    }

    /// Writes a secret to a file that is not there yet, or shall have another.
    fn secret(
        &mut self,
        file: &Path,
        mode: u32,
        anew: bool,
        make: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        if file.exists() && !anew {
            return Ok(());
        }
        self.text(file, mode, &format!("{}\n", make()?))
    }

    /// Sees that a file has a text.
    fn text(&mut self, file: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
        if fs::read_to_string(file).is_ok_and(|there| there == text) {
            return Ok(());
        }
        write(file, mode, text).with_context(|| format!("can't write {}", file.display()))?;
        self.made.push(file.to_owned());
        Ok(())
    }
}

/// Makes a folder for its owner alone. One that is there stays as it is.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("can't make {}", folder.display()))
}

/// Returns the line that lists the services with the `nats` tool, under the permissions of `tools`.
pub(super) fn nats_tool(url: &str, folder: &Path) -> String {
    format!(
        "nats --server {} --nkey {} --inbox-prefix _INBOX.{} micro ls",
        without_credentials(url),
        nkey::file_in(folder, TOOLS).display(),
        TOOLS.subject()
    )
}

/// Writes a file in one step: whoever reads it finds it whole or not at all.
fn write(file: &Path, mode: u32, text: &str) -> std::io::Result<()> {
    let next = file.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    options.open(&next)?.write_all(text.as_bytes())?;
    fs::rename(&next, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("nkeys");
        assert_eq!(HOLDERS.len() + 1, provide(&keys).unwrap().len());
        assert!(provide(&keys).unwrap().is_empty());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((0o700, 0o600), (mode(&keys), mode(&keys.join("user.nk"))));

        let before = fs::read_to_string(keys.join(PUBLIC)).unwrap();
        fs::remove_file(keys.join("user.nk")).unwrap();
        assert_eq!(
            vec![keys.join("user.nk"), keys.join(PUBLIC)],
            provide(&keys).unwrap()
        );
        let after = fs::read_to_string(keys.join(PUBLIC)).unwrap();
        let changed = before.lines().zip(after.lines()).filter(|(a, b)| a != b);
        assert_eq!(1, changed.count(), "one key was replaced");
    }

    #[test]
    fn the_configuration_names_everybody_who_has_a_key() {
        let configuration = include_str!("../../../nats/nats-server.conf");
        for holder in HOLDERS {
            let variable = format!("nkey: $NKEY_{}\n", holder.subject().to_uppercase());
            assert_eq!(1, configuration.matches(&variable).count(), "{variable}");
        }
        assert_eq!(HOLDERS.len(), configuration.matches("nkey: $").count());
    }
}
