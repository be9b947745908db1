//! The Kubernetes manifests: a validator that isn't ours takes them, and what they name is there.

use std::{fs, path::Path, process::Command};

use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::{
    python::with_validator,
    support::{process::run, stack::SERVICES},
};

/// The oldest version that the document names, and the newest that the validator knows.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kubernetes");
const DOCUMENT: &str = include_str!("../../docs/kubernetes.md");
const README: &str = include_str!("../../README.md");
const PROCESS: &str = include_str!("../../src/lib/app/process.rs");
const FIGURES: &str = include_str!("../../src/lib/replica/figures.rs");

/// What a process may take beyond its grace until it leaves by force, in seconds.
fn ending_time() -> u64 {
    let (_, rest) = PROCESS
        .split_once("const ENDING_TIME: Duration = Duration::from_secs(")
        .unwrap();
    rest.split(')').next().unwrap().parse().unwrap()
}

/// Returns what each kustomization makes, and what is wrong.
fn build(folder: &Path) -> Value {
    let folder = folder.to_str().unwrap();
    with_validator("kubernetes.py", &[&[folder], VERSIONS.as_slice()].concat())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn find<'a>(resources: &'a Value, kind: &str, name: &str) -> &'a Value {
    let is_it = |one: &&Value| one["kind"] == kind && one["metadata"]["name"] == name;
    let found = list(resources).iter().find(is_it);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Returns the environment that a container gets, ConfigMaps and all.
fn environment<'a>(resources: &'a Value, container: &'a Value) -> Vec<(&'a str, &'a str)> {
    let mut variables = Vec::new();
    for source in list(&container["envFrom"]) {
        let name = text(&source["configMapRef"]["name"]);
        let map = find(resources, "ConfigMap", name);
        let data = map["data"].as_object().unwrap().iter();
        variables.extend(data.map(|(name, value)| (name.as_str(), text(value))));
    }
    let own = list(&container["env"]).iter();
    variables.extend(own.map(|one| (text(&one["name"]), text(&one["value"]))));
    variables
}

#[test]
fn kubernetes_schemas_take_every_manifest() {
    let report = build(MANIFESTS.as_ref());
    assert_eq!(Value::Array(Vec::new()), report["faults"]);
    let built = report["built"].as_object().unwrap();
    let names: Vec<&str> = built.keys().map(String::as_str).collect();
    let (scaling, certificates) = ("components/autoscaling", "components/client-certificates");
    let tools = "components/tools";
    assert_eq!(["base", scaling, certificates, tools, "example"], *names);
    for service in SERVICES {
        let scaler = find(&built[scaling], "HorizontalPodAutoscaler", service);
        assert_eq!(service, scaler["spec"]["scaleTargetRef"]["name"]);
        let metric = text(&scaler["spec"]["metrics"][0]["pods"]["metric"]["name"]);
        let published = metric.strip_prefix("nats_serve_").unwrap();
        assert!(FIGURES.contains(&format!("\"{published}\"")), "{metric}");
    }
}

#[test]
fn a_mistyped_field_and_a_file_that_nobody_lists_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .args(["-R", MANIFESTS])
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let copy = folder.path().join("kubernetes");
    let process = copy.join("base/process.yaml");
    let whole = fs::read_to_string(&process).unwrap();
    let broken = whole.replace("readinessProbe:", "readynessProbe:");
    assert!(whole != broken);
    fs::write(process, broken).unwrap();
    fs::write(copy.join("base/forgotten.yaml"), "").unwrap();
    let report = build(&copy);
    let faults: Vec<&str> = list(&report["faults"]).iter().map(text).collect();
    let about = |words: &str| faults.iter().filter(|fault| fault.contains(words)).count();
    let deployments = SERVICES.len() * VERSIONS.len();
    assert_eq!(deployments, about("'readynessProbe' was unexpected"));
    assert_eq!(1, about("forgotten.yaml"));
    assert_eq!(deployments + 1, faults.len(), "{faults:?}");
}

