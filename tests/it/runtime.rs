//! Calls between a stranger's services, in this process, on a real nats-server.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nats_serve::{Code, replica::Limits};
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    Server,
    echo::{CALLER, Fail, Nap, Panic, Refuse, Repeat, Running, Say, Sleep, connect, connect_with},
    eventually,
};

#[tokio::test]
async fn a_call_is_answered_and_a_failure_keeps_its_cause_at_home() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    assert_eq!(
        "hello",
        client.call::<Say>(&"hello".to_owned()).await.unwrap()
    );
    let failed = client.call::<Fail>(&()).await.unwrap_err();
    assert_eq!((Code::Conflict, "no"), (failed.code(), failed.message()));
    assert!(std::error::Error::source(&failed).is_none());
}

#[tokio::test]
async fn a_panic_is_an_internal_error_and_a_line_and_the_replica_serves_on() {
    // As a program has it that installs no panic hook of ours; everything here runs on this thread.
    let written = Written::default();
    let log = tracing_subscriber::fmt().with_writer(written.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    assert_eq!(
        Code::Internal,
        client.call::<Panic>(&()).await.unwrap_err().code()
    );
    let found = client.survey(Duration::from_millis(500)).await;
    assert_eq!(1, found[0].endpoints[0].data["panics"]);
    assert_eq!(
        "still here",
        client.call::<Say>(&"still here".to_owned()).await.unwrap()
    );
    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert_eq!(1, log.matches("panicked: a bug").count(), "{log}");
}

#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn what_is_too_large_is_an_error_and_costs_no_connection() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    let reply = client.call::<Repeat>(&70_000).await.unwrap_err();
    // Not the caller's mistake.
    assert_eq!(Code::Internal, reply.code());
    for times in [100, 20_000, 40_000, 70_000] {
        let refused = client.call::<Refuse>(&times).await.unwrap_err();
        assert_eq!(Code::Conflict, refused.code(), "{times}");
    }
    let request = client.call::<Say>(&"x".repeat(70_000)).await.unwrap_err();
    assert_eq!(Code::TooLarge, request.code());
    assert_eq!(
        "after",
        client.call::<Say>(&"after".to_owned()).await.unwrap()
    );
}

#[tokio::test]
async fn without_replicas_the_answer_comes_long_before_the_deadline() {
    let nats = Server::start().await;
    let client = connect(CALLER, &nats).await;
    let started = Instant::now();
    let status = client.call::<Say>(&String::new()).await.unwrap_err();
    assert_eq!(Code::Unavailable, status.code());
    assert_eq!("no echo-service is running", status.message());
    assert!(started.elapsed() < Duration::from_millis(1_900));
}

#[tokio::test]
async fn a_handler_is_stopped_at_its_deadline() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect_with(CALLER, &nats, Duration::from_millis(100)).await;
    let started = Instant::now();
    let status = client.call::<Sleep>(&60_000).await.unwrap_err();
    assert_eq!(Code::DeadlineExceeded, status.code());
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_lost_connection_ends_waiting_calls_at_once() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect_with(CALLER, &nats, Duration::from_secs(60)).await;
    // As many as have a place: others would be refused before the connection is lost.
    let calls: Vec<_> = (0..60)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<Sleep>(&60_000).await })
        })
        .collect();
    eventually("a call at the replica", async || {
        let found = client.survey(Duration::from_millis(300)).await;
        let ongoing = found.first()?.endpoints.first()?.data["ongoing"].as_u64()?;
        (ongoing > 0).then_some(())
    })
    .await;
    let lost = Instant::now();
    nats.kill();
    for call in calls {
        assert_eq!(Code::Unavailable, call.await.unwrap().unwrap_err().code());
    }
    assert!(
        lost.elapsed() < Duration::from_secs(10),
        "and not after the minute"
    );
}

#[tokio::test]
async fn beyond_its_limits_a_replica_refuses_and_says_that_it_did_not_begin() {
    let nats = Server::start().await;
    let limits = Limits {
        max_ongoing: 1,
        max_queued: 1,
        ..Limits::default()
    };
    let echo = Running::with(&nats, limits).await;
    let client = connect(CALLER, &nats).await;
    let calls = (0..10).map(|_| client.call::<Sleep>(&400));
    let results = futures_util::future::join_all(calls).await;
    let refused = results.iter().filter(|result| {
        result
            .as_ref()
            .is_err_and(|status| status.code() == Code::Overloaded)
    });
    assert!(results.iter().any(Result::is_ok));
    assert!(refused.count() >= 8);
    echo.leave().await;
}

#[tokio::test]
async fn what_expires_in_the_queue_is_not_begun() {
    let nats = Server::start().await;
    let limits = Limits {
        max_ongoing: 1,
        queue_wait: Duration::from_secs(10),
        ..Limits::default()
    };
    let echo = Running::with(&nats, limits).await;
    let patient = connect(CALLER, &nats).await;
    let hasty = connect_with(CALLER, &nats, Duration::from_millis(100)).await;
    let long = tokio::spawn({
        let client = patient.clone();
        async move { client.call::<Sleep>(&800).await }
    });
    eventually("the long call at work", async || {
        (echo.begun() == 1).then_some(())
    })
    .await;
    assert_eq!(
        Code::DeadlineExceeded,
        hasty.call::<Nap>(&0).await.unwrap_err().code()
    );
    assert_eq!(800, long.await.unwrap().unwrap());
    eventually("the expired call in the statistics", async || {
        let found = patient.survey(Duration::from_millis(300)).await;
        (found.first()?.endpoints.first()?.data["expired"] == 1).then_some(())
    })
    .await;
    assert_eq!(1, echo.begun());
}

#[tokio::test]
async fn leaving_finishes_what_was_accepted() {
    let nats = Server::start().await;
    let first = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call::<Sleep>(&900).await })
        })
        .collect();
    eventually("all calls at the replica", async || {
        let found = client.survey(Duration::from_millis(300)).await;
        let ongoing = found.first()?.endpoints.first()?.data["ongoing"].as_u64()?;
        (ongoing == 40).then_some(())
    })
    .await;
    first.leave().await;
    for call in calls {
        assert_eq!(900, call.await.unwrap().unwrap());
    }
    assert_eq!(0, client.late_replies());
}
