//! What a caller repeats, and what it waits for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_nats::HeaderMap;
use futures_util::{FutureExt, StreamExt};
use nats_serve::{
    Client, Code, Instance, Operation, Service,
    client::{Options, Unanswered},
    replica::Limits,
};
use tokio::task::JoinHandle;

use crate::support::{
    Server,
    echo::{CALLER, ECHO, Nap, Running, Say, Sleep, connect, connect_with},
    eventually,
};

/// A member of the group that answers nothing, as a frozen process does. It may say that it works.
struct Mute {
    heard: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Mute {
    async fn join(nats: &Server, operation: &str, accepts_as: Option<&'static str>) -> Self {
        let client = async_nats::connect(nats.url()).await.unwrap();
        let subject = format!("svc.echo.{operation}");
        let mut requests = client
            .queue_subscribe(subject, "echo".into())
            .await
            .unwrap();
        client.flush().await.unwrap();
        // After this the server knows the subscription.
        let probe = client.request("nobody.listens", "".into()).await;
        assert!(probe.is_err());
        let heard = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                while let Some(request) = requests.next().await {
                    heard.fetch_add(1, Relaxed);
                    if let Some(id) = accepts_as {
                        // A ghost haunts once.
                        requests.unsubscribe().await.unwrap();
                        let mut headers = HeaderMap::new();
                        headers.insert("interim", "accepted");
                        headers.insert("replica", id);
                        let to = request.reply.unwrap();
                        let sent = client.publish_with_headers(to, headers, "".into()).await;
                        sent.unwrap();
                        client.flush().await.unwrap();
                    }
                }
            }
        });
        Self { heard, task }
    }

    fn heard(&self) -> usize {
        self.heard.load(Relaxed)
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn a_silent_replica_costs_an_attempt_and_is_then_avoided() {
    let nats = Server::start().await;
    let echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    // Who knows nobody that answers may meet the mute one three times.
    client.call::<Nap>(&0).await.unwrap();
    let mute = Mute::join(&nats, "nap", None).await;
    let mut calls = 0;
    eventually("an attempt that stays silent", async || {
        calls += 1;
        assert_eq!(0, client.call::<Nap>(&0).await.unwrap());
        (mute.heard() > 0).then_some(())
    })
    .await;
    for _ in 0..40 {
        client.call::<Nap>(&0).await.unwrap();
    }
    // Half of forty would be its share. A busy machine may lose a sign of life or two.
    assert!(mute.heard() <= 4, "{} attempts went to it", mute.heard());
    assert!(echo.begun() >= calls + 40);
}

#[tokio::test]
async fn a_replica_that_was_preferred_and_falls_silent_is_left_for_the_group() {
    let nats = Server::start().await;
    let client = connect_with(CALLER, &nats, Duration::from_secs(3)).await;
    let mute = Mute::join(&nats, "nap", None).await;
    let silence = client.call::<Nap>(&0).await.unwrap_err();
    assert_eq!(Some(Unanswered::TimedOut), silence.unanswered());
    drop(mute);

    // Another shows that it lives, and is preferred from then on. It freezes.
    let other = async_nats::connect(nats.url()).await.unwrap();
    let _own = other.subscribe("inst.echo.other.*").await.unwrap();
    let group = other.queue_subscribe("svc.echo.nap", "echo".into()).await;
    let mut requests = group.unwrap();
    other.flush().await.unwrap();
    let answering = async {
        let request = requests.next().await.unwrap();
        requests.unsubscribe().await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("replica", "other");
        let to = request.reply.unwrap();
        other
            .publish_with_headers(to, headers, "0".into())
            .await
            .unwrap();
        other.flush().await.unwrap();
    };
    let (answer, ()) = tokio::join!(client.call::<Nap>(&0), answering);
    assert_eq!(0, answer.unwrap());

    let echo = Running::start(&nats).await;
    assert_eq!(0, client.call::<Nap>(&0).await.unwrap());
    assert_eq!(1, echo.begun());
}

#[tokio::test]
async fn silence_is_repeated_only_where_that_is_safe() {
    let nats = Server::start().await;
    let client = connect_with(CALLER, &nats, Duration::from_secs(3)).await;
    let (naps, sleeps) = (
        Mute::join(&nats, "nap", None).await,
        Mute::join(&nats, "sleep", None).await,
    );
    let (nap, sleep) = tokio::join!(client.call::<Nap>(&0), client.call::<Sleep>(&0));
    for status in [nap.unwrap_err(), sleep.unwrap_err()] {
        assert_eq!(Code::DeadlineExceeded, status.code());
        assert_eq!(Some(Unanswered::TimedOut), status.unanswered());
    }
    assert_eq!((3, 1), (naps.heard(), sleeps.heard()));
}

#[tokio::test]
async fn a_replica_that_says_it_works_is_waited_for() {
    let nats = Server::start().await;
    let echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    let (nap, sleep) = tokio::join!(client.call::<Nap>(&1_000), client.call::<Sleep>(&1_000));
    assert_eq!((1_000, 1_000), (nap.unwrap(), sleep.unwrap()));
    assert_eq!(2, echo.begun());
}

#[tokio::test]
async fn a_replica_that_dies_at_work_is_noticed_long_before_the_deadline() {
    let nats = Server::start().await;
    let client = connect_with(CALLER, &nats, Duration::from_secs(60)).await;
    let ghost = Mute::join(&nats, "sleep", Some("ghost")).await;
    let status = client.call::<Sleep>(&0).await.unwrap_err();
    assert_eq!(Code::Unavailable, status.code());
    assert_eq!(Some(Unanswered::Gone), status.unanswered());
    assert_eq!(1, ghost.heard(), "it may have been done");

    let ghost = Mute::join(&nats, "nap", Some("ghost")).await;
    let calling = tokio::spawn(async move { client.call::<Nap>(&0).await });
    eventually("the call at the ghost", async || {
        (ghost.heard() == 1).then_some(())
    })
    .await;
    let echo = Running::start(&nats).await;
    assert_eq!(0, calling.await.unwrap().unwrap());
    assert_eq!(1, echo.begun());
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again() {
    let nats = Server::start().await;
    let client = connect_with(CALLER, &nats, Duration::from_secs(20)).await;
    let echo = Running::start(&nats).await;
    // Whoever gets the call first says that echo works on it, which echo knows nothing of.
    let id: &'static str = echo.instance.id().to_owned().leak();
    let liar = Mute::join(&nats, "nap", Some(id)).await;
    eventually("a call at the liar", async || {
        assert_eq!(0, client.call::<Nap>(&0).await.unwrap());
        (liar.heard() == 1).then_some(())
    })
    .await;
    let liar = Mute::join(&nats, "sleep", Some(id)).await;
    let lost = eventually("a call at the liar that can't be repeated", async || {
        client.call::<Sleep>(&0).await.err()
    })
    .await;
    assert_eq!(1, liar.heard());
    assert_eq!(Some(Unanswered::Gone), lost.unanswered());
}

#[tokio::test]
async fn no_limit_at_all_is_no_panic() {
    let nats = Server::start().await;
    let limits = Limits {
        max_ongoing: usize::MAX,
        max_queued: usize::MAX,
        queue_wait: Duration::MAX,
        shutdown_grace: Duration::MAX,
    };
    let echo = Running::with(&nats, limits).await;
    let client = connect(CALLER, &nats).await;
    client.call::<Say>(&"hello".to_owned()).await.unwrap();
    echo.leave().await;
}

#[tokio::test]
async fn an_attempt_timeout_of_nothing_is_no_storm_of_pings() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let raw = async_nats::connect(nats.url()).await.unwrap();
    let mut pings = raw.subscribe("inst.echo.*._ping").await.unwrap();
    raw.flush().await.unwrap();
    let options = Options {
        url: nats.url(),
        attempt_timeout: Duration::ZERO,
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(CALLER), options)
        .await
        .unwrap();
    client.ready().await;
    client.call::<Sleep>(&1_500).await.unwrap();
    let mut asked = 0;
    while let Some(Some(_)) = pings.next().now_or_never() {
        asked += 1;
    }
    assert!(asked < 100, "{asked}");
}

/// A caller with time for its calls, who waits so long for a service that nobody offers.
async fn waiting_for_the_absent(nats: &Server, absence_wait: Duration) -> Client {
    let options = Options {
        url: nats.url(),
        request_timeout: Duration::from_secs(30),
        absence_wait,
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(CALLER), options).await;
    let client = client.unwrap();
    client.ready().await;
    client
}

#[tokio::test]
async fn a_service_whose_replicas_all_restart_is_waited_for_if_that_is_wanted() {
    let nats = Server::start().await;
    let client = waiting_for_the_absent(&nats, Duration::from_secs(10)).await;
    // One is as good as the other: of a call that found nobody nothing was begun.
    let (nap, sleep) = (client.call::<Nap>(&0), client.call::<Sleep>(&0));
    let calling = async { tokio::join!(nap, sleep) };
    let starting = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Running::start(&nats).await
    };
    let ((nap, sleep), echo) = tokio::join!(calling, starting);
    assert_eq!((0, 0), (nap.unwrap(), sleep.unwrap()));
    assert_eq!(2, echo.begun());
    echo.leave().await;
}

