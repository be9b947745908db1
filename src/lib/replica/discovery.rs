//! Discovery and statistics by the NATS services protocol, so that the `nats` tool and every micro
//! client find our replicas: <https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md>.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

use super::{counters::Counted, dispatch::Core};
use crate::Instance;

/// What a replica can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Ping,
    Info,
    Stats,
}

/// What never changes while the process lives.
#[derive(Debug)]
pub(super) struct Profile {
    identity: Value,
    started: String,
}

impl Profile {
    pub(super) fn of(instance: &Instance, mut metadata: BTreeMap<String, String>) -> Self {
        let service = instance.service();
        metadata.insert("deployment".to_owned(), service.deployment().to_owned());
        // The one RFC 3339 clock among our dependencies formats the present only, which this is.
        let mut started = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut started));
        Self {
            identity: json!({
                "name": service.name(),
                "id": instance.id(),
                "version": env!("CARGO_PKG_VERSION"),
                "metadata": metadata,
            }),
            started,
        }
    }
}

impl Verb {
    pub(super) const ALL: [Self; 3] = [Self::Ping, Self::Info, Self::Stats];

    const fn name(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Info => "INFO",
            Self::Stats => "STATS",
        }
    }

    /// Lists the subjects on which everybody, this service, and this instance is asked.
    pub(super) fn subjects(self, name: &str, id: &str) -> [String; 3] {
        let verb = self.name();
        [
            format!("$SRV.{verb}"),
            format!("$SRV.{verb}.{name}"),
            format!("$SRV.{verb}.{name}.{id}"),
        ]
    }

    /// Writes the answer, a JSON document.
    pub(super) fn answer(self, core: &Core) -> Vec<u8> {
        let mut document = core.profile.identity.clone();
        let kind = format!("io.nats.micro.v1.{}_response", self.name().to_lowercase());
        document["type"] = kind.into();
        match self {
            Self::Ping => {}
            Self::Info => {
                document["description"] = core.client.instance().service().deployment().into();
                let operations = core.endpoints.iter().map(|known| endpoint(known.names));
                let reports = core.reports.iter().map(|(name, _)| report(name));
                document["endpoints"] = operations.chain(reports).collect();
            }
            Self::Stats => {
                document["started"] = core.profile.started.clone().into();
                document["endpoints"] = statistics(core);
            }
        }
        document.to_string().into_bytes()
    }
}

fn endpoint(names: &crate::operation::Names) -> Value {
    json!({
        "name": names.operation,
        "subject": names.subject,
        "queue_group": names.service.subject(),
        "metadata": {"idempotent": names.idempotent.to_string()},
    })
}

/// An entrance that is not on NATS. Clients want every field, so its name stands for its subject.
fn report(name: &str) -> Value {
    json!({"name": name, "subject": name, "queue_group": "", "metadata": {}})
}

fn statistics(core: &Core) -> Value {
    let load = json!({
        "ongoing": core.admission.ongoing(),
        "limit": core.admission.limit(),
        "queued": core.admission.queued(),
        "expired": core.expired(),
        "refused": core.refusals.refused(),
        "dropped": core.client.dropped_messages() + core.refusals.lost(),
        "panics": core.panics(),
        "draining": core.is_draining(),
    });
    let operations = core.endpoints.iter().map(|operation| {
        let mut row = endpoint(operation.names);
        count(&mut row, operation.counters.read());
        row["data"] = load.clone();
        row
    });
    let reports = core.reports.iter().map(|(name, counters)| {
        let mut row = report(name);
        count(&mut row, counters.read());
        row["data"] = load.clone();
        row["data"]["refused"] = counters.refused().into();
        row["data"]["abandoned"] = counters.abandoned().into();
        row["data"]["panics"] = counters.panics().into();
        row
    });
    operations.chain(reports).collect()
}

fn count(row: &mut Value, counted: Counted) {
    row["num_requests"] = counted.requests.into();
    row["num_errors"] = counted.errors.into();
    row["last_error"] = counted.last_error.map_or("", crate::Code::as_str).into();
    row["processing_time"] = counted.nanoseconds.into();
    row["average_processing_time"] = (counted.nanoseconds / counted.requests.max(1)).into();
}
