//! Far more requests at once than a replica can even refuse: each is answered, or counted, and the next is served.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::ConnectOptions;
use futures_util::StreamExt;
use serde_json::Value;

use crate::{
    bench::turn,
    settings::figure,
    support::{Server, Stack, eventually, process},
};

const REQUESTS: usize = 200_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_refused_or_counted_to_the_last_request() {
    let _turn = turn().await;
    let mut stack = Stack::empty(Server::start().await, &[]);
    stack.add("database-service", "database-service");
    stack.ready("database-service").await;
    let nats = stack.nats.as_ref().unwrap();
    let options = ConnectOptions::new().subscription_capacity(2 * REQUESTS);
    let flood = options.connect(nats.url()).await.unwrap();
    let mut answers = flood.subscribe("_INBOX.flood").await.unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&answered);
    tokio::spawn(async move {
        while let Some(answer) = answers.next().await {
            // A handler that takes longer is announced.
            let is_interim = answer
                .headers
                .is_some_and(|head| head.get("interim").is_some());
            counter.fetch_add(usize::from(!is_interim), Relaxed);
        }
    });

    let started = Instant::now();
    for _ in 0..REQUESTS {
        let request = r#"{"user_id":"1"}"#.into();
        let sending = flood.publish_with_reply("svc.database.get_user", "_INBOX.flood", request);
        sending.await.unwrap();
    }
    flood.flush().await.unwrap();
    let took = started.elapsed();
    let unanswered = || {
        let arguments = ["status", "--json"];
        let (good, said) = process::run(stack.folder(), &arguments, &stack.nats_variables());
        let status: Value = serde_json::from_str(&said).ok().filter(|_| good)?;
        let dropped = status[0]["endpoints"][0]["data"]["dropped"].as_u64()?;
        usize::try_from(dropped).ok()
    };
    let dropped = eventually("the fate of every request", async || {
        let dropped = unanswered()?;
        (answered.load(Relaxed) + dropped == REQUESTS).then_some(dropped)
    });
    let dropped = dropped.await;
    figure(
        &format!("{REQUESTS} requests in {took:.1?}, neither worked on nor refused, but counted"),
        dropped,
    );

    let asked = flood.request("svc.database.get_user", r#"{"user_id":"1"}"#.into());
    let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
    let answer = answer.unwrap().unwrap();
    assert!(answer.payload.starts_with(br#"{"user":"#), "{answer:?}");
    let said = stack.leave("database-service").await.output();
    assert!(!said.contains("messages came after"), "{said}");
}
