//! Leaving when something is in the way.

use std::{fs::File, time::Duration};

use axum::{Router, body::Body, routing::get};
use futures_util::stream;
use nats_serve::{Shutdown, http};
use rustix::process::Signal;
use tokio::net::TcpListener;

use crate::support::{Server, Stack};

#[tokio::test]
async fn a_service_that_waits_for_a_lock_leaves_when_it_is_told() {
    let mut stack = Stack::empty(Server::start().await, &[]);
    let state = stack.folder().join(".nats-serve");
    std::fs::create_dir(&state).unwrap();
    let lock = File::create(state.join("nats-serve.lock")).unwrap();
    lock.lock().unwrap();
    stack.add("database-service", "database-service");
    let mut process = stack.processes.remove("database-service").unwrap();
    process.says("health").await;
    process.signal(Signal::TERM);
    assert!(process.ended().await.success(), "{}", process.output());
    assert!(!process.output().contains("is ready"));
    drop(lock);
}

#[tokio::test]
async fn an_answer_that_is_still_being_written_is_finished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = || async {
        Body::from_stream(stream::unfold(0, |chunk| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            (chunk < 10).then_some((Ok::<_, std::io::Error>("x"), chunk + 1))
        }))
    };
    let router = Router::new().route("/", get(slow));
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let serving = tokio::spawn(async move {
        http::serve(listener, router, &until, Duration::from_secs(20)).await;
    });
    let answer = reqwest::get(format!("http://{address}/")).await.unwrap();
    shutdown.request();
    assert_eq!("xxxxxxxxxx", answer.text().await.unwrap());
    serving.await.unwrap();
}
