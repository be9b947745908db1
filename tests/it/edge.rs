//! What an edge counts shows in discovery, like what a replica counts.

use std::time::Duration;

use axum::{Router, routing::get};
use nats_serve::{Instance, Shutdown, http, replica::Limits};

use crate::support::{
    Server,
    echo::{CALLER, connect},
    eventually,
};

#[tokio::test]
async fn requests_that_an_edge_refuses_and_panics_of_its_handlers_are_counted() {
    let nats = Server::start().await;
    let client = connect(CALLER, &nats).await;
    let limits = Limits {
        max_ongoing: 1,
        max_queued: 0,
        ..Limits::default()
    };
    let options = http::Options {
        limits,
        ..http::Options::default()
    };
    let edge = http::Edge::new(&Instance::new(CALLER), options);
    let router = Router::new()
        .route("/panic", get(async || -> &'static str { panic!("a bug") }))
        .route(
            "/slow",
            get(async || tokio::time::sleep(Duration::from_secs(1)).await),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = edge.wrap(router);
    let serving = tokio::spawn(async move {
        http::serve(listener, router, &Shutdown::new(), Duration::ZERO).await;
    });
    let announced = edge.announce(&client).start().await.unwrap();
    tokio::spawn(async move { announced.until(&Shutdown::new()).await });

    let status = async |path: &str| {
        reqwest::get(format!("{base}{path}"))
            .await
            .unwrap()
            .status()
    };
    assert_eq!(500, status("/panic").await);
    let (slow, ()) = tokio::join!(status("/slow"), async {
        eventually("a request that finds no place", async || {
            let refused = reqwest::get(format!("{base}/panic")).await.unwrap();
            let later = refused.headers().contains_key("retry-after");
            (refused.status() == 503 && later).then_some(())
        })
        .await;
    });
    assert_eq!(200, slow);
    let found = client.survey(Duration::from_millis(500)).await;
    let row = &found[0].endpoints[0];
    assert_eq!("http", row.name);
    assert!(row.data["refused"].as_u64() >= Some(1), "{}", row.data);
    assert!(row.data["panics"].as_u64() >= Some(1), "{}", row.data);
    serving.abort();
}
