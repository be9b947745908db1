//! The mail server that isn't ours, with moods; it can be away for a while.

use std::path::Path;

use serde_json::Value;

use crate::{python::python, support::Process};

const SCRIPT: &str = include_str!("../../conformance/smtp.py");

pub(crate) struct MailServer {
    process: Option<Process>,
    port: u16,
    seed: String,
    life: u32,
    /// What those before have printed.
    said: String,
}

/// A mail that it took.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) message_id: String,
    /// Seconds since 1970.
    pub(crate) at: f64,
    /// It closed the connection instead of saying so.
    pub(crate) silent: bool,
    /// It was under way for longer than anybody waited; others may have come before.
    pub(crate) slow: bool,
}

impl MailServer {
    pub(crate) async fn start(seed: u32) -> Self {
        let mut server = Self {
            process: None,
            port: 0,
            seed: seed.to_string(),
            life: 0,
            said: String::new(),
        };
        server.come_back().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// Ends it; connections are refused from then on.
    pub(crate) fn go_away(&mut self) {
        if let Some(process) = self.process.take() {
            // What it has taken it has printed, but for what is in the pipe.
            process.signal(rustix::process::Signal::TERM);
            std::thread::sleep(std::time::Duration::from_millis(200));
            self.said += &process.output();
        }
    }

    pub(crate) async fn come_back(&mut self) {
        self.life += 1;
        let (port, life) = (self.port.to_string(), self.life.to_string());
        let seed = ["--moods", &self.seed, "--life", &life];
        let arguments = ["-c", SCRIPT, "--port", &port].into_iter().chain(seed);
        let arguments: Vec<&str> = arguments.collect();
        let process = Process::start_program(python(), Path::new("/"), &arguments, &[]);
        let mut process = process.with_mails();
        process.says("\"port\"").await;
        let output = process.output();
        let first: Value = serde_json::from_str(output.lines().next().unwrap()).unwrap();
        self.port = u16::try_from(first["port"].as_u64().unwrap()).unwrap();
        self.process = Some(process);
    }

    /// What it has taken, in order.
    pub(crate) fn accepted(&self) -> Vec<Mail> {
        let now = self.process.as_ref().map(Process::output);
        let all = self.said.clone() + &now.unwrap_or_default();
        let lines = all
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line.get("to").is_some())
            .map(|line| {
                let text = line["text"].as_str().unwrap();
                let id = text
                    .lines()
                    .find_map(|line| line.strip_prefix("Message-ID: "));
                Mail {
                    to: line["to"][0].as_str().unwrap().to_owned(),
                    message_id: id.unwrap().trim().to_owned(),
                    at: line["at"].as_f64().unwrap(),
                    silent: line["silent"].as_bool().unwrap(),
                    slow: line["slow"].as_bool().unwrap(),
                }
            })
            .collect()
    }
}
