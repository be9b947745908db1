//! A good client: it repeats with the same key what it was told to repeat.

use std::time::{Duration, Instant};

use rand::{Rng, rngs::StdRng};
use serde_json::{Value, json};

use super::trouble::Gateways;

/// How long it goes on asking.
const PATIENCE: Duration = Duration::from_secs(60);

/// What somebody wants, once or again.
#[derive(Debug, Clone)]
pub(crate) struct Intent {
    pub(crate) email: String,
    pub(crate) name: String,
    /// `None`: the gateway's own is used for a repetition.
    pub(crate) key: Option<String>,
}

/// What a client was told in the end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: Option<u16>,
    pub(crate) user_id: Option<i64>,
    /// When the user was created, in seconds since 1970.
    pub(crate) timestamp: Option<f64>,
    pub(crate) is_replayed: bool,
    /// How the mail went, as far as was known.
    pub(crate) mail: Option<String>,
    pub(crate) tries: usize,
}

/// Draws registrations: most are new; some repeat a key with its body, or with another, or an address.
pub(crate) fn intents(number: u32, random: &mut StdRng) -> Vec<Intent> {
    let mut all: Vec<Intent> = Vec::new();
    let run: u32 = random.random();
    while all.len() < number as usize {
        let n = all.len();
        let earlier = match n {
            0 => 0,
            // Lately, so that the two meet.
            _ => n - 1 - random.random_range(0..n.min(30)),
        };
        let new = |to: &str, key| Intent {
            email: format!("{to}{n}@example.com"),
            name: format!("Ulrike {n}"),
            key,
        };
        let key = || Some(format!("key-{run}-{n}"));
        let intent = match (random.random_range(0..100), all.get(earlier)) {
            (0..8, Some(earlier)) => earlier.clone(),
            (8..10, Some(earlier)) => Intent {
                name: "Quirinus".to_owned(),
                ..earlier.clone()
            },
            (10..14, Some(earlier)) => Intent {
                key: key(),
                ..earlier.clone()
            },
            (14..17, _) => new("refused", key()),
            (17..27, _) => new("nokey", None),
            _ => new("user", key()),
        };
        all.push(intent);
    }
    all
}

impl Intent {
    /// Asks until it is told something that is final.
    pub(crate) async fn send(&self, http: &reqwest::Client, gateways: &Gateways) -> Answer {
        let until = Instant::now() + PATIENCE;
        let mut key = self.key.clone();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = http
                .post(gateways.any())
                .json(&json!({"name": self.name, "email": self.email}));
            if let Some(key) = &key {
                request = request.header("idempotency-key", key);
            }
            if let Ok(reply) = request.send().await {
                let status = reply.status().as_u16();
                let header = |name| {
                    reply
                        .headers()
                        .get(name)
                        .and_then(|value| value.to_str().ok())
                };
                let is_replayed = header("idempotent-replayed") == Some("true");
                let is_final = header("retry-after").is_none();
                key = key.or(header("idempotency-key").map(str::to_owned));
                let body: Value = reply.json().await.unwrap_or_default();
                if is_final {
                    let id = body["data"]["user"]["id"].as_str();
                    return Answer {
                        status: Some(status),
                        user_id: id.map(|id| id.parse().unwrap()),
                        timestamp: body["data"]["timestamp"].as_f64(),
                        is_replayed,
                        mail: body["data"]["notification"]["status"]
                            .as_str()
                            .map(str::to_owned),
                        tries,
                    };
                }
            }
            if Instant::now() > until {
                return Answer {
                    status: None,
                    user_id: None,
                    timestamp: None,
                    is_replayed: false,
                    mail: None,
                    tries,
                };
            }
            // As `Retry-After` says, and not all at once.
            let pause = Duration::from_secs(1).mul_f64(rand::random_range(1.0..1.5));
            tokio::time::sleep(pause).await;
        }
    }
}
