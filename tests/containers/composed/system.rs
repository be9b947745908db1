//! A composed system of the tests' own: another project than anybody's, on ports that were free.

use std::{fs, process::Command};

use nats_serve::traces::{self, Trace};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    engine::{compose, docker, must, repository, sh},
    settings::strict,
    support::eventually,
};

/// Not the name that docker-compose.yml has for the image: that one is the user's.
pub(crate) const IMAGE: &str = "nats-serve:tested";
/// The ports that it publishes, none of them fixed here.
const PORTS: [&str; 5] = [
    "GATEWAY_PORT",
    "MAIL_PORT",
    "JAEGER_PORT",
    "NATS_PORT",
    "OTLP_PORT",
];

pub(crate) struct System {
    project: String,
    /// Further files of settings.
    overrides: Vec<&'static str>,
    /// What is said by the environment, beside the image and the ports.
    variables: Vec<(&'static str, String)>,
    /// Whether it ends with this value.
    is_owner: bool,
}

impl System {
    /// Builds the image, and starts nothing.
    pub(crate) fn build() -> Self {
        let system = Self {
            project: format!("nats-serve-test-{}", std::process::id()),
            overrides: Vec::new(),
            variables: Vec::new(),
            is_owner: true,
        };
        // What is built in half the time does the same, and is measured by nobody.
        let level = if strict() { 3 } else { 1 };
        system.compose(&format!("build --build-arg OPT_LEVEL={level}"));
        system
    }

    /// The same system with another file of settings, and variables.
    pub(crate) fn with(&self, file: &'static str, variables: Vec<(&'static str, String)>) -> Self {
        Self {
            project: self.project.clone(),
            overrides: vec![file],
            variables,
            is_owner: false,
        }
    }

    /// Runs compose and returns what it printed.
    #[track_caller]
    pub(crate) fn compose(&self, arguments: &str) -> String {
        let line = format!("{} {arguments}", self.words());
        must(Command::new("sh").args(["-c", &line]))
    }

    fn words(&self) -> String {
        let variables = self.environment(IMAGE).into_iter();
        let variables: String = variables
            .map(|(name, value)| format!("{name}={value} "))
            .collect();
        let files = ["docker-compose.yml"].iter().chain(&self.overrides);
        let files: String = files.map(|file| format!(" -f {file}")).collect();
        format!("{variables}{}{files} -p {}", compose(), self.project)
    }

    /// Of two that have one name the later counts.
    fn environment(&self, image: &str) -> Vec<(&'static str, String)> {
        let ports = PORTS.map(|port| (port, "0".to_owned())).into_iter();
        let image = ("NATS_SERVE_IMAGE", image.to_owned());
        let variables = ports.chain([image]);
        variables.chain(self.variables.iter().cloned()).collect()
    }

    /// As `COMPOSE_FILE` has them.
    pub(crate) fn files(&self) -> String {
        let files = ["docker-compose.yml"].iter().chain(&self.overrides);
        files.copied().collect::<Vec<_>>().join(":")
    }

    /// Replaces the containers of services by those of another image, as scripts/roll does it.
    pub(crate) fn rolling(&self, image: &str, services: &[&str]) -> Command {
        let mut command = Command::new("scripts/roll");
        command
            .args(services)
            .current_dir(repository())
            .env("COMPOSE_FILE", self.files())
            .env("COMPOSE_PROJECT_NAME", &self.project)
            .envs(self.environment(image));
        command
    }

    /// Runs each command that a section of a document shows, and returns what they printed.
    #[track_caller]
    pub(crate) fn run_the_commands_of(&self, document: &str, heading: &str) -> String {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        let (_, section) = text.split_once(&format!("{heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let commands: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| {
                ["docker", "curl", "TOKENS"]
                    .iter()
                    .any(|word| line.starts_with(word))
            })
            .collect();
        assert!(commands.len() > 1, "{commands:?}");
        let words = self.words();
        let mut printed = String::new();
        for command in commands {
            let command = command.split("  #").next().unwrap();
            let line = command
                .replace("docker compose", &words)
                .replace(" exec ", " exec -T ")
                .replace(" run --rm ", " run --rm -T ")
                .replace("127.0.0.1:8000", &self.address("gateway", 8000));
            let line = if line.starts_with("curl") {
                line.replacen("curl", "curl -sS --fail-with-body", 1)
            } else {
                line
            };
            println!("$ {command}");
            let said = sh(&line).unwrap_or_else(|said| panic!("{document}: {command}\n{said}"));
            println!("{said}");
            printed = said;
        }
        printed
    }