#[test]
fn nobody_is_reached_but_as_the_document_says() {
    let report = build(MANIFESTS.as_ref());
    let base = &report["built"]["base"];
    let all = find(base, "NetworkPolicy", "nobody");
    assert_eq!(json!({}), all["spec"]["podSelector"]);
    assert_eq!(json!(["Ingress", "Egress"]), all["spec"]["policyTypes"]);
    assert!(all["spec"].get("ingress").is_none() && all["spec"].get("egress").is_none());

    // Policies add up, so whatever another one allows is in this list.
    let policies = list(base)
        .iter()
        .filter(|one| one["kind"] == "NetworkPolicy");
    let mut allowed = Vec::new();
    for policy in policies {
        for way in ["ingress", "egress"] {
            for rule in list(&policy["spec"][way]) {
                let peers = list(&rule["from"]).iter().chain(list(&rule["to"]));
                let peers: Vec<&Value> = peers.collect();
                assert!(!peers.is_empty(), "open to everybody: {policy}");
                let name = text(&policy["metadata"]["name"]);
                for peer in peers {
                    let named = peer["namespaceSelector"]["matchLabels"].as_object();
                    // No policy can name a mail server.
                    let is_somebody = named.is_some_and(|labels| !labels.is_empty());
                    assert!(
                        is_somebody || (name == "mail" && peer["ipBlock"].is_object()),
                        "{peer}"
                    );
                }
                let ports = list(&rule["ports"]).iter().map(|port| &port["port"]);
                let ports: Vec<String> = ports.map(Value::to_string).collect();
                assert!(!ports.is_empty(), "every port: {policy}");
                allowed.push(format!("{name} {way} {}", ports.join(",")));
            }
        }
    }
    allowed.sort_unstable();
    assert_eq!(
        [
            "dns egress 53,53",
            "gateway ingress 8000",
            "mail egress 587",
            "metrics ingress 9000",
            "nats egress 4222",
            "postgres egress 5432",
            "spans egress 4318",
        ],
        *allowed
    );
    for (policy, service) in [
        ("gateway", "gateway"),
        ("postgres", "database-service"),
        ("mail", "notification-service"),
    ] {
        let labels = &find(base, "NetworkPolicy", policy)["spec"]["podSelector"]["matchLabels"];
        assert_eq!(service, labels["app.kubernetes.io/name"], "{policy}");
    }
}

#[test]
fn each_service_is_watched_has_its_time_to_leave_and_may_do_nothing_else() {
    let report = build(MANIFESTS.as_ref());
    for resources in report["built"].as_object().unwrap().values() {
        for service in SERVICES {
            let deployment = find(resources, "Deployment", service);
            let pod = &deployment["spec"]["template"];
            let spec = &pod["spec"];
            let [container] = list(&spec["containers"]) else {
                panic!("one container: {spec}");
            };
            assert_eq!([service], *list(&container["args"]));
            let labels = &pod["metadata"]["labels"];
            assert_eq!(*labels, deployment["spec"]["selector"]["matchLabels"]);
            let budget = find(resources, "PodDisruptionBudget", service);
            assert_eq!(*labels, budget["spec"]["selector"]["matchLabels"]);

            let ports = list(&container["ports"]);
            let port = |name| ports.iter().find(|port| port["name"] == name).unwrap();
            assert_eq!(9000, port("admin")["containerPort"]);
            for (probe, path) in [
                ("startupProbe", "/livez"),
                ("livenessProbe", "/livez"),
                ("readinessProbe", "/readyz"),
            ] {
                let asked = json!({"path": path, "port": "admin"});
                assert_eq!(asked, container[probe]["httpGet"]);
            }
            if service == "gateway" {
                assert_eq!(8000, port("http")["containerPort"]);
                let entrance = find(resources, "Service", service);
                assert_eq!(*labels, entrance["spec"]["selector"]);
                assert_eq!("http", entrance["spec"]["ports"][0]["targetPort"]);
            }

            let variables = environment(resources, container);
            let set = |name: &str| variables.iter().find(|(one, _)| *one == name).unwrap().1;
            assert_eq!("0.0.0.0:9000", set("ADMIN_ADDR"));
            let seconds = |name| set(name).trim_end_matches('s').parse::<u64>().unwrap();
            let grace = seconds("SHUTDOWN_GRACE");
            let time = spec["terminationGracePeriodSeconds"].as_u64().unwrap();
            assert!(time > grace + ending_time(), "{service}");
            if service == "gateway" {
                // The hosts learn meanwhile that it leaves, and its requests have twice their time left.
                assert_eq!(5, seconds("SHUTDOWN_DELAY"));
                assert!(grace >= seconds("SHUTDOWN_DELAY") + 4);
            }

            assert_eq!(false, spec["automountServiceAccountToken"]);
            assert_eq!(false, spec["enableServiceLinks"]);
            assert_eq!(true, spec["securityContext"]["runAsNonRoot"]);
            assert_eq!(true, container["securityContext"]["readOnlyRootFilesystem"]);
        }
    }
}

