//! scripts/roll: from one image to the next with both running, and what becomes of one that does not start.

use std::process::Command;

use super::{
    System,
    cluster::{SERVICES, without_a_failure},
    system::IMAGE,
};
use crate::engine::{docker, must};

/// Another version of the image.
const NEXT: &str = "nats-serve:tested-next";
/// One that does not start.
const BROKEN: &str = "nats-serve:tested-broken";

pub(super) async fn a_version_follows_another(system: &System) {
    let file = format!("printf 'FROM {IMAGE}\\nLABEL next=yes\\n' | docker build -q -t {NEXT} -");
    must(Command::new("sh").args(["-c", &file]));
    let before = SERVICES.map(|service| system.ids(service));
    without_a_failure(system, "all services rolled to another image", async {
        system.roll(NEXT, &SERVICES);
    })
    .await;
    for (service, before) in SERVICES.iter().zip(before) {
        let now = system.ids(service);
        assert_eq!(2, now.len(), "{service}");
        for id in now {
            assert!(!before.contains(&id), "{service}");
            let image = docker(&["inspect", "--format", "{{.Config.Image}}", &id]);
            assert_eq!(NEXT, image.trim(), "{service}");
        }
    }
    what_goes_wrong_leaves_the_old_ones(system).await;
    // Gateways have ports; whoever balances them follows `/readyz`.
    let before = system.ids("gateway");
    system.roll(NEXT, &["gateway"]);
    let now = system.ids("gateway");
    assert_eq!(2, now.len());
    assert!(
        now.iter().all(|id| !before.contains(id)),
        "{before:?} {now:?}"
    );
    for gateway in [1, 2] {
        let reply = reqwest::get(system.gateway(gateway, "/user/1")).await;
        assert_eq!(200, reply.unwrap().status());
    }
}

async fn what_goes_wrong_leaves_the_old_ones(system: &System) {
    let entry = r#"ENTRYPOINT ["/nothing"]"#;
    let file = format!("printf '%s\\n' 'FROM {IMAGE}' '{entry}' | docker build -q -t {BROKEN} -");
    must(Command::new("sh").args(["-c", &file]));
    let before = system.ids("user-service");
    let refused = |command: &mut Command, why: &str| {
        let said = command.env("ROLL_PATIENCE", "5").output().unwrap();
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(!said.status.success() && text.contains(why), "{text}");
        assert_eq!(before, system.ids("user-service"), "{text}");
    };
    without_a_failure(system, "a roll to an image that does not start", async {
        let mut broken = system.rolling(BROKEN, &["user-service"]);
        refused(&mut broken, "the old ones serve on");
        // Without the cluster's file the new ones would know one server.
        let mut alone = system.rolling(NEXT, &["user-service"]);
        alone.env("COMPOSE_FILE", "docker-compose.yml");
        refused(
            &mut alone,
            "COMPOSE_FILE=docker-compose.yml:docker-compose.cluster.yml",
        );
    })
    .await;
}
