//! Gates between a stranger's services.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nats_serve::client::Verdict;

use crate::support::{
    Server,
    echo::{CALLER, ECHO, connect, connect_with},
    eventually,
};

#[tokio::test]
async fn a_gate_lets_through_who_asks_before_and_after_the_word() {
    let nats = Server::start().await;
    let (keeper, asker) = (connect(CALLER, &nats).await, connect(ECHO, &nats).await);
    let gate = keeper.open_gate().await.unwrap();
    let address = gate.address();
    let asked = Arc::new(AtomicUsize::new(0));
    let early = tokio::spawn({
        let (asker, address, asked) = (asker.clone(), address.clone(), Arc::clone(&asked));
        async move {
            asked.fetch_add(1, Relaxed);
            asker.ask(&address).await
        }
    });
    eventually("the early question", async || {
        (asked.load(Relaxed) == 1).then_some(())
    })
    .await;
    gate.proceed(Instant::now() + Duration::from_secs(60)).await;
    assert!(matches!(early.await.unwrap(), Verdict::Proceed { .. }));
    assert!(
        matches!(asker.ask(&address).await, Verdict::Proceed { time_left } if time_left.as_secs() > 30)
    );
    drop(gate);
    assert_eq!(Verdict::Abort, asker.ask(&address).await);
}

#[tokio::test]
async fn silence_at_a_gate_is_an_abort() {
    let nats = Server::start().await;
    let keeper = connect(CALLER, &nats).await;
    let asker = connect_with(ECHO, &nats, Duration::from_millis(200)).await;
    let gate = keeper.open_gate().await.unwrap();
    assert_eq!(Verdict::Abort, asker.ask(&gate.address()).await);
    let waiting = gate.address();
    let (verdict, ()) = tokio::join!(asker.ask(&waiting), gate.abort());
    assert_eq!(Verdict::Abort, verdict);
}
