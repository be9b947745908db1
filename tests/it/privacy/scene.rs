//! A whole system with secrets in all its settings, and everything that it tells anybody.

use std::{fs, process::Command, sync::Mutex};

use async_nats::Subscriber;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{NAME, collector::Collector};
use crate::support::{
    PATIENCE, Server, Stack,
    canaries::{find, see_that_none_is_below, see_that_none_is_in},
    stack::{Reply, SERVICES},
};

const USER: &str = "quirinus";
const PASSWORD: &str = "hunter2-of-nats";
const TOKEN: &str = "hunter2-0123456789";
/// What the collector asks for.
const API_KEY: &str = "hunter2-of-the-collector";

#[derive(Debug)]
pub(super) struct Scene {
    pub(super) stack: Stack,
    /// The token, as it is shown.
    pub(super) bearer: String,
    /// With the password in it.
    pub(super) nats_url: String,
    collector: Collector,
    listener: async_nats::Client,
    /// All messages.
    heard: Subscriber,
    answers: Mutex<String>,
    _folder: tempfile::TempDir,
}

impl Scene {
    pub(super) async fn start() -> Self {
        // It asks for no login, and lets somebody listen to everything.
        let nats = Server::start().await;
        let nats_url = format!("nats://{USER}:{PASSWORD}@127.0.0.1:{}", nats.port());
        let collector = Collector::start().await;
        let folder = tempfile::tempdir().unwrap();
        let tokens = folder.path().join("tokens");
        fs::write(&tokens, TOKEN).unwrap();
        let mut stack = Stack::at(&[
            ("NATS_URL", &nats_url),
            ("TOKENS_FILE", tokens.to_str().unwrap()),
            ("TRACING_DETAIL", "full"),
            ("TRUST_TRACEPARENT", "always"),
            // sqlx would tell the texts of statements, and the first users are in one.
            ("RUST_LOG", "debug,nats_serve=trace,sqlx=info"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_HEADERS", &format!("api-key={API_KEY}")),
        ]);
        stack.nats = Some(nats);
        for service in SERVICES {
            stack.add(service, service);
            stack.ready(service).await;
        }
        let listener = async_nats::connect(&nats_url).await.unwrap();
        let heard = listener.subscribe(">").await.unwrap();
        crate::support::nats::confirmed(&listener).await;
        Self {
            stack,
            bearer: format!("Bearer {TOKEN}"),
            nats_url,
            collector,
            listener,
            heard,
            answers: Mutex::default(),
            _folder: folder,
        }
    }

    /// Notes an answer and returns its status.
    pub(super) fn answered(&self, reply: &Reply) -> u16 {
        self.answers.lock().unwrap().push_str(&reply.body);
        reply.status.as_u16()
    }

    /// Has a process leave, with the last that it says.
    pub(super) async fn leave(&mut self, name: &str) {
        // What it has said is searched as it is dropped.
        self.stack.leave(name).await;
    }

    /// Everybody on this machine may read the arguments of processes.
    pub(super) fn arguments_are_clean(&self) {
        for (name, process) in &self.stack.processes {
            let pid = process.pid().to_string();
            let told = Command::new("ps")
                .args(["-o", "args=", "-p", &pid])
                .output();
            let told = told.unwrap().stdout;
            assert!(String::from_utf8_lossy(&told).contains(name.as_str()));
            see_that_none_is_in(&format!("the arguments of {name}"), &told);
        }
    }

    pub(super) async fn metrics_are_clean(&self) {
        for name in self.stack.processes.keys() {
            let text = self.stack.metrics(name).await;
            assert!(text.contains("# EOF"), "{text}");
            see_that_none_is_in(&format!("the metrics of {name}"), text.as_bytes());
        }
    }

    /// Ends everything, and searches all that is left where nobody's name should be. In between it sees that names
    /// and secrets were there: in answers, mails, messages, and what the collector was shown.
    pub(super) async fn end(mut self) {
        for name in ["gateway", "user-service"] {
            self.leave(name).await;
        }
        let files = fs::read_dir(self.stack.spans()).unwrap().count();
        assert!(files > SERVICES.len(), "there are indexes, too");
        see_that_none_is_below(&self.stack.spans());

        let (heads, payloads) = self.messages().await;
        see_that_none_is_in("subjects and headers of NATS", &heads);
        assert!(find(&payloads).is_some());
        assert!(self.answers.lock().unwrap().contains(&NAME[..8]));

        let received = self.collector.received();
        see_that_none_is_in("the payloads of OTLP", &received.payloads);
        let has = |all: &[u8], text: &str| String::from_utf8_lossy(all).contains(text);
        assert!(has(&received.heads, API_KEY));
        for name in ["proxy_http_request", "INSERT users", "mail rename"] {
            assert!(has(&received.payloads, name), "no span {name} was sent");
        }
    }

    /// Returns what is beside the payloads of all messages until now, and the payloads.
    async fn messages(&mut self) -> (Vec<u8>, Vec<u8>) {
        self.listener.publish("until.now", "".into()).await.unwrap();
        let (mut heads, mut payloads) = (Vec::new(), Vec::new());
        while let Some(message) = timeout(PATIENCE, self.heard.next()).await.unwrap() {
            if message.subject.as_str() == "until.now" {
                break;
            }
            let head = (&message.subject, &message.reply, &message.headers);
            heads.extend(format!("{head:?}\n").bytes());
            payloads.extend(&message.payload);
        }
        assert!(heads.len() > 10_000, "{} bytes of headers", heads.len());
        (heads, payloads)
    }
}
