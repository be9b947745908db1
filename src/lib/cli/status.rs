//! `nats-serve status`: who is there.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

use crate::{
    Client, Instance, Service,
    app::config,
    client::{ServiceStats, without_credentials},
};

/// Who asks; replies come to `_INBOX.tools.>`.
const TOOLS: Service = Service::new("tools");
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const SURVEY: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    nats: config::Nats,
    /// Print the answers as JSON, one object a replica, as in NATS' services protocol (ADR-32).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the async runtime can't be started")?;
    let replicas = runtime.block_on(survey(args))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&replicas)?);
    } else if replicas.is_empty() {
        bail!(
            "NATS is there, but no service answered; start one, or look at the terminal of `nats-serve up`"
        );
    } else {
        print!("{}", table(&replicas, SystemTime::now()));
    }
    Ok(())
}

async fn survey(args: &Args) -> anyhow::Result<Vec<ServiceStats>> {
    let options = args.nats.options()?;
    let url = options.url.clone();
    let client = Client::connect(&Instance::new(TOOLS), options).await?;
    if tokio::time::timeout(CONNECT_TIMEOUT, client.ready())
        .await
        .is_err()
    {
        bail!(
            "NATS does not answer at {}; is the system running?",
            without_credentials(&url)
        );
    }
    Ok(client.survey(SURVEY).await)
}

fn table(replicas: &[ServiceStats], now: SystemTime) -> String {
    let mut rows = vec![["SERVICE", "REPLICA", "UPTIME", "REQUESTS", "ERRORS"].map(str::to_owned)];
    rows.extend(replicas.iter().map(|replica| {
        let sum = |of: fn(&crate::client::EndpointStats) -> u64| {
            replica.endpoints.iter().map(of).sum::<u64>().to_string()
        };
        [
            replica.name.clone(),
            replica.id.clone(),
            uptime(&replica.started, now),
            sum(|endpoint| endpoint.num_requests),
            sum(|endpoint| endpoint.num_errors),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [service, replica, uptime, requests, errors] = std::array::from_fn(width);
    let line = |row: &[String; 5]| {
        format!(
            "{:<service$}  {:<replica$}  {:>uptime$}  {:>requests$}  {:>errors$}\n",
            row[0], row[1], row[2], row[3], row[4]
        )
    };
    rows.iter().map(line).collect()
}

fn uptime(started: &str, now: SystemTime) -> String {
    let Ok(started) = humantime::parse_rfc3339(started) else {
        return "?".to_owned();
    };
    let up = now.duration_since(started).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(up.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_stand_in_a_table() {
        let replica: ServiceStats = serde_json::from_value(serde_json::json!({
            "name": "user-service", "id": "u1", "version": "0.1.0",
            "started": "2026-01-01T00:00:00Z",
            "endpoints": [
                {"name": "a", "subject": "svc.user.a", "queue_group": "user",
                 "num_requests": 7, "num_errors": 1, "processing_time": 7, "average_processing_time": 1},
                {"name": "b", "subject": "svc.user.b", "queue_group": "user",
                 "num_requests": 3, "num_errors": 0, "processing_time": 3, "average_processing_time": 1},
            ],
        }))
        .unwrap();
        let now = humantime::parse_rfc3339("2026-01-01T01:02:03Z").unwrap();
        assert_eq!(
            "SERVICE       REPLICA    UPTIME  REQUESTS  ERRORS\n\
             user-service  u1       1h 2m 3s        10       1\n",
            table(&[replica], now)
        );
    }
}
