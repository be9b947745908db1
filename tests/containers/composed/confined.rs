//! What a container may do, and which secrets it can see: asked of the engine, not of the file.

use serde_json::Value;

use super::System;
use crate::engine::{docker, sh};

/// Who publishes a port, and so is on a network that leads somewhere.
const PUBLISHERS: [&str; 3] = ["gateway", "mail", "jaeger"];

pub(super) fn nobody_may_more_than_it_needs(system: &System) {
    let containers = system.containers();
    assert!(containers.len() >= 8, "{containers:?}");
    for (name, id) in containers {
        let facts: Value = serde_json::from_str(&docker(&["inspect", &id])).unwrap();
        let (host, config) = (&facts[0]["HostConfig"], &facts[0]["Config"]);
        assert_eq!(true, host["ReadonlyRootfs"], "{name}");
        assert_eq!(serde_json::json!(["ALL"]), host["CapDrop"], "{name}");
        assert_eq!(Value::Null, host["CapAdd"], "{name}");
        let options = host["SecurityOpt"].to_string();
        assert!(options.contains("no-new-privileges"), "{name}: {options}");
        let options = &host["LogConfig"]["Config"];
        assert!(options["max-size"].is_string(), "{name}: {options}");
        for limit in ["Memory", "PidsLimit"] {
            assert!(
                host[limit].as_i64().is_some_and(|limit| limit > 0),
                "{name}: no {limit}"
            );
        }
        let user = config["User"].as_str().unwrap_or_default();
        assert!(
            !["", "0", "root"].contains(&user),
            "{name} runs as {user:?}"
        );

        let published = facts[0]["NetworkSettings"]["Ports"].as_object().unwrap();
        let published: Vec<&Value> = published.values().filter(|to| to.is_array()).collect();
        let is_publisher = PUBLISHERS.contains(&name.as_str());
        assert_eq!(usize::from(is_publisher), published.len(), "{name}");
        for to in published {
            assert_eq!("127.0.0.1", to[0]["HostIp"], "{name}");
        }
        let networks = facts[0]["NetworkSettings"]["Networks"].as_object().unwrap();
        for network in networks.keys() {
            let internal = docker(&["network", "inspect", "--format", "{{.Internal}}", network]);
            assert!(
                internal.trim() == "true" || is_publisher,
                "{name} is on {network}"
            );
        }
    }
}

pub(super) fn secrets_stand_in_files_of_their_users_alone(system: &System) {
    let containers = system.containers();
    let read_at = |name: &str, file: &str| {
        let (_, id) = containers
            .iter()
            .find(|(service, _)| service.trim_end_matches("-service") == name)
            .unwrap();
        let archive = docker(&["cp", &format!("{id}:{file}"), "-"]);
        // A tar archive: the file's text begins after a head of 512 bytes.
        let text = archive.get(512..).unwrap_or_default();
        text.split('\n').next().unwrap().to_owned()
    };
    let read = |name: &str, file: &str| read_at(name, &format!("/keys/{name}/{file}"));
    let mut secrets = vec![
        read("gateway", "gateway.nk"),
        read("user", "user.nk"),
        read("database", "database.nk"),
        read("notification", "notification.nk"),
        read("gateway", "tokens"),
        read("postgres", "password"),
        read("postgres", "admin-password"),
    ];
    if containers.iter().any(|(name, _)| name == "nats-2") {
        secrets.push(read_at("nats", "/etc/nats-serve/nkeys/route-password"));
    }
    for (name, id) in &containers {
        let facts = docker(&["inspect", id]);
        let processes = docker(&["top", id, "-eo", "pid,args"]);
        let log = sh(&format!("docker logs {id} 2>&1")).unwrap();
        assert!(!log.is_empty(), "{name} has said nothing");
        for secret in &secrets {
            assert!(secret.len() >= 40, "{secret}");
            for (place, text) in [
                ("settings", &facts),
                ("arguments", &processes),
                ("log", &log),
            ] {
                assert!(!text.contains(secret), "a secret in the {place} of {name}");
            }
        }
        // Of all keys a service sees its own.
        let mounts = serde_json::from_str::<Value>(&facts).unwrap();
        let mounts = mounts[0]["Mounts"].as_array().unwrap().clone();
        for mount in mounts {
            let target = mount["Destination"].as_str().unwrap_or_default().to_owned();
            let keys = target.strip_prefix("/keys/");
            if let Some(owner) = keys.or((target == "/etc/nats-serve/nkeys").then_some("nats")) {
                assert!(name.starts_with(owner), "{name} sees the keys of {owner}");
                assert_eq!(false, mount["RW"], "{name} may write its keys");
            }
        }
    }
}
