//! The whole application, each service a process, on a NATS of its own.
//!
//! When a test is over, the span files, their indexes and the metrics of all processes are searched for canaries.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::Duration,
};

use nats_serve::traces::{self, Trace};
use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use serde_json::Value;

use super::{
    Process, Server, canaries, eventually,
    process::{SPANS, program},
};

/// How long each process's metrics are waited for at the end; one may be frozen.
const METRICS_WAIT: Duration = Duration::from_millis(200);

pub(crate) const SERVICES: [&str; 4] = [
    "database-service",
    "notification-service",
    "user-service",
    "gateway",
];

#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) nats: Option<Server>,
    pub(crate) processes: BTreeMap<String, Process>,
    variables: Vec<(String, String)>,
    client: Client,
    base: String,
    folder: tempfile::TempDir,
}

impl Stack {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts everything with settings, and waits until it serves.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        Self::on(Server::start_secured().await, variables).await
    }

    /// The same on a NATS that is there.
    pub(crate) async fn on(nats: Server, variables: &[(&str, &str)]) -> Self {
        let mut stack = Self::empty(nats, variables);
        for service in SERVICES {
            stack.add(service, service);
        }
        for service in SERVICES {
            stack.ready(service).await;
        }
        stack
    }

    /// A folder and a NATS, and nothing that runs on it.
    pub(crate) fn empty(nats: Server, variables: &[(&str, &str)]) -> Self {
        let url = nats.url();
        let keys = nats.nkeys().map(|keys| keys.display().to_string());
        let mut all = vec![("NATS_URL", url.as_str())];
        all.extend(keys.as_deref().map(|keys| ("NATS_NKEY_FILE", keys)));
        all.extend(variables);
        let mut stack = Self::at(&all);
        stack.nats = Some(nats);
        stack
    }

    /// The same with a NATS that the settings name.
    pub(crate) fn at(variables: &[(&str, &str)]) -> Self {
        let all = [("HTTP_ADDR", "127.0.0.1:0")].into_iter();
        let all = all.chain(variables.iter().copied());
        Self {
            nats: None,
            processes: BTreeMap::new(),
            variables: all
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            client: Client::new(),
            base: String::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a process of a service under a name of its own.
    pub(crate) fn add(&mut self, name: &str, service: &str) {
        self.add_with(name, service, &[]);
    }

    /// The same, with settings that the others don't have.
    pub(crate) fn add_with(&mut self, name: &str, service: &str, own: &[(&str, &str)]) {
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(own.iter().copied())
            .collect();
        let folder = self.folder.path();
        let process = Process::start_program(program().as_ref(), folder, &[service], &variables);
        self.processes.insert(name.to_owned(), process);
    }

    /// Starts a process by another program, which runs ours.
    pub(crate) fn add_program(&mut self, name: &str, program: &Path, arguments: &[&str]) {
        let variables: Vec<(&str, &str)> = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let process = Process::start_program(program, self.folder.path(), arguments, &variables);
        self.processes.insert(name.to_owned(), process);
    }

    /// Waits until a process says that it is ready.
    pub(crate) async fn ready(&mut self, name: &str) {
        let process = self.processes.get_mut(name).unwrap();
        process.says("is ready").await;
        if let Some((_, rest)) = process.output().split_once("on http://") {
            let address = rest.split([';', ' ', '"']).next().unwrap();
            self.base = format!("http://{address}");
        }
    }

    /// Tells a process to leave and waits until it has.
    pub(crate) async fn leave(&mut self, name: &str) -> Process {
        let mut process = self.processes.remove(name).unwrap();
        process.signal(rustix::process::Signal::TERM);
        assert!(process.ended().await.success(), "{}", process.output());
        process
    }

    /// What another program needs in order to find this NATS and be let in.
    pub(crate) fn nats_variables(&self) -> Vec<(&str, &str)> {
        let nats = self
            .variables
            .iter()
            .filter(|(name, _)| name.starts_with("NATS_"));
        nats.map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Where a process answers `/readyz` and `/metrics`: `127.0.0.1:9000`.
    pub(crate) fn admin(&self, name: &str) -> String {
        self.processes[name].admin()
    }

    /// What a process answers to who reads its metrics.
    pub(crate) async fn metrics(&self, name: &str) -> String {
        let url = format!("http://{}/metrics", self.admin(name));
        let answer = self.client.get(url).send().await.unwrap();
        assert_eq!(200, answer.status());
        answer.text().await.unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where HTTP is answered: `127.0.0.1:8000`.
    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    pub(crate) fn spans(&self) -> PathBuf {
        self.folder.path().join(SPANS)
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn register(&self, name: &str, email: &str) -> Reply {
        let body = serde_json::json!({"name": name, "email": email}).to_string();
        self.post("/register", &body).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        let json = [("content-type", "application/json")];
        self.send(Method::POST, path, &json, Some(body.to_owned()))
            .await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Reply {
        canaries::see_that_all_are_known(headers, body.as_deref());
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.unwrap_or_default()).send().await.unwrap();
        Reply {
            status: response.status(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    /// Reads the trace of an answer once as many spans are there as one expects.
    pub(crate) async fn trace(&self, reply: &Reply, spans: usize) -> Trace {
        trace_in(&self.spans(), &reply.trace_id(), spans).await
    }

    /// Returns the mails that were sent; what is only prepared has a hidden name.
    pub(crate) fn mails(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join(".nats-serve/mails"));
        let entries = entries.unwrap().flatten();
        entries
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .map(|entry| fs::read_to_string(entry.path()).unwrap())
            .collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for (name, process) in &self.processes {
            // Some have left, or are frozen.
            let metrics = process
                .admin_if_said()
                .and_then(|admin| read_metrics(&admin).ok());
            let place = format!("the metrics of {name}");
            canaries::see_that_none_is_in(&place, &metrics.unwrap_or_default());
        }
        canaries::see_that_none_is_below(&self.spans());
    }
}

/// Reads them where nothing can be awaited.
fn read_metrics(admin: &str) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(admin)?;
    connection.set_read_timeout(Some(METRICS_WAIT))?;
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Reads a trace from span files once it has as many spans as expected.
pub(crate) async fn trace_in(spans_dir: &Path, trace_id: &str, spans: usize) -> Trace {
    let selector = trace_id.parse().unwrap();
    eventually(&format!("{spans} spans of {trace_id}"), async || {
        let trace = traces::read(spans_dir, &selector).ok()?;
        let whole = trace.rows().len() >= spans;
        whole.then_some(trace)
    })
    .await
}

#[must_use]
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn trace_id(&self) -> String {
        self.header("traceparent")
            .split('-')
            .nth(1)
            .expect("a traceparent")
            .to_owned()
    }

    /// Checks that it is a problem document of a status, and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(status, self.status.as_u16(), "{}", self.body);
        assert_eq!("application/problem+json", self.header("content-type"));
        let problem = self.json();
        assert_eq!(status, problem["status"]);
        assert_eq!(self.trace_id(), problem["trace_id"]);
        let id = self.header("x-request-id");
        assert_eq!(format!("urn:nats-serve:request:{id}"), problem["instance"]);
        problem
    }
}
