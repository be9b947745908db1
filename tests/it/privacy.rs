//! Names, addresses, tokens and passwords go through everything, and are in no span, log line, metric, header, payload
//! of OTLP or argument of a process. What each other test leaves is searched as well, by its fixture.

mod breaking;
mod collector;
mod scene;
mod settings;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Process, Server, Stack,
    canaries::{self, SECRET},
    process::{SPANS, run},
};
use scene::Scene;

const NAME: &str = r#"Quirinus "Canary" O'Zoë 🦀 \ %s {} <b>"#;
const EMAIL: &str = "quirinus.canary@canary.example";
const KEY: &str = "key-of-hunter2";

/// Registers as somebody with the right token would, and returns the status of the answer.
async fn register(scene: &Scene, key: &str, body: impl Into<String>) -> u16 {
    let headers = [
        ("content-type", "application/json"),
        ("authorization", scene.bearer.as_str()),
        ("idempotency-key", key),
    ];
    let path = "/register";
    let sent = scene
        .stack
        .send(Method::POST, path, &headers, Some(body.into()));
    scene.answered(&sent.await)
}

async fn get(scene: &Scene, path: &str, more: &[(&str, &str)]) -> u16 {
    let own = [("authorization", scene.bearer.as_str())];
    let headers = [&own[..more.is_empty().into()], more].concat();
    let sent = scene.stack.send(Method::GET, path, &headers, None);
    scene.answered(&sent.await)
}

