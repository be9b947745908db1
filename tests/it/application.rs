//! What the application promises: its bodies, its users, its mails.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Stack, eventually, stack::Reply};

/// Takes the timestamp out, after seeing that it is the present in seconds.
#[track_caller]
fn without_timestamp(mut body: Value, at: &str) -> Value {
    let place = body
        .pointer_mut(at)
        .unwrap_or_else(|| panic!("no timestamp at {at}"));
    let seconds = place.take();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(seconds.is_f64(), "{seconds}");
    assert!((now - seconds.as_f64().unwrap()).abs() < 60.0, "{seconds}");
    body
}

#[tokio::test]
async fn the_bodies_are_those_of_the_reference_application() {
    let stack = Stack::start().await;

    let index = stack.get("/").await;
    assert_eq!(
        json!({"message": "Multi-Actor Tracing API", "endpoints": ["/user/{user_id}", "/register"]}),
        index.json()
    );

    let health = stack.get("/health").await;
    assert_eq!(
        json!({"status": "healthy", "timestamp": null}),
        without_timestamp(health.json(), "/timestamp")
    );

    let profile = stack.get("/user/1").await;
    assert_eq!(200, profile.status);
    // Compared as text first: the order of the keys is the reference's too.
    let text = profile.body.split(",\"timestamp\"").next().unwrap();
    assert_eq!(
        r#"{"success":true,"data":{"user":{"id":"1","name":"Alice","email":"alice@example.com"},"profile_data":{"last_login":"2024-08-29T10:00:00Z","preferences":{"theme":"dark","notifications":true}}"#,
        text
    );
    without_timestamp(profile.json(), "/data/timestamp");

    let registered = stack.register("David", "david@example.com").await;
    assert_eq!(201, registered.status);
    let text = registered.body.split(",\"timestamp\"").next().unwrap();
    assert_eq!(
        r#"{"success":true,"data":{"user":{"id":"4","name":"David","email":"david@example.com"},"notification":{"status":"sent","message":"Welcome David! Thanks for joining our service.","recipient":"david@example.com"},"registration_complete":true"#,
        text
    );
    without_timestamp(registered.json(), "/data/timestamp");
}

#[tokio::test]
async fn a_registered_user_survives_a_restart_of_every_service() {
    let mut stack = Stack::start().await;
    assert_eq!(
        201,
        stack.register("David", "david@example.com").await.status
    );
    for service in crate::support::stack::SERVICES {
        stack.leave(service).await;
        stack.add(service, service);
        stack.ready(service).await;
    }
    let david = stack.get("/user/4").await.json();
    assert_eq!("David", david["data"]["user"]["name"]);
    assert_eq!(Value::Null, david["data"]["profile_data"]["last_login"]);
}

#[tokio::test]
async fn two_hundred_parallel_registrations_are_two_hundred_users_and_mails() {
    let stack = Stack::start().await;
    let registrations = (0..200).map(|n| {
        let stack = &stack;
        async move {
            let body =
                json!({"name": format!("Ulrike {n}"), "email": format!("user{n}@example.com")});
            let key = format!("k{n}");
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", key.as_str()),
            ];
            // On a machine that others use, some are told to come again; their key makes that safe.
            eventually("an answer", async || {
                let body = Some(body.to_string());
                let reply = stack.send(Method::POST, "/register", &headers, body).await;
                reply.headers.get("retry-after").is_none().then_some(reply)
            })
            .await
        }
    });
    let replies = futures_util::future::join_all(registrations).await;
    let ids: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            assert_eq!(201, reply.status, "{}", reply.body);
            reply.json()["data"]["user"]["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(200, ids.len());
    eventually("200 mails", async || {
        (stack.mails().len() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_registers_once_and_the_refused_gets_no_mail() {
    let stack = Stack::start().await;
    assert_eq!(
        201,
        stack.register("David", "david@example.com").await.status
    );
    let again = stack.register("Dave", "DAVID@Example.COM").await;
    again.problem(409);
    // The mail's side has answered by the time the trace is whole: nothing comes later.
    stack.trace(&again, 9).await;
    let mails = stack.mails();
    assert_eq!(1, mails.len(), "{mails:?}");
    assert!(mails[0].contains("To: David <david@example.com>"));
    assert!(mails[0].contains("Welcome David! Thanks for joining our service."));
}

#[tokio::test]
async fn of_fifty_parallel_registrations_of_one_address_one_wins_and_one_mail_goes_out() {
    let stack = Stack::start().await;
    let registrations = (0..50).map(|_| stack.register("David", "david@example.com"));
    let replies = futures_util::future::join_all(registrations).await;
    let with = |status: u16| {
        replies
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert_eq!((1, 49), (with(201), with(409)));
    for refused in replies.iter().filter(|reply: &&Reply| reply.status == 409) {
        stack.trace(refused, 9).await;
    }
    assert_eq!(1, stack.mails().len());
}

#[tokio::test]
async fn no_mail_goes_out_for_a_registration_that_the_database_never_answered() {
    let mut stack = Stack::start().await;
    stack.leave("database-service").await;
    let refused = stack.register("David", "david@example.com").await;
    refused.problem(503);
    stack.trace(&refused, 8).await;
    assert!(stack.mails().is_empty());
}

#[tokio::test]
async fn database_and_mail_are_called_at_the_same_time() {
    let stack = Stack::with(&[("SIMULATED_LATENCY", "on")]).await;
    let started = Instant::now();
    assert_eq!(200, stack.get("/user/1").await.status);
    assert!(started.elapsed() >= Duration::from_millis(100));

    let registered = stack.register("David", "david@example.com").await;
    let trace = stack.trace(&registered, 9).await;
    let branch = |deployment: &str| {
        let rows = trace.rows();
        let spans = rows.map(|row| row.span);
        spans
            .filter(|span| span.text("deployment") == Some(deployment))
            .map(|span| (span.start, span.end))
            .collect::<Vec<_>>()
    };
    let (database, mail) = (branch("DatabaseService"), branch("NotificationService"));
    assert_eq!((2, 2), (database.len(), mail.len()));
    // Each handler begins before the other has ended: 200 ms and 150 ms side by side.
    assert!(database[1].0 < mail[1].1 && mail[1].0 < database[1].1);
}

#[tokio::test]
async fn addresses_that_look_odd_and_are_right_get_their_mail() {
    let stack = Stack::start().await;
    for email in [
        "xenia@[127.0.0.1]",
        "\"a b\"@example.com",
        "o'brien+x@example.com",
    ] {
        let registered = stack.register("Xenia, \"J\" <x>", email).await;
        assert_eq!(201, registered.status, "{}", registered.body);
        let notification = &registered.json()["data"]["notification"];
        assert_eq!("sent", notification["status"], "{email}");
    }
    assert_eq!(3, stack.mails().len());
}

#[tokio::test]
async fn callers_of_the_reference_application_may_send_their_bearer_token() {
    let stack = Stack::start().await;
    let token = [("authorization", "Bearer hunter2")];
    let reply = stack
        .send(reqwest::Method::GET, "/user/1", &token, None)
        .await;
    assert_eq!(200, reply.status);
}
