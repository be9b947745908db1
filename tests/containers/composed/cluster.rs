//! NATS as a cluster of three, and everything restarted and replaced under load: docker-compose.cluster.yml and
//! scripts/roll, as docs/scaling.md has them.

use std::{
    collections::BTreeSet,
    future::Future,
    net::TcpListener,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::time::sleep;

use super::{System, confined, rolling};
use crate::{
    engine::{docker, sh},
    faults::load::{Load, Report},
    settings::{figure, strict},
    support::eventually,
};

/// What reads at one gateway, and registers at the other.
pub(super) const READS: u32 = 40;
pub(super) const WRITES: u32 = 20;
const NODES: [&str; 3] = ["nats", "nats-2", "nats-3"];
/// The services of which there are several containers.
pub(super) const SERVICES: [&str; 3] = ["user-service", "database-service", "notification-service"];
/// Between two faults.
pub(super) const CALM: Duration = Duration::from_secs(2);
/// How long a gateway that leaves serves on; whoever balances them asks several times meanwhile.
const DELAY: Duration = Duration::from_secs(3);
/// `ABSENCE_WAIT`, without what a process needs until it is ready. Some engines are slower.
const WAITED_FOR: Duration = Duration::from_millis(1300);
/// A request's time: what was sent so long before a fault may meet it.
const UNDER_WAY: Duration = Duration::from_secs(2);
/// What a container has to leave, and an engine to tell it so.
const LEAVING: Duration = Duration::from_secs(10);

pub(super) async fn nothing_that_is_replaced_is_missed(system: &System) {
    let variables = vec![
        ("GATEWAY_PORT", range_of_free_ports()),
        ("SHUTDOWN_DELAY", format!("{}s", DELAY.as_secs())),
    ];
    let system = system.with("docker-compose.cluster.yml", variables);
    let twice = SERVICES.map(|service| format!("--scale {service}=2"));
    system.compose(&format!("up -d --scale gateway=2 {}", twice.join(" ")));
    system.serves().await;
    confined::nobody_may_more_than_it_needs(&system);
    confined::secrets_stand_in_files_of_their_users_alone(&system);
    a_stolen_key_is_out_at_every_node(&system).await;
    the_nodes_get_another_password(&system).await;
    nodes_die(&system).await;
    nodes_are_upgraded(&system).await;
    nodes_are_restarted(&system).await;
    everything_is_restarted(&system).await;
    rolling::a_version_follows_another(&system).await;
    gateways_share_everything(&system).await;
    the_store_is_restarted(&system).await;
    each_registration_is_there_once(&system).await;
}

/// As many as two gateways have, and one to spare.
fn range_of_free_ports() -> String {
    let ranges = (20_000..30_000).step_by(3);
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut free = ranges.filter(|first| (*first..first + 3).all(is_free));
    let first = free.next().unwrap();
    format!("{first}-{}", first + 2)
}

/// How many registrations all loads sent, and the numbers of those that were answered 201.
static SENT: AtomicUsize = AtomicUsize::new(0);
static REGISTERED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Reads and registers while something happens.
async fn under_load(system: &System, what: &str, happens: impl Future<Output = ()>) -> [Report; 2] {
    let reads = Load::start(system.gateway(1, "/user/1"), READS);
    let writes = Load::registering(system.gateway(2, "/register"), WRITES);
    sleep(CALM).await;
    happens.await;
    sleep(CALM).await;
    reported(what, [reads.stop().await, writes.stop().await])
}

/// Prints what came of reads and registrations, and counts the latter.
pub(super) fn reported(what: &str, reports: [Report; 2]) -> [Report; 2] {
    figure(&format!("{what}: GET"), &reports[0]);
    figure(&format!("{what}: POST"), &reports[1]);
    SENT.fetch_add(reports[1].len(), Relaxed);
    REGISTERED.lock().unwrap().extend(reports[1].registered());
    reports
}

pub(super) async fn without_a_failure(
    system: &System,
    what: &str,
    happens: impl Future<Output = ()>,
) {
    for report in under_load(system, what, happens).await {
        report.assert_no_failure();
    }
}

async fn nodes_die(system: &System) {
    without_a_failure(system, "each node of NATS killed in turn", async {
        for node in NODES {
            let id = system.id(node);
            docker(&["kill", &id]);
            sleep(CALM).await;
            docker(&["start", &id]);
            system.is_healthy(&id).await;
            sleep(CALM).await;
        }
    })
    .await;
}

async fn nodes_are_upgraded(system: &System) {
    without_a_failure(system, "each node of NATS replaced in turn", async {
        let before = NODES.map(|node| system.id(node));
        let said = system.run_the_loop_of("docs/scaling.md", "for node in nats nats-2 nats-3; do");
        assert!(!said.contains("is not there again"), "{said}");
        for (node, before) in NODES.iter().zip(before) {
            assert_ne!(before, system.id(node), "{node}");
        }
    })
    .await;
}

/// A node that is told so leaves as a lame duck.
async fn nodes_are_restarted(system: &System) {
    without_a_failure(
        system,
        "docker compose restart of each node in turn",
        async {
            for node in NODES {
                system.compose(&format!("restart {node}"));
                system.is_healthy(&system.id(node)).await;
                sleep(CALM).await;
                let log = sh(&format!("docker logs {} 2>&1", system.id(node))).unwrap();
                assert!(log.to_lowercase().contains("lame duck"), "{node}: {log}");
            }
        },
    )
    .await;
}

/// By what compose has for it: all containers of a service at once.
async fn everything_is_restarted(system: &System) {
    for service in SERVICES.into_iter().chain(["mail", "jaeger"]) {
        let what = format!("docker compose restart {service}");
        let mut told = Duration::ZERO;
        let reports = under_load(system, &what, async {
            told = UNIX_EPOCH.elapsed().unwrap();
            system.compose(&format!("restart {service}"));
        })
        .await;
        let [ended, began] = system.gap(service);
        let (leaving, gap) = (ended.saturating_sub(told), began.saturating_sub(ended));
        figure(
            &what,
            format!("left after {leaving:.1?}, nobody for {gap:.1?}"),
        );
        assert!(leaving < LEAVING, "{what}: {leaving:?}");
        for report in reports {
            if gap > WAITED_FOR && !strict() {
                println!("too slow an engine to ask for more than an honest answer: {what}");
                let other = report.answered_other_than(&[200, 201, 503]);
                assert_eq!(0, other, "{what}: {report}");
            } else {
                report.assert_no_failure();
            }
        }
    }
    // A gateway is restarted when no balancer sends to it any more.
    for gateway in [1, 2] {
        let reads = Load::start(system.gateway(gateway, "/user/1"), READS);
        let writes = Load::registering(system.gateway(gateway, "/register"), WRITES);
        sleep(CALM).await;
        reads.aim_at(system.gateway(3 - gateway, "/user/1"));
        writes.aim_at(system.gateway(3 - gateway, "/register"));
        sleep(CALM / 2).await;
        docker(&["restart", &system.ids("gateway")[gateway - 1]]);
        system.serves().await;
        let what = "a gateway restarted that a balancer has left";
        for report in reported(what, [reads.stop().await, writes.stop().await]) {
            report.assert_no_failure();
        }
    }
    // What it costs those who are connected is not nothing.
    let what = "docker compose restart gateway, both at once";
    under_load(system, what, async {
        system.compose("restart gateway");
        system.serves().await;
    })
    .await;
}

/// As docs/containers.md has it: all nodes are told, and whoever has the old key is at none of them.
async fn a_stolen_key_is_out_at_every_node(system: &System) {
    system.compose("run --rm -T keys keys --dir /keys --for-containers --replace user");
    for node in NODES {
        system.compose(&format!("exec -T {node} nats-server --signal reload=1"));
    }
    // The processes have the old one.
    eventually("no user service anywhere", async || {
        let reply = reqwest::get(system.gateway(1, "/user/1")).await.ok()?;
        (reply.status() == 503).then_some(())
    })
    .await;
    system.compose("restart user-service");
    system.serves().await;
}

/// As docs/scaling.md has it.
async fn the_nodes_get_another_password(system: &System) {
    let nodes = NODES.join(",");
    let replace = format!("--nodes {nodes} --replace routes");
    let said = system.compose(&format!(
        "run --rm -T keys keys --dir /keys --for-containers {replace}"
    ));
    assert!(said.contains("route-password"), "{said}");
    system.compose(&format!("restart {}", NODES.join(" ")));
    for node in NODES {
        let id = system.id(node);
        system.is_healthy(&id).await;
        eventually("routes to both others", async || {
            let ask = format!("docker exec {id} wget -q -O - http://127.0.0.1:8222/routez");
            let told: Value = serde_json::from_str(&sh(&ask).ok()?).ok()?;
            let routes = told["routes"].as_array()?.iter();
            let others: BTreeSet<_> = routes.map(|one| one["remote_id"].as_str()).collect();
            (others.len() == 2).then_some(())
        })
        .await;
    }
    system.serves().await;
}

/// One that failed may be there, too; no address can be there twice.
async fn each_registration_is_there_once(system: &System) {
    let ask = |what: &str| {
        let ask = "exec -T postgres psql -q -h 127.0.0.1 -U nats_serve -d nats_serve -tAc";
        system.compose(&format!("{ask} \"SELECT {what}\""))
    };
    let stored = ask(
        "substring(email from 5 for position('@' in email) - 5) FROM users WHERE email LIKE 'load%'",
    );
    let stored: BTreeSet<u64> = stored
        .split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect();
    let (sent, registered) = (SENT.load(Relaxed), REGISTERED.lock().unwrap().clone());
    figure(
        "registrations sent, answered 201, stored",
        format!("{sent}, {}, {}", registered.len(), stored.len()),
    );
    let lost: Vec<_> = registered.iter().filter(|n| !stored.contains(n)).collect();
    assert!(lost.is_empty() && !registered.is_empty(), "{lost:?}");
    assert!(stored.len() <= sent, "{} of {sent}", stored.len());
    // What a container did not end is left to a lease, 15 s, and then to the relay.
    let in_outbox = |status: &str| {
        let counted = ask(&format!("count(*) FROM outbox WHERE status = '{status}'"));
        counted.trim().parse::<usize>().unwrap()
    };
    eventually("an outbox in which nothing waits", async || {
        (in_outbox("pending") == 0).then_some(())
    })
    .await;
    assert_eq!(0, in_outbox("failed"));
}

async fn gateways_share_everything(system: &System) {
    let client = reqwest::Client::new();
    let body = serde_json::json!({"name": "Eve", "email": "eve@example.com"});
    let mut answers = Vec::new();
    for gateway in [1, 2] {
        let request = client
            .post(system.gateway(gateway, "/register"))
            .header("idempotency-key", "both-gateways")
            .json(&body);
        let reply = request.send().await.unwrap();
        assert_eq!(201, reply.status());
        answers.push(reply.json::<Value>().await.unwrap()["data"]["user"].clone());
    }
    assert_eq!(answers[0], answers[1]);
    let id = answers[0]["id"].as_str().unwrap();
    for gateway in [1, 2] {
        let read = reqwest::get(system.gateway(gateway, &format!("/user/{id}"))).await;
        let read: Value = read.unwrap().json().await.unwrap();
        assert_eq!(answers[0], read["data"]["user"]);
    }
    let status = system.compose("run --rm -T tools status");
    let gateways = status.lines().filter(|line| line.starts_with("gateway"));
    assert_eq!(2, gateways.count(), "{status}");
}

async fn the_store_is_restarted(system: &System) {
    let (mut told, mut back) = (Instant::now(), Instant::now());
    let reports = under_load(system, "docker compose restart postgres", async {
        told = Instant::now();
        system.compose("restart postgres");
        system.is_healthy(&system.id("postgres")).await;
        back = Instant::now();
        sleep(CALM).await;
    })
    .await;
    for report in &reports {
        // 503 while it is away, and 504 where its silence took the time; then all is as before.
        let other = report.answered_other_than(&[200, 201, 503, 504]);
        assert_eq!(0, other, "{report}");
        let meanwhile = report.between(told - UNDER_WAY, back + CALM).failed();
        assert_eq!(meanwhile, report.failed(), "{report}");
    }
    without_a_failure(system, "after the restart of postgres", async {}).await;
}

impl System {
    /// A path at one of the gateways, which are counted from 1.
    pub(super) fn gateway(&self, nth: usize, path: &str) -> String {
        let id = &self.ids("gateway")[nth - 1];
        let address = docker(&["port", id, "8000"]);
        format!("http://{}{path}", address.lines().next().unwrap().trim())
    }

    /// Waits until both gateways have answers again.
    async fn serves(&self) {
        for gateway in [1, 2] {
            eventually("an answer of each gateway", async || {
                let reply = reqwest::get(self.gateway(gateway, "/user/1")).await.ok()?;
                (reply.status() == 200).then_some(())
            })
            .await;
        }
    }

    /// When the last container of a service had ended, and when the first had begun again, since 1970.
    fn gap(&self, service: &str) -> [Duration; 2] {
        let moment = |id: &String, field: &str| {
            let told = docker(&[
                "inspect",
                "--format",
                &format!("{{{{.State.{field}}}}}"),
                id,
            ]);
            let seconds = sh(&format!("date -d {} +%s.%N", told.trim())).unwrap();
            Duration::from_secs_f64(seconds.trim().parse().unwrap())
        };
        let ids = self.ids(service);
        let ended = ids.iter().map(|id| moment(id, "FinishedAt")).max();
        let began = ids.iter().map(|id| moment(id, "StartedAt")).min();
        [ended.unwrap(), began.unwrap()]
    }

    /// The containers of a service, the oldest first.
    pub(super) fn ids(&self, service: &str) -> Vec<String> {
        let ids = self.compose(&format!("ps -q {service}"));
        let created = |id: &str| docker(&["inspect", "--format", "{{.Created}}", id]);
        let mut ids: Vec<(String, String)> =
            ids.lines().map(|id| (created(id), id.to_owned())).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    pub(super) fn id(&self, service: &str) -> String {
        self.ids(service).swap_remove(0)
    }

    async fn is_healthy(&self, id: &str) {
        eventually("a healthy container", async || {
            let health = docker(&["inspect", "--format", "{{.State.Health.Status}}", id]);
            (health.trim() == "healthy").then_some(())
        })
        .await;
    }
}
