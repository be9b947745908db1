//! Three nodes of one NATS cluster, with the configuration that docker-compose.cluster.yml has for them.

use std::{collections::BTreeSet, net::TcpListener, path::PathBuf};

use serde_json::Value;

use crate::support::{Server, eventually, nats::Killed, process};

/// A cluster whose nodes come and go.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
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
        let routes = free_ports().map(|port| format!("127.0.0.1:{port}"));
        let keys = tempfile::tempdir().unwrap();
        let arguments = ["keys", "--dir", "nkeys", "--nodes", &routes.join(",")];
        let (good, said) = process::run(keys.path(), &arguments, &[]);
        assert!(good, "{said}");
        let mut cluster = Self {
            nodes: Vec::new(),
            keys,
        };
        for route in &routes {
            // All are on one host here, and none in a container.
            let changes = [
                ("127.0.0.1:8222", "127.0.0.1:-1"),
                ("0.0.0.0:6222", route.as_str()),
            ];
            let node = Server::start_node(&cluster.nkeys(), &changes).await;
            cluster.nodes.push(Node::Up(node));
        }
        for node in 0..3 {
            cluster.is_whole_at(node).await;
        }
        cluster
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
        for node in &self.nodes {
            if let Node::Up(server) = node {
                let about = asked(server, "connz").await.unwrap();
                counts.push(about["num_connections"].as_u64().unwrap());
            }
        }
        counts
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
    async fn is_whole_at(&mut self, node: usize) {
        let Node::Up(server) = &self.nodes[node] else {
            panic!("node {node} is not up");
        };
        eventually("routes to both others", async || {
            let about = asked(server, "routez").await?;
            let routes = about["routes"].as_array()?;
            let others: BTreeSet<_> = routes
                .iter()
                .map(|route| route["remote_id"].as_str())
                .collect();
            (others.len() == 2).then_some(())
        })
        .await;
    }
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
