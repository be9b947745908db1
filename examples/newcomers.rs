//! Another team's subscriber: it hears of new users, and is no service of ours.
//!
//! While `cargo run` runs in this folder, in another terminal, with the NATS address that it has printed:
//! ```text
//! cargo run --example newcomers nats://127.0.0.1:33911 .nats-serve/nkeys/events.nk
//! ```
//!
//! Events are CloudEvents documents in JSON. Each comes at least once: one that was told before has the same
//! `id`, which is also the message's `Nats-Msg-Id`, so a JetStream stream on `evt.>` keeps it once.

use std::{collections::HashSet, env, error::Error, fs};

use async_nats::ConnectOptions;
use futures_util::StreamExt;
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [url, key] = [1, 2].map(|at| env::args().nth(at).unwrap_or_default());
    let seed = fs::read_to_string(&key).map_err(|error| format!("{key}: {error}"))?;
    let nats = ConnectOptions::with_nkey(seed.trim().to_owned())
        .connect(url)
        .await?;
    // Of this team's processes one gets each event.
    let events = nats.queue_subscribe("evt.user.registered", "newcomers".to_owned());
    let mut events = events.await?;
    nats.flush().await?;
    println!("listening");
    let mut known = HashSet::new();
    while let Some(message) = events.next().await {
        let event: Value = serde_json::from_slice(&message.payload)?;
        if known.insert(event["id"].to_string()) {
            println!(
                "user {} has registered at {}",
                event["subject"], event["time"]
            );
        }
    }
    Ok(())
}