#[tokio::test]
async fn a_service_that_stays_away_is_waited_for_once_and_not_by_each_call() {
    let nats = Server::start().await;
    let client = waiting_for_the_absent(&nats, Duration::from_secs(1)).await;
    let began = Instant::now();
    let away = client.call::<Nap>(&0).await.unwrap_err();
    assert_eq!(Some(Unanswered::NoResponders), away.unanswered());
    assert!(began.elapsed() >= Duration::from_secs(1), "{began:?}");
    // As many as would take a minute and more if each waited.
    for _ in 0..100 {
        let away = client.call::<Nap>(&0).await.unwrap_err();
        assert_eq!(Some(Unanswered::NoResponders), away.unanswered());
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{began:?}");
}

/// An operation that a new version of a caller knows, and the replicas that are there don't.
struct Unoffered;

impl Operation for Unoffered {
    const SERVICE: Service = ECHO;
    const NAME: &'static str = "unoffered";
    type Request = ();
    type Reply = ();
}

#[tokio::test]
async fn an_operation_that_nobody_offers_is_not_waited_for_until_the_deadline_because_others_are_answered()
 {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = waiting_for_the_absent(&nats, Duration::from_millis(500)).await;
    let began = Instant::now();
    let mut others = 0;
    let missing = async { client.call::<Unoffered>(&()).await.unwrap_err() };
    let answered = async {
        loop {
            client.call::<Nap>(&0).await.unwrap();
            others += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let missing = tokio::select! {
        missing = missing => missing,
        never = answered => never,
    };
    assert_eq!(Some(Unanswered::NoResponders), missing.unanswered());
    assert!(others > 1, "{others}");
    // The deadline is 30 s away.
    assert!(began.elapsed() < Duration::from_secs(5), "{began:?}");
}
