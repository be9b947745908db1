//! Three nodes of one NATS cluster, with the configuration that docker-compose.cluster.yml has for them.

use std::{
    collections::BTreeSet,
    net::TcpListener,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{Server, eventually, nats::Killed, process};

/// A cluster whose nodes come and go.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    /// Where they listen for one another.
    routes: [String; 3],
    keys: tempfile::TempDir,
}

#[derive(Debug)]
enum Node {
    Up(Server),
    Down(Killed),
    /// Between the two.
    Changing,
}

impl Cluster {
    /// Starts it, and waits until each node knows the others.
    pub(crate) async fn of_three() -> Self {
        Self::with(&[]).await
    }

    /// The same with TLS, for clients and between the nodes, by the certificates that lie in a folder.
    pub(crate) async fn with_tls(certificates: &Path) -> Self {
        let there = certificates.display().to_string();
        Self::with(&[
            ("# include \"../tls.conf\"", "include \"../tls.conf\""),
            (
                "# include \"routes-tls.conf\"",
                "include \"routes-tls.conf\"",
            ),
            ("/etc/nats-serve/tls", &there),
        ])
        .await
    }

    async fn with(changes: &[(&str, &str)]) -> Self {
        let routes = free_ports().map(|port| format!("127.0.0.1:{port}"));
        let mut cluster = Self {
            nodes: Vec::new(),
            keys: keys_of_nodes(&routes),
            routes,
        };
        for route in cluster.routes.clone() {
            let node = node(&cluster.nkeys(), &route, changes).await;
            cluster.nodes.push(Node::Up(node));
        }
        for node in 0..3 {
            cluster.is_whole_at(node).await;
        }
        cluster
    }

    /// Starts one more node, which knows where the others are, and not their password.
    pub(crate) async fn stranger(&self) -> (Server, tempfile::TempDir) {
        let keys = keys_of_nodes(&self.routes);
        let stranger = node(&keys.path().join("nkeys"), "127.0.0.1:-1", &[]).await;
        (stranger, keys)
    }

    /// Starts one more node, which knows their password, and speaks no TLS.
    pub(crate) async fn without_tls(&self) -> Server {
        node(&self.nkeys(), "127.0.0.1:-1", &[]).await
    }

    /// As `NATS_URL` takes them.
    pub(crate) fn urls(&self) -> String {
        let url = |node: &Node| match node {
            Node::Up(server) => Some(server.url()),
            Node::Down(_) | Node::Changing => None,
        };
        let urls: Vec<String> = self.nodes.iter().filter_map(url).collect();
        urls.join(",")
    }

    pub(crate) fn nkeys(&self) -> PathBuf {
        self.keys.path().join("nkeys")
    }

    /// Ends a node as a crash would.
    pub(crate) fn kill(&mut self, node: usize) {
        let Node::Up(server) = std::mem::replace(&mut self.nodes[node], Node::Changing) else {
            panic!("node {node} is not up");
        };
        self.nodes[node] = Node::Down(server.kill());
    }

    /// Has a node leave as a lame duck, and waits until it is gone.
    pub(crate) async fn send_away(&mut self, node: usize) {
        let Node::Up(server) = std::mem::replace(&mut self.nodes[node], Node::Changing) else {
            panic!("node {node} is not up");
        };
        server.signal(rustix::process::Signal::USR2);
        self.nodes[node] = Node::Down(server.ended().await);
    }

    /// Sends a node a signal, to stop or to go on.
    pub(crate) fn signal(&self, node: usize, signal: rustix::process::Signal) {
        self.up(node).signal(signal);
    }

    /// Starts nodes again that were gone, all that are, and waits until they have found the others.
    pub(crate) async fn bring_back(&mut self, nodes: &[usize]) {
        for &node in nodes {
            let Node::Down(killed) = std::mem::replace(&mut self.nodes[node], Node::Changing)
            else {
                panic!("node {node} is up");
            };
            self.nodes[node] = Node::Up(killed.start_again().await);
        }
        for &node in nodes {
            self.is_whole_at(node).await;
        }
    }

    /// Returns how many connections each node has that is up.
    pub(crate) async fn connections(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for node in 0..self.nodes.len() {
            if matches!(self.nodes[node], Node::Up(_)) {
                counts.push(self.connections_of(node).await);
            }
        }
        counts
    }

    /// Returns how many connections one node has.
    pub(crate) async fn connections_of(&self, node: usize) -> u64 {
        let about = asked(self.up(node), "connz").await.unwrap();
        about["num_connections"].as_u64().unwrap()
    }

    fn up(&self, node: usize) -> &Server {
        match &self.nodes[node] {
            Node::Up(server) => server,
            Node::Down(_) | Node::Changing => panic!("node {node} is not up"),
        }
    }

    /// Tells what each node has of clients, subscriptions and memory.
    pub(crate) async fn usage(&self) -> String {
        let mut all = Vec::new();
        for node in &self.nodes {
            if let Node::Up(server) = node {
                let about = asked(server, "varz").await.unwrap();
                let number = |name: &str| about[name].as_u64().unwrap_or_default();
                all.push(format!(
                    "{} clients, {} subscriptions, {} MB",
                    number("connections"),
                    number("subscriptions"),
                    number("mem") / 1_000_000
                ));
            }
        }
        all.join("; ")
    }

    /// Waits until a node has a route to each of the others.
    async fn is_whole_at(&self, node: usize) {
        let server = self.up(node);
        eventually("routes to both others", async || {
            (neighbours(server).await? == 2).then_some(())
        })
        .await;
    }

    /// Returns to how many others a node has routes.
    pub(crate) async fn neighbours_of(&self, node: usize) -> usize {
        neighbours(self.up(node)).await.unwrap()
    }

    /// Returns to how many others each node has routes.
    pub(crate) async fn neighbours(&self) -> Vec<usize> {
        let mut counts = Vec::new();
        for node in 0..self.nodes.len() {
            counts.push(self.neighbours_of(node).await);
        }
        counts
    }
}

/// Makes keys, and a password for nodes at these places.
fn keys_of_nodes(routes: &[String; 3]) -> tempfile::TempDir {
    let keys = tempfile::tempdir().unwrap();
    let arguments = ["keys", "--dir", "nkeys", "--nodes", &routes.join(",")];
    let (good, said) = process::run(keys.path(), &arguments, &[]);
    assert!(good, "{said}");
    keys
}

/// Starts a node: all are on one host here, and none in a container.
async fn node(nkeys: &Path, route: &str, changes: &[(&str, &str)]) -> Server {
    let here = [("127.0.0.1:8222", "127.0.0.1:-1"), ("0.0.0.0:6222", route)];
    Server::start_node(nkeys, &[&here, changes].concat()).await
}

/// To how many others a node has routes.
pub(crate) async fn neighbours(server: &Server) -> Option<usize> {
    let about = asked(server, "routez").await?;
    let routes = about["routes"].as_array()?.iter();
    let others: BTreeSet<_> = routes.map(|route| route["remote_id"].as_str()).collect();
    Some(others.len())
}

/// What a node's monitor tells.
async fn asked(server: &Server, what: &str) -> Option<Value> {
    let url = format!("{}/{what}", server.monitor()?);
    reqwest::get(url).await.ok()?.json().await.ok()
}

fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