    /// Runs a loop of the shell as a document shows it.
    #[track_caller]
    pub(crate) fn run_the_loop_of(&self, document: &str, first: &str) -> String {
        let text = fs::read_to_string(repository().join(document)).unwrap();
        let (_, rest) = text.split_once(first).unwrap();
        let (rest, _) = rest.split_once("    done\n").unwrap();
        let shown = format!("{first}{rest}done");
        let line = shown.replace("docker compose", &self.words());
        sh(&line).unwrap_or_else(|said| panic!("{document}: {shown}\n{said}"))
    }

    /// Where a port of a container is published.
    pub(crate) fn address(&self, service: &str, port: u16) -> String {
        self.compose(&format!("port {service} {port}"))
            .trim()
            .to_owned()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("gateway", 8000))
    }

    /// The containers that run, by the names of their services.
    pub(crate) fn containers(&self) -> Vec<(String, String)> {
        let all = docker(&["ps", "--quiet", "--filter", &self.label()]);
        let named = all.lines().map(|id| {
            let label = r#"{{index .Config.Labels "com.docker.compose.service"}}"#;
            let service = docker(&["inspect", "--format", label, id]);
            (service.trim().to_owned(), id.to_owned())
        });
        named.collect()
    }

    /// By which the engine knows its containers.
    pub(crate) fn label(&self) -> String {
        format!("label=com.docker.compose.project={}", self.project)
    }

    pub(crate) fn memory(&self) -> Vec<(String, String)> {
        let used = |id: &str| docker(&["stats", "--no-stream", "--format", "{{.MemUsage}}", id]);
        let containers = self.containers().into_iter();
        containers
            .map(|(name, id)| (name, used(&id).trim().to_owned()))
            .collect()
    }

    /// Sends a `GET` and returns its status and its trace.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let reply = reqwest::get(self.url(path)).await.unwrap();
        (reply.status().as_u16(), trace_id(&reply))
    }

    pub(crate) async fn register(&self, name: &str, email: &str) -> (u16, String, Value) {
        let body = serde_json::json!({"name": name, "email": email});
        let request = reqwest::Client::new()
            .post(self.url("/register"))
            .json(&body);
        let reply = request.send().await.unwrap();
        let (status, trace) = (reply.status().as_u16(), trace_id(&reply));
        (status, trace, reply.json().await.unwrap())
    }

    /// Reads a trace from the volume of spans once it has as many as expected.
    pub(crate) async fn trace(&self, id: &str, spans: usize) -> Trace {
        eventually(&format!("{spans} spans of {id}"), async || {
            let copy = self.spans();
            let trace = traces::read(copy.path(), &id.parse().unwrap()).ok()?;
            let whole = trace.rows().len() >= spans;
            whole.then_some(trace)
        })
        .await
    }

    /// Copies the volume of spans, as it is now.
    pub(crate) fn spans(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let container = self.compose("ps -q gateway");
        let from = format!("{}:/spans/.", container.trim());
        docker(&["cp", &from, folder.path().to_str().unwrap()]);
        folder
    }
}

fn trace_id(reply: &reqwest::Response) -> String {
    let header = reply.headers()["traceparent"].to_str().unwrap();
    header.split('-').nth(1).unwrap().to_owned()
}

impl Drop for System {
    fn drop(&mut self) {
        if !self.is_owner {
            return;
        }
        if std::thread::panicking() {
            let log = sh(&format!("{} logs --no-color --tail 60", self.words()));
            eprintln!("{}", log.unwrap_or_else(|said| said));
        }
        let down = sh(&format!("{} down --volumes --remove-orphans", self.words()));
        if let Err(said) = down {
            eprintln!("the composed system is not removed: {said}");
        }
    }
}