#[test]
fn each_setting_is_one_of_the_program_and_each_key_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let making = ["keys", "--dir", "keys", "--for-containers"];
    let (good, said) = run(folder.path(), &making, &[]);
    assert!(good, "{said}");
    let report = build(MANIFESTS.as_ref());
    for resources in report["built"].as_object().unwrap().values() {
        for service in SERVICES {
            let subject = service.trim_end_matches("-service");
            let spec = &find(resources, "Deployment", service)["spec"]["template"]["spec"];
            let mut variables = environment(resources, &spec["containers"][0]);
            let (_, help) = run(folder.path(), &[service, "--help"], &[]);
            for (name, _) in &variables {
                let is_told = help.contains(&format!("[env: {name}]"))
                    || help.contains(&format!("[env: {name}="))
                    // Hidden there, because OpenTelemetry's documents have them.
                    || name.starts_with("OTEL_") && README.contains(&format!("`{name}`"));
                assert!(is_told, "{service} has no setting {name}");
            }

            let volumes = list(&spec["volumes"]);
            let keys = volumes.iter().find(|one| one["name"] == "keys").unwrap();
            let sources = &keys["projected"]["sources"];
            assert_eq!(service, sources[0]["secret"]["name"]);
            assert_eq!("authorities", sources[1]["configMap"]["name"]);
            assert_eq!(2, list(sources).len(), "{service} sees another's key");
            // Its Secret: the files of its folder, and what the same line of the document adds.
            let command = format!("secret generic {service} --from-file keys/{subject}");
            let line = DOCUMENT.lines().find(|line| line.contains(&command));
            let line = line.unwrap_or_else(|| panic!("no `{command}`"));
            let own = folder.path().join("keys").join(subject);
            let authorities = list(&sources[1]["configMap"]["items"]);
            for (name, value) in &variables {
                let parts = value.split(['=', '&']);
                for file in parts.filter_map(|part| part.strip_prefix("/keys/")) {
                    let is_there = authorities.iter().any(|one| one["path"] == file)
                        || own.join(file).exists()
                        || line.contains(&format!("--from-file {file}"));
                    assert!(is_there, "{service}: nobody makes {file} of {name}");
                }
            }
            for authority in authorities {
                let made = format!(" --from-file {}", text(&authority["key"]));
                assert!(DOCUMENT.contains(&made), "nobody makes{made}");
            }

            // All can be read: what is missed is the key.
            variables.push(("SPANS_DIR", "spans"));
            let (good, said) = run(folder.path(), &[service], &variables);
            let missed = format!("the nkey /keys/{subject}.nk is missing");
            assert!(!good && said.contains(&missed), "{service}: {said}");
        }
    }
}

#[test]
fn what_one_asks_by_hand_has_a_key_of_its_own_and_a_way_to_nats() {
    let folder = tempfile::tempdir().unwrap();
    let (good, said) = run(
        folder.path(),
        &["keys", "--dir", "keys", "--for-containers"],
        &[],
    );
    assert!(good, "{said}");
    let report = build(MANIFESTS.as_ref());
    for name in ["components/tools", "example"] {
        let resources = &report["built"][name];
        for (name_of_job, command) in [
            ("status", &["status"][..]),
            ("outbox", &["outbox"]),
            ("outbox-retry", &["outbox", "retry", "--failed"]),
        ] {
            let job = find(resources, "CronJob", name_of_job);
            assert_eq!(true, job["spec"]["suspend"]);
            let pod = &job["spec"]["jobTemplate"]["spec"]["template"];
            let policy = &find(resources, "NetworkPolicy", "nats")["spec"]["podSelector"];
            for (label, value) in policy["matchLabels"].as_object().unwrap() {
                assert_eq!(*value, pod["metadata"]["labels"][label]);
            }
            let container = &pod["spec"]["containers"][0];
            assert_eq!(*command, *list(&container["args"]));
            let (good, said) = run(folder.path(), &[command, &["--help"]].concat(), &[]);
            assert!(good, "{said}");
            assert!(text(&container["image"]).contains("nats-serve:") || name != "example");
            let keys = list(&pod["spec"]["volumes"])
                .iter()
                .find(|one| one["name"] == "keys");
            assert_eq!(
                "tools",
                keys.unwrap()["projected"]["sources"][0]["secret"]["name"]
            );
            let variables = environment(resources, container);
            let key = variables
                .iter()
                .find(|(name, _)| *name == "NATS_NKEY_FILE")
                .unwrap()
                .1;
            let file = key.strip_prefix("/keys/").unwrap();
            assert!(
                folder.path().join("keys/tools").join(file).exists(),
                "{file}"
            );
            let has_certificate = variables
                .iter()
                .any(|(name, _)| *name == "NATS_TLS_CERT_FILE");
            assert_eq!(name == "example", has_certificate);
            let started = format!("--from cronjob/{name_of_job}\n");
            assert!(DOCUMENT.contains(&started), "{started}");
        }
    }
    assert!(DOCUMENT.contains("secret generic tools --from-file keys/tools"));
}
