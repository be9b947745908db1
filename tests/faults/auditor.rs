//! The auditor: registers users while everything fails in turn, and afterwards compares answers, rows, mails and
//! events one by one.
//!
//! What is lost, doubled, or there without the rest is counted; all of these must be 0. The seed decides who is
//! registered, what fails when, and what the mail server does with whom, so a failing run can be repeated:
//!
//!     NATS_SERVE_AUDITOR_REGISTRATIONS=10000 NATS_SERVE_AUDITOR_SEED=7 \
//!         cargo test --release --test faults audit -- --nocapture

mod books;
mod client;
mod mail_server;
mod told;
mod trouble;

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    proxy::Proxy,
    settings::{figure, number},
    support::{PATIENCE, Server},
};
pub(crate) use books::Row;
use books::{Books, Event};
use client::Intent;
use mail_server::MailServer;
pub(crate) use trouble::Store;
use trouble::{Gateways, Trouble};

/// What the outbox may take when all is well again: the longest lease, and then some tries of each.
const SETTLING: Duration = Duration::from_secs(120);
/// The longest lease, and the first pause.
const UNAIDED: Duration = Duration::from_secs(18);
/// How long something may be due before it is taken, on a busy machine.
const OVERDUE_MS: i64 = 30_000;
/// After the last fault, until nothing of it is felt any more.
const CALM: Duration = Duration::from_secs(5);
/// So many have time for somebody to sleep beyond the lease of what it holds.
const LONG: u32 = 5_000;
const SETTLING_OF_EACH: Duration = Duration::from_millis(20);

/// How much is registered.
pub(crate) struct Plan {
    registrations: u32,
    seed: u32,
    /// New registrations a second.
    rate: u32,
}

impl Plan {
    /// Reads what was asked for; so much otherwise.
    pub(crate) fn or(registrations: u32, rate: u32) -> Self {
        Self {
            registrations: number("NATS_SERVE_AUDITOR_REGISTRATIONS").unwrap_or(registrations),
            seed: number("NATS_SERVE_AUDITOR_SEED").unwrap_or(1),
            rate: number("NATS_SERVE_AUDITOR_RATE").unwrap_or(rate),
        }
    }
}

/// Runs the audit on a store. `variables` are what its processes need to find it.
pub(crate) async fn audit(plan: Plan, store: &impl Store, variables: &[(&str, &str)]) {
    let began = Instant::now();
    let Plan {
        registrations,
        seed,
        rate,
    } = plan;
    let mut random = StdRng::seed_from_u64(seed.into());
    let nats = Server::start_secured().await;
    let network = Proxy::start(&nats).await;
    let mail_server = MailServer::start(seed).await;
    let team = crate::support::nats::with_key_of("events", &nats);
    let team = team.connect(nats.url()).await.unwrap();
    let mut heard = team.subscribe("evt.>").await.unwrap();
    team.flush().await.unwrap();
    let events = tokio::spawn(async move {
        let mut events = Vec::new();
        while let Some(message) = heard.next().await {
            // An empty one ends the collection; nobody else could send it.
            if message.payload.is_empty() {
                break;
            }
            events.push(Event::read(&message));
        }
        events
    });

    let mut trouble =
        Trouble::begin(nats, network, mail_server, variables, registrations >= LONG).await;
    let gateways = trouble.gateways.clone();
    let intents = client::intents(registrations, &mut random);
    // A quarter comes when all is well but for the moods of the mail server: there nothing else excuses a second mail.
    let (stormy, quiet) = intents.split_at(intents.len() * 3 / 4);
    let registering = register(&gateways, stormy, rate);
    let mut answers = trouble.until(registering, &mut random, store).await;
    let kinds = trouble.end().await;
    tokio::time::sleep(CALM).await;
    answers.extend(register(&gateways, quiet, rate).await);
    drain(&trouble, SETTLING + registrations * SETTLING_OF_EACH).await;
    let rows = store.rows(&trouble.bench).await;
    team_ends(&trouble).await;
    let books = Books {
        intents,
        answers,
        rows,
        mails: trouble.mail_server.accepted(),
        events: events.await.unwrap(),
        faults: trouble.faults.clone(),
    };
    figure(
        &format!("audit, seed {seed}, {:.0?}", began.elapsed()),
        format!("{books}; {kinds}"),
    );
    books.assert_balanced();
}

/// Registers at a constant rate, each with the patience of a good client, and returns what each was told.
async fn register(gateways: &Gateways, intents: &[Intent], rate: u32) -> Vec<client::Answer> {
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut under_way = JoinSet::new();
    for (at, intent) in intents.iter().enumerate() {
        due.tick().await;
        let (http, gateways, intent) = (http.clone(), gateways.clone(), intent.clone());
        under_way.spawn(async move { (at, intent.send(&http, &gateways).await) });
    }
    let mut answers = under_way.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Waits until nothing is left over. The relay does that by itself; only the long pauses after several tries are cut short
/// in the end.
async fn drain(trouble: &Trouble, within: Duration) {
    let began = Instant::now();
    let until = began + within;
    loop {
        // A database that was locked a moment ago may say that it is busy.
        let listed = trouble.outbox(&["--pending", "--json", "--limit", "200"]);
        let listed = listed
            .await
            .unwrap_or_else(|said| json!({"said": said}).to_string());
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        if listed["pending"] == 0 {
            return;
        }
        assert!(Instant::now() < until, "the outbox is not empty: {listed}");
        let overdue = listed["entries"].as_array().into_iter().flatten();
        let overdue = overdue.filter(|entry| entry["due_in_ms"].as_i64() < Some(-OVERDUE_MS));
        let overdue: Vec<_> = overdue.collect();
        if began.elapsed() > UNAIDED {
            // By now those who waited for the mail server have had their turn.
            assert!(overdue.is_empty(), "nobody has taken {overdue:?}");
        }
        let mut due = listed["entries"].as_array().into_iter().flatten();
        let is_any_due = due.any(|entry| entry["due_in_ms"].as_i64() < Some(0));
        if began.elapsed() > UNAIDED && !is_any_due {
            // Nobody is helped who is due.
            // It is answered by an error where the relay was quicker.
            let _ = trouble.outbox(&["retry", "--pending"]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Ends the collection of events, after the last.
async fn team_ends(trouble: &Trouble) {
    let nats = trouble.bench.stack.nats.as_ref().unwrap();
    let database = crate::support::nats::with_key_of("database", nats);
    let database = database.connect(nats.url()).await.unwrap();
    let end = database.publish("evt.user.registered", "".into());
    tokio::time::timeout(PATIENCE, end).await.unwrap().unwrap();
    database.flush().await.unwrap();
}

/// Draws a number of milliseconds.
fn milliseconds(random: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}
