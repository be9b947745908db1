//! What the nodes of a NATS cluster know one another by: nats/cluster/node.conf includes it.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{anyhow, bail};
use url::Url;

use super::{Making, Replaced, containers::LENGTH};
use crate::instance::random_token;

/// NATS has no default for the port of a cluster; this is the one in its documents.
const PORT: u16 = 6222;
/// As nats/cluster/node.conf has it.
const USER: &str = "node";

/// Reads where a node listens for the others: `host` or `host:port`.
pub(super) fn route(node: &str) -> Result<Url, String> {
    let wrong = || "write a host, or host:port".to_owned();
    let mut url = Url::parse(&format!("nats-route://{node}")).map_err(|_| wrong())?;
    let is_place = url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_place {
        return Err(wrong());
    }
    let port = url.port().unwrap_or(PORT);
    url.set_port(Some(port)).map_err(|()| wrong())?;
    Ok(url)
}

impl Making {
    /// Writes the routes to all nodes beside the nkeys, with a password that stays until it shall be replaced.
    pub(super) fn routes(
        &mut self,
        folder: &Path,
        replace: Option<Replaced>,
        nodes: &[Url],
    ) -> anyhow::Result<()> {
        let anew = replace == Some(Replaced::Routes);
        if nodes.is_empty() {
            if anew {
                bail!("routes lead to nodes: say --nodes HOST,HOST… too");
            }
            return Ok(());
        }
        let file = folder.join("route-password");
        self.secret(&file, 0o600, anew, || Ok(random_token(LENGTH)))?;
        let password = fs::read_to_string(&file)?;
        let password = password.trim();
        let mut text = "# Secret; written by `nats-serve keys`.\n".to_owned();
        let _ = writeln!(text, "ROUTE_PASSWORD: \"{password}\"\nROUTES: [");
        for node in nodes {
            let mut route = node.clone();
            route
                .set_username(USER)
                .and_then(|()| route.set_password(Some(password)))
                .map_err(|()| anyhow!("{node} can't have a login"))?;
            let _ = writeln!(text, "  \"{route}\"");
        }
        text.push_str("]\n");
        self.text(&folder.join("routes.conf"), 0o600, &text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_node_is_a_host_and_a_port() {
        for (node, url) in [
            ("nats-2", "nats-route://nats-2:6222"),
            ("10.0.0.2:7000", "nats-route://10.0.0.2:7000"),
            ("[::1]", "nats-route://[::1]:6222"),
        ] {
            assert_eq!(url, route(node).unwrap().as_str());
        }
        for wrong in [
            "",
            "me:secret@host",
            "host/path",
            "host:port",
            "a b",
            "host?x",
        ] {
            assert!(route(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn more_nodes_are_added_under_the_password_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let routes = |replace, nodes: &[&str]| {
            let nodes: Vec<Url> = nodes.iter().map(|node| route(node).unwrap()).collect();
            let mut making = Making::in_folder(folder.path()).unwrap();
            making.routes(folder.path(), replace, &nodes).unwrap();
            let file = folder.path().join("routes.conf");
            let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
            assert_eq!(0o600, mode);
            (fs::read_to_string(file).unwrap(), making.made.len())
        };
        let (two, made) = routes(None, &["a", "b"]);
        assert_eq!(2, made);
        assert_eq!((two.clone(), 0), routes(None, &["a", "b"]));
        let (three, made) = routes(None, &["a", "b", "c"]);
        assert_eq!(1, made);
        let password = two.split('"').nth(1).unwrap();
        assert_eq!(LENGTH, password.len());
        assert_eq!(4, three.matches(password).count());
        assert!(three.contains(&format!("\"nats-route://node:{password}@c:6222\"")));

        let (other, made) = routes(Some(Replaced::Routes), &["a", "b", "c"]);
        assert_eq!((2, false), (made, other.contains(password)));
        let mut making = Making::in_folder(folder.path()).unwrap();
        let nowhere = making.routes(folder.path(), Some(Replaced::Routes), &[]);
        assert!(nowhere.unwrap_err().to_string().contains("--nodes"));
    }
}
