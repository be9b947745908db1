//! Peers of other versions and of other kinds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use futures_util::StreamExt;

use crate::support::{
    Server,
    echo::{CALLER, Running, Say, connect},
    eventually,
};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.insert(*name, *value);
    }
    headers
}

#[tokio::test]
async fn an_old_caller_and_a_new_replica_understand_each_other() {
    let nats = Server::start().await;
    let echo = Running::start(&nats).await;
    // Another client altogether: no header of ours, or some that nobody knows.
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let plain = request(&stranger, "svc.echo.say", HeaderMap::new(), r#""hi""#).await;
    assert_eq!("\"hi\"", plain.payload);
    let reply = plain.headers.unwrap();
    assert_eq!(echo.instance.id(), reply.get("replica").unwrap().as_str());
    assert!(reply.get("Nats-Service-Error").is_none());

    let future = headers(&[
        ("x-from-the-future", "1"),
        ("attempt", "many"),
        ("timeout-ms", "soon"),
    ]);
    let served = request(&stranger, "svc.echo.say", future, r#""hi""#).await;
    assert_eq!("\"hi\"", served.payload);

    let malformed = request(&stranger, "svc.echo.say", HeaderMap::new(), "{").await;
    let code = malformed.headers.unwrap();
    assert_eq!("400", code.get("Nats-Service-Error-Code").unwrap().as_str());
}

async fn request(
    client: &async_nats::Client,
    subject: &str,
    headers: HeaderMap,
    payload: &'static str,
) -> async_nats::Message {
    let sending = client.request_with_headers(subject.to_owned(), headers, payload.into());
    tokio::time::timeout(Duration::from_secs(10), sending)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn one_replica_can_be_asked_and_pinged() {
    let nats = Server::start().await;
    let (one, other) = (Running::start(&nats).await, Running::start(&nats).await);
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    for replica in [&one, &other] {
        let id = replica.instance.id();
        for operation in ["_ping", "say"] {
            let subject = format!("inst.echo.{id}.{operation}");
            let reply = request(&stranger, &subject, HeaderMap::new(), r#""x""#).await;
            assert_eq!(id, reply.headers.unwrap().get("replica").unwrap().as_str());
        }
        let unknown = format!("inst.echo.{id}.nothing");
        let reply = request(&stranger, &unknown, HeaderMap::new(), "{}").await;
        assert_eq!(
            "501",
            reply
                .headers
                .unwrap()
                .get("Nats-Service-Error-Code")
                .unwrap()
                .as_str()
        );
    }
    let gone = format!("inst.echo.{}.say", one.instance.id());
    one.leave().await;
    let sending = stranger.request(gone, "\"x\"".into()).await;
    assert_eq!(
        async_nats::RequestErrorKind::NoResponders,
        sending.unwrap_err().kind()
    );
}

#[tokio::test]
async fn a_request_that_has_expired_is_not_begun() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let expired = headers(&[("timeout-ms", "0")]);
    stranger
        .publish_with_reply_and_headers("svc.echo.say", "_INBOX.nobody", expired, "\"x\"".into())
        .await
        .unwrap();
    let client = connect(CALLER, &nats).await;
    eventually("the expired request in the statistics", async || {
        let found = client.survey(Duration::from_millis(300)).await;
        let say = found
            .first()?
            .endpoints
            .iter()
            .find(|endpoint| endpoint.name == "say")?
            .clone();
        assert_eq!(0, say.num_requests);
        (say.data["expired"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_senders_wrong_clock_makes_nothing_late_but_a_buffer_does() {
    let nats = Server::start().await;
    let echo = Running::start(&nats).await;
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut served = 0;
    for (sender, minutes) in [("s1", -5_i64), ("s2", 0), ("s3", 5)] {
        for late in [0, 5, 3_000, 5, 60_000] {
            send_nap(&stranger, sender, minutes * 60_000, late, 2_000).await;
            served += usize::from(late < 2_000);
        }
        // One that has more time than is believed, and one that has little.
        for timeout in [60_000, 2_000] {
            send_nap(&stranger, sender, minutes * 60_000, 0, timeout).await;
            served += 1;
        }
        let client = connect(CALLER, &nats).await;
        eventually("each request begun or expired", async || {
            let found = client.survey(Duration::from_millis(300)).await;
            let expired = found.first()?.endpoints.first()?.data["expired"].as_u64()?;
            let begun = echo.begun();
            assert!(begun <= served, "{begun} of {served} in time");
            let done = begun + usize::try_from(expired).unwrap();
            (done == served + served * 2 / 5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn no_request_has_a_replica_publish_to_another_service() {
    let nats = Server::start().await;
    let echo = Running::start(&nats).await;
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let mut other = stranger.subscribe("svc.other.operation").await.unwrap();
    for reply in ["svc.other.operation", "_INBOX.stranger"] {
        let request = stranger.publish_with_reply("svc.echo.nap", reply, "0".into());
        request.await.unwrap();
    }
    eventually("the request that asks at an inbox", async || {
        (echo.begun() == 1).then_some(())
    })
    .await;
    let nothing = tokio::time::timeout(Duration::from_millis(50), other.next()).await;
    assert!(nothing.is_err());
}

/// Sends a request that its sender sent a while ago by a clock that is off.
async fn send_nap(
    stranger: &async_nats::Client,
    sender: &str,
    off_by: i64,
    late: i64,
    timeout: i64,
) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_millis()).unwrap();
    let timeout = format!("{timeout};sent={}", now + off_by - late);
    stranger
        .publish_with_reply_and_headers(
            "svc.echo.nap",
            format!("_INBOX.stranger.echo.{sender}.00ff"),
            headers(&[("timeout-ms", &timeout)]),
            "0".into(),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn interim_replies_are_not_taken_for_the_answer() {
    let nats = Server::start().await;
    // A replica of a later version, by hand: it says that it works before it answers.
    let later = async_nats::connect(nats.url()).await.unwrap();
    let mut requests = later
        .queue_subscribe("svc.echo.say", "echo".into())
        .await
        .unwrap();
    later.flush().await.unwrap();
    let answering = tokio::spawn(async move {
        let request = requests.next().await.unwrap();
        let to = request.reply.unwrap();
        for kind in ["accepted", "from-the-future"] {
            let interim = headers(&[("interim", kind), ("replica", "later")]);
            later
                .publish_with_headers(to.clone(), interim, "\"not this\"".into())
                .await
                .unwrap();
        }
        later.publish(to, "\"this\"".into()).await.unwrap();
        later.flush().await.unwrap();
    });
    let client = connect(CALLER, &nats).await;
    assert_eq!("this", client.call::<Say>(&String::new()).await.unwrap());
    answering.await.unwrap();
}

#[tokio::test]
async fn a_message_in_a_callers_name_that_claims_another_clock_costs_the_caller_nothing() {
    let nats = Server::start().await;
    let _echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    client.call::<Say>(&"hello".to_owned()).await.unwrap();
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let in_an_hour = (now + Duration::from_secs(3_600)).as_millis();
    let headers = headers(&[("timeout-ms", &format!("2000;sent={in_an_hour}"))]);
    let reply = format!("_INBOX.caller.echo.{}.00ff", client.instance().id());
    for _ in 0..20 {
        let forged = stranger.publish_with_reply_and_headers(
            "svc.echo.say",
            reply.clone(),
            headers.clone(),
            r#""forged""#.into(),
        );
        forged.await.unwrap();
        stranger.flush().await.unwrap();
        client.call::<Say>(&"hello".to_owned()).await.unwrap();
    }
}