/// What goes well, and what is refused.
async fn ask_in_all_ways(scene: &Scene) {
    let good = json!({"name": NAME, "email": EMAIL}).to_string();
    for status in [201, 201] {
        assert_eq!(status, register(scene, KEY, good.as_str()).await);
    }
    let other = json!({"name": "Xenia", "email": EMAIL});
    assert_eq!(422, register(scene, KEY, other.to_string()).await);
    assert_eq!(409, register(scene, "another", good.as_str()).await);
    let upper = json!({"name": NAME, "email": EMAIL.to_uppercase()});
    assert_eq!(409, register(scene, "a-third", upper.to_string()).await);
    for (status, body) in [
        (422, json!({"name": "Quirinus\r\nBcc: x", "email": EMAIL})),
        (422, json!({"name": NAME.repeat(9), "email": EMAIL})),
        (
            422,
            json!({"name": NAME, "email": format!("{EMAIL}, {EMAIL}")}),
        ),
        (422, json!({"name": [NAME], "email": {"is": EMAIL}})),
        (422, json!({NAME: "name", EMAIL: "email"})),
        (422, json!(EMAIL)),
    ] {
        assert_eq!(status, register(scene, "odd", body.to_string()).await);
    }
    assert_eq!(400, register(scene, "odd", &good[..good.len() - 1]).await);
    let long = json!({"name": NAME.repeat(1000), "email": EMAIL});
    assert_eq!(413, register(scene, "odd", long.to_string()).await);

    assert_eq!(200, get(scene, "/user/4", &[]).await);
    let query = format!("/user/4?access_token={SECRET}&email={EMAIL}");
    assert_eq!(200, get(scene, &query, &[]).await);
    for (name, value) in [
        ("authorization", "Bearer wrong-hunter2-0123456789"),
        ("authorization", "Basic cXVpcmludXM6aHVudGVyMg=="),
        ("x-api-key", scene.bearer.as_str()),
    ] {
        assert_eq!(401, get(scene, "/user/4", &[(name, value)]).await);
    }
    let told = [
        ("authorization", scene.bearer.as_str()),
        ("cookie", "session=hunter2"),
        ("user-agent", EMAIL),
        ("referer", EMAIL),
        ("x-forwarded-for", "quirinus.canary.example"),
        ("x-request-id", EMAIL),
        ("baggage", "user=quirinus.canary@canary.example"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
        ("tracestate", "canary=hunter2"),
    ];
    assert_eq!(200, get(scene, "/user/4", &told).await);
}

/// What the commands print is searched as they are run.
fn look_by_commands(scene: &Scene) {
    let variables = scene.stack.nats_variables();
    for arguments in [
        &["trace", "last"][..],
        &["trace", "list"],
        &["trace", "list", "--json"],
        &["trace", "errors"],
        &["trace", "slow", "--over", "0ms"],
        &["status"],
        &["outbox"],
        &["outbox", "--json"],
    ] {
        let (good, said) = run(scene.stack.folder(), arguments, &variables);
        assert!(good && !said.is_empty(), "{arguments:?}: {said}");
    }
    let (_, all) = run(scene.stack.folder(), &["trace", "list"], &variables);
    for id in all.split_whitespace().filter(|word| word.len() == 32) {
        run(scene.stack.folder(), &["trace", id], &variables);
    }
}

#[tokio::test]
async fn names_addresses_tokens_and_passwords_go_through_everything_and_are_told_nowhere() {
    let mut scene = Scene::start().await;
    ask_in_all_ways(&scene).await;
    let registered = async |scene: &Scene, who: &str| {
        let body = json!({"name": NAME, "email": format!("{who}@canary.example")});
        register(scene, who, body.to_string()).await
    };
    let locked = breaking::lock_the_database(&scene).await;
    assert_eq!(503, registered(&scene, "locked").await);
    drop(locked);
    breaking::have_mails_fail(&scene);
    assert_eq!(201, registered(&scene, "no-mail").await);
    scene.arguments_are_clean();
    scene.metrics_are_clean().await;
    look_by_commands(&scene);

    scene.leave("notification-service").await;
    assert_eq!(201, registered(&scene, "alone").await);
    look_by_commands(&scene);
    scene.leave("database-service").await;
    assert!(registered(&scene, "none").await >= 500);
    breaking::panic_for_the_database(&scene, async || {
        assert_eq!(500, registered(&scene, "panic").await);
    })
    .await;
    scene.metrics_are_clean().await;
    scene.end().await;
}

#[tokio::test]
async fn a_reply_that_cant_be_read_is_told_by_its_place_and_not_by_its_words() {
    let mut scene = Scene::start().await;
    scene.leave("database-service").await;
    breaking::answer_for_the_database(&scene, async || {
        assert_eq!(500, get(&scene, "/user/4", &[]).await);
    })
    .await;
    let said = scene.stack.leave("user-service").await.output();
    let place = "the reply can't be read: line 1, column ";
    assert_eq!(5, said.matches(place).count(), "{said}");
}

/// Leaves something behind, and checks that the fixture finds it.
#[track_caller]
fn is_found(leave: impl FnOnce()) {
    let said = catch_unwind(AssertUnwindSafe(leave)).unwrap_err();
    let said = said.downcast_ref::<String>().unwrap();
    assert!(said.contains("a canary is in"), "{said}");
}

#[tokio::test]
async fn what_any_test_leaves_is_searched_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let echo = async |words: &str| {
        let mut process = Process::start_program("/bin/echo".as_ref(), folder, &[words], &[]);
        process.says(words).await;
        process
    };
    for words in [
        "told david@Example.com.",
        "told Zoë.",
        "AUTH PLAIN AG1haWxlcgBodW50ZXIy",
    ] {
        let process = echo(words).await;
        is_found(|| drop(process));
    }
    drop(echo("an event of davidson@elsewhere.example").await);
    is_found(|| drop(run(folder, &["trace", "David"], &[])));

    let stack = Stack::empty(Server::start().await, &[]);
    fs::create_dir_all(stack.spans()).unwrap();
    fs::write(stack.spans().join("x.jsonl"), "[\"quirinus\"]").unwrap();
    is_found(|| drop(stack));
    let spans = folder.join(SPANS);
    fs::create_dir_all(&spans).unwrap();
    fs::write(spans.join("x.jsonl.index"), "[\"David\"]").unwrap();
    is_found(|| drop(Process::start(folder, &["--version"], &[])));

    let stranger = Some(r#"{"name":"Egon"}"#);
    let sending = catch_unwind(|| canaries::see_that_all_are_known(&[], stranger));
    assert!(sending.is_err());
}
