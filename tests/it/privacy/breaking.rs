//! What breaks while names and addresses are at hand.

use std::{fs, time::Duration};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use nats_serve::{
    Client, Instance, Replica, Shutdown,
    app::api::database::{CreateUser, DATABASE},
    client::Options,
};
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{EMAIL, scene::Scene};

/// Another program holds the database for as long as this is kept.
pub(super) async fn lock_the_database(scene: &Scene) -> SqliteConnection {
    let file = scene.stack.folder().join(".nats-serve/nats-serve.db");
    let options = SqliteConnectOptions::new().filename(file);
    let mut other = options.connect().await.unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    other
}

/// Mails can't be written any more. Those that were there hold names.
pub(super) fn have_mails_fail(scene: &Scene) {
    let mails = scene.stack.mails();
    assert!(mails.iter().any(|mail| mail.contains(EMAIL)), "{mails:?}");
    let folder = scene.stack.folder().join(".nats-serve/mails");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "no folder").unwrap();
}

/// Answers as no database service of ours would, each question in another way, until all ways were asked.
pub(super) async fn answer_for_the_database(scene: &Scene, ask: impl AsyncFn()) {
    let nats = async_nats::connect(&scene.nats_url).await.unwrap();
    let mut asked = nats
        .queue_subscribe("svc.database.get_user", "database".to_owned())
        .await
        .unwrap();
    crate::support::nats::confirmed(&nats).await;
    let mut failed = HeaderMap::new();
    failed.insert("Nats-Service-Error", "internal error");
    failed.insert("Nats-Service-Error-Code", "500");
    // Its message would be shown to whoever asks, and be a header on the way: that is its author's business.
    let told = serde_json::json!({"code": EMAIL, "message": "no", "reason": EMAIL});
    for (headers, payload) in [
        (HeaderMap::new(), format!("{EMAIL:?}")),
        (HeaderMap::new(), EMAIL.to_owned()),
        (HeaderMap::new(), format!(r#"{{"{EMAIL}":1}}"#)),
        (
            HeaderMap::new(),
            format!(r#"{{"user":{{"id":"4","name":{{"x":"{EMAIL}"}}}}}}"#),
        ),
        (HeaderMap::new(), format!(r#"{{"user":"{EMAIL}"}}"#)),
        (failed.clone(), told.to_string()),
        (failed, EMAIL.to_owned()),
    ] {
        let answer = async {
            let question = asked.next().await.unwrap();
            let reply = question.reply.unwrap();
            nats.publish_with_headers(reply, headers, payload.into())
                .await
                .unwrap();
        };
        tokio::join!(answer, ask());
    }
}

/// A database service, in this process, whose handler has a bug.
pub(super) async fn panic_for_the_database(scene: &Scene, ask: impl AsyncFn()) {
    let options = Options {
        url: scene.nats_url.clone(),
        request_timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(DATABASE), options)
        .await
        .unwrap();
    client.ready().await;
    let replica =
        Replica::new(&client).handle::<CreateUser>(async |_ctx, _request| panic!("a bug"));
    let running = replica.start().await.unwrap();
    let shutdown = Shutdown::new();
    let asking = async {
        ask().await;
        shutdown.request();
    };
    tokio::join!(running.until(&shutdown), asking);
}
