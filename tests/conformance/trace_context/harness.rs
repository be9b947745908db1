//! The application, as a service that the suite tests.

use async_nats::HeaderMap;
use futures_util::StreamExt;
use nats_serve::traces::Trace;
use pretty_assertions::assert_eq;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Header;
use crate::support::{PATIENCE, Server, Stack, nats::confirmed, stack::trace_in};

const USER_CALL: &str = "svc.user.get_user_profile";
const DATABASE_CALL: &str = "svc.database.get_user";

/// A `traceparent` that we have written.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) flags: String,
}

impl Parent {
    #[track_caller]
    fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(vec![2, 32, 16, 2], lengths, "{text}");
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f' | '-');
        assert!(text.starts_with("00-") && text.chars().all(hex), "{text}");
        let [trace, span, flags] = [1, 2, 3].map(|part: usize| parts[part].to_owned());
        assert!(trace != "0".repeat(32) && span != "0".repeat(16), "{text}");
        Self { trace, span, flags }
    }

    #[track_caller]
    pub(super) fn of(call: &HeaderMap) -> Self {
        Self::read(call.get("traceparent").unwrap().as_str())
    }
}

/// The application, and whoever listens to its calls.
#[derive(Debug)]
pub(super) struct Harness {
    stack: Stack,
    nats: async_nats::Client,
    calls: async_nats::Subscriber,
    asked: usize,
}

impl Harness {
    pub(super) async fn start() -> Self {
        // Without permissions, so that one may listen to everything.
        let nats = Server::start().await;
        let stack = Stack::on(nats, &[("TRUST_TRACEPARENT", "always")]).await;
        let nats = async_nats::connect(stack.nats.as_ref().unwrap().url());
        let nats = nats.await.unwrap();
        let calls = nats.subscribe("svc.>").await.unwrap();
        confirmed(&nats).await;
        Self {
            stack,
            nats,
            calls,
            asked: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> String {
        self.asked += 1;
        format!("w3c-{}", self.asked)
    }

    /// Asks for a user by HTTP; returns the `traceparent` of the answer and the calls that were made.
    pub(super) async fn get(&mut self, headers: &[Header]) -> (Parent, [HeaderMap; 2]) {
        let id = self.next_id();
        let answer = self.ask("GET /user/1", &id, headers, "").await;
        let calls = [USER_CALL, DATABASE_CALL];
        (answer, self.calls(&id, calls).await)
    }

    /// Sends a request to its byte: what a client library would put right, the suite wants wrong.
    pub(super) async fn ask(&self, what: &str, id: &str, headers: &[Header], body: &str) -> Parent {
        let headers = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\r\n"));
        let request = format!(
            "{what} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx-request-id: {id}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{}\r\n{body}",
            body.len(),
            headers.collect::<String>(),
        );
        let mut connection = TcpStream::connect(self.stack.address()).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = connection.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{request}{answer}");
        let parent = answer
            .lines()
            .find_map(|line| line.strip_prefix("traceparent: "));
        Parent::read(parent.unwrap())
    }

    /// Asks the user service in a caller's place; returns the call that it made.
    pub(super) async fn call(&mut self, headers: &[Header]) -> HeaderMap {
        let id = self.next_id();
        let mut all = HeaderMap::new();
        all.insert("x-request-id", id.as_str());
        for (name, value) in headers {
            all.append(*name, value.as_str());
        }
        let payload = r#"{"user_id":"1"}"#;
        let asking = self
            .nats
            .request_with_headers(USER_CALL, all, payload.into());
        let answer = asking.await.unwrap();
        let head = answer.headers.unwrap();
        assert!(
            head.get("Nats-Service-Error").is_none(),
            "{headers:?}: {head:?}"
        );
        let [call] = self.calls(&id, [DATABASE_CALL]).await;
        call
    }

    /// Waits for calls of a request in their order, and returns their headers.
    pub(super) async fn calls<const N: usize>(
        &mut self,
        id: &str,
        subjects: [&str; N],
    ) -> [HeaderMap; N] {
        let mut found = Vec::new();
        for subject in subjects {
            loop {
                let call = tokio::time::timeout(PATIENCE, self.calls.next()).await;
                let call = call
                    .unwrap_or_else(|_| panic!("no call of {subject}"))
                    .unwrap();
                let head = call.headers.unwrap_or_default();
                let is_its = head
                    .get("x-request-id")
                    .is_some_and(|its| its.as_str() == id);
                if is_its && call.subject.as_str() == subject {
                    found.push(head);
                    break;
                }
            }
        }
        found.try_into().unwrap()
    }

    pub(super) async fn spans(&self, trace: &str, spans: usize) -> Trace {
        trace_in(&self.stack.spans(), trace, spans).await
    }
}
