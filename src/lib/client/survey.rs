//! Who is there: asks every service by the NATS services protocol (ADR-32).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::{Client, inbox::Sent};

/// Answers that may come before they are read: more replicas than one survey should list.
const UNREAD: usize = 4096;
/// A survey ends when nobody has answered for this long.
const QUIET: Duration = Duration::from_millis(150);

/// What one replica says about itself, as in ADR-32's `STATS` response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStats {
    /// The service's name: `user-service`.
    pub name: String,
    /// The instance id.
    pub id: String,
    /// The version of the program.
    pub version: String,
    /// When it started, RFC 3339.
    pub started: String,
    /// Free-form facts that never change: `deployment`, and `admin`, where its health is told.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// A row an operation.
    #[serde(default)]
    pub endpoints: Vec<EndpointStats>,
}

/// What one operation has seen, in ADR-32's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointStats {
    /// The operation: `get_user`.
    pub name: String,
    /// Where it is called.
    pub subject: String,
    /// Which queue group its replicas share.
    pub queue_group: String,
    /// Requests that were handled.
    pub num_requests: u64,
    /// Those that failed by the server's fault.
    pub num_errors: u64,
    /// The last such failure's code.
    #[serde(default)]
    pub last_error: String,
    /// Time spent handling, in nanoseconds.
    pub processing_time: u64,
    /// The same, a request.
    pub average_processing_time: u64,
    /// Load, as far as the replica publishes it.
    #[serde(default)]
    pub data: serde_json::Value,
}

impl Client {
    /// Asks all services for their statistics and gathers the answers for at most `wait`.
    ///
    /// Replicas that do not speak ADR-32 are not seen; answers that can't be read are left out. The
    /// result is sorted by name and id; an empty one means that nobody answered.
    pub async fn survey(&self, wait: Duration) -> Vec<ServiceStats> {
        let until = Instant::now() + wait;
        let mut waiter = self.shared.inbox.wait("all", Sent::Other, UNREAD);
        let asked = self
            .nats()
            .publish_with_reply("$SRV.STATS", waiter.subject(), Bytes::new());
        let mut found: Vec<ServiceStats> = Vec::new();
        if !matches!(timeout_at(until, asked).await, Ok(Ok(()))) {
            return found;
        }
        let mut next_by = until;
        while let Ok(Some(answer)) = timeout_at(next_by, waiter.next()).await {
            if answer.status.is_some() {
                break;
            }
            found.extend(serde_json::from_slice::<ServiceStats>(&answer.payload));
            next_by = until.min(Instant::now() + QUIET);
        }
        found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        found
    }
}
