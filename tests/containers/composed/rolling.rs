//! scripts/roll: from one image to the next with both running, and what becomes of one that does not start.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    System,
    cluster::{CALM, READS, SERVICES, WRITES, reported, without_a_failure},
    system::IMAGE,
};
use crate::{
    engine::{docker, must},
    faults::load::Load,
    support::eventually,
};

/// Another version of the image.
const NEXT: &str = "nats-serve:tested-next";
/// One that does not start.
const BROKEN: &str = "nats-serve:tested-broken";
/// One that starts and is never ready.
const SICK: &str = "nats-serve:tested-sick";
/// How often a balancer looks.
const LOOK: Duration = Duration::from_millis(300);

pub(super) async fn a_version_follows_another(system: &System) {
    image(NEXT, "LABEL next=yes");
    let before = SERVICES.map(|service| system.ids(service));
    // As docs/scaling.md advises it, a file of one's own has the numbers; the containers so far know nothing of it.
    let mut own = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    let scales = SERVICES.map(|service| format!("  {service}: {{scale: 2}}\n"));
    write!(own, "services:\n{}", scales.concat()).unwrap();
    let files = format!("{}:{}", system.files(), own.path().display());
    let mut roll = system.rolling(NEXT, &SERVICES);
    roll.env("COMPOSE_FILE", &files);
    without_a_failure(system, "all services rolled to another image", async {
        println!("{}", must(&mut roll));
    })
    .await;
    for (service, before) in SERVICES.iter().zip(before) {
        are_replaced(system, service, &before);
    }
    what_goes_wrong_leaves_the_old_ones(system, &files).await;
    gateways_are_rolled_behind_a_balancer(system).await;
}

/// Makes an image of ours that differs by a line.
fn image(tag: &str, line: &str) {
    let file = format!("printf '%s\\n' 'FROM {IMAGE}' '{line}' | docker build -q -t {tag} -");
    must(Command::new("sh").args(["-c", &file]));
}

fn are_replaced(system: &System, service: &str, before: &[String]) {
    let now = system.ids(service);
    assert_eq!(2, now.len(), "{service}");
    for id in now {
        assert!(!before.contains(&id), "{service}");
        let image = docker(&["inspect", "--format", "{{.Config.Image}}", &id]);
        assert_eq!(NEXT, image.trim(), "{service}");
    }
}

async fn what_goes_wrong_leaves_the_old_ones(system: &System, files: &str) {
    image(BROKEN, r#"ENTRYPOINT ["/nothing"]"#);
    // The service's name, which compose adds, is where it would write spans.
    let sick = r#""user-service", "--nats-url", "nats://127.0.0.1:1", "--spans-dir""#;
    image(
        SICK,
        &format!(r#"ENTRYPOINT ["/usr/local/bin/nats-serve", {sick}]"#),
    );
    let before = system.ids("user-service");
    let rolling = |image: &str, files: &str| {
        let mut roll = system.rolling(image, &["user-service"]);
        roll.env("COMPOSE_FILE", files);
        roll
    };
    let refused = |mut roll: Command, why: &str| {
        let said = roll.env("ROLL_PATIENCE", "5").output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains(why), "{text}");
        assert_eq!(before, system.ids("user-service"), "{text}");
    };
    without_a_failure(system, "rolls that fail", async {
        refused(
            rolling(BROKEN, files),
            "could not start one more user-service",
        );
        refused(rolling(SICK, files), "after 5 s, and is removed");
        // Without the cluster's file the new ones would know one server.
        let alone = rolling(NEXT, "docker-compose.yml");
        let advised = "COMPOSE_FILE=docker-compose.yml:docker-compose.cluster.yml";
        refused(alone, advised);
        let said = interrupted(system, rolling(SICK, files)).await;
        assert!(said.contains("the old ones serve on"), "{said}");
        assert_eq!(before, system.ids("user-service"), "{said}");
    })
    .await;
}

/// Tells a roll to end while it waits for its new container.
async fn interrupted(system: &System, mut roll: Command) -> String {
    let running = system.containers().len();
    let rolling = roll.stderr(Stdio::piped()).spawn().unwrap();
    eventually("one container more", async || {
        (system.containers().len() > running).then_some(())
    })
    .await;
    let pid = Pid::from_raw(rolling.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let ended = rolling.wait_with_output().unwrap();
    assert!(!ended.status.success());
    String::from_utf8(ended.stderr).unwrap()
}

/// Gateways have ports, and leave when whoever balances them has seen in `/readyz` that they do.
async fn gateways_are_rolled_behind_a_balancer(system: &System) {
    let before = system.ids("gateway");
    let reads = Load::start(system.gateway(1, "/user/1"), READS);
    let writes = Load::registering(system.gateway(2, "/register"), WRITES);
    let mut roll = system.rolling(NEXT, &["gateway"]);
    let rolled = async {
        sleep(CALM).await;
        let said = spawn_blocking(move || must(&mut roll)).await.unwrap();
        sleep(CALM).await;
        said
    };
    tokio::select! {
        said = rolled => println!("{said}"),
        () = balance(system, &reads, &writes) => {}
    }
    let reports = [reads.stop().await, writes.stop().await];
    for report in reported("all gateways rolled behind a balancer", reports) {
        report.assert_no_failure();
    }
    are_replaced(system, "gateway", &before);
}

/// Sends reads to the first gateway that is ready, and registrations to the last.
async fn balance(system: &System, reads: &Load, writes: &Load) {
    let client = reqwest::Client::builder().timeout(LOOK).build().unwrap();
    loop {
        let label = system.label();
        let found = spawn_blocking(move || gateways(&label)).await.unwrap();
        let mut ready = Vec::new();
        for (inside, published) in found {
            let asked = client.get(format!("http://{inside}:9000/readyz")).send();
            if asked.await.is_ok_and(|reply| reply.status() == 200) {
                ready.push(published);
            }
        }
        if let (Some(first), Some(last)) = (ready.first(), ready.last()) {
            reads.aim_at(format!("http://{first}/user/1"));
            writes.aim_at(format!("http://{last}/register"));
        }
        sleep(LOOK).await;
    }
}

/// The addresses of each gateway: its own, and where its port is published. One may go while it is asked for.
fn gateways(label: &str) -> Vec<(String, String)> {
    let service = "label=com.docker.compose.service=gateway";
    let all = docker(&["ps", "--quiet", "--filter", label, "--filter", service]);
    let said = |arguments: &[&str]| {
        let said = Command::new("docker").args(arguments).output().unwrap();
        let text = String::from_utf8(said.stdout).unwrap();
        text.split_whitespace().next().map(str::to_owned)
    };
    let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
    all.lines()
        .filter_map(|id| {
            Some((
                said(&["inspect", "--format", address, id])?,
                said(&["port", id, "8000"])?,
            ))
        })
        .collect()
}
