//! Leaving when something is in the way.

use std::{fs::File, sync::atomic::Ordering::Relaxed, time::Duration};

use axum::{Router, body::Body, routing::get};
use futures_util::stream;
use nats_serve::{Shutdown, client::Unanswered, http};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    Server, Stack,
    echo::{CALLER, Running, Sleep, connect},
    eventually,
};

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

#[tokio::test]
async fn a_request_whose_head_was_half_read_is_answered_by_who_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = async || tokio::time::sleep(Duration::from_secs(1)).await;
    let router = Router::new().route("/", get(slow));
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let serving = tokio::spawn(async move {
        http::serve(listener, router, &until, Duration::from_secs(20)).await;
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    shutdown.request();
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.write_all(b"st: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!serving.is_finished(), "it would be broken off");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_large_answer_that_is_taken_slowly_is_finished() {
    const SIZE: usize = 32 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(async || vec![b'x'; SIZE]));
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let serving = tokio::spawn(async move {
        http::serve(listener, router, &until, Duration::from_secs(60)).await;
    });
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut taken = vec![0; 1024];
    client.read_exact(&mut taken).await.unwrap();
    shutdown.request();
    // Longer than what is left when the last request has been answered.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!serving.is_finished(), "it would be broken off");
    client.read_to_end(&mut taken).await.unwrap();
    assert!(taken.len() > SIZE, "{}", taken.len());
    serving.await.unwrap();
}

#[tokio::test]
async fn a_replica_told_to_leave_without_nats_does_not_come_back_with_it() {
    let nats = Server::start().await;
    let echo = Running::start(&nats).await;
    let client = connect(CALLER, &nats).await;
    let busy = tokio::spawn({
        let client = connect(CALLER, &nats).await;
        async move { client.call::<Sleep>(&1_500).await }
    });
    let begun = echo.begun_counter();
    eventually("work", async || (begun.load(Relaxed) == 1).then_some(())).await;
    let gone = nats.kill();
    // All of them are in this process, and notice it at the same moment.
    eventually("silence", async || (!client.is_connected()).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let leaving = tokio::spawn(echo.leave());
    tokio::time::sleep(Duration::from_millis(100)).await;
    let _back = gone.start_again().await;
    client.ready().await;
    while !leaving.is_finished() {
        let refused = client.call::<Sleep>(&0).await.unwrap_err();
        assert_eq!(Some(Unanswered::NoResponders), refused.unanswered());
    }
    assert_eq!(1, begun.load(Relaxed));
    busy.abort();
}

#[tokio::test]
async fn who_is_told_to_hurry_waits_for_no_delay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let shutdown = Shutdown::new();
    let until = shutdown.clone();
    let leaving = http::Leaving {
        delay: Duration::from_secs(3_600),
        grace: Duration::from_secs(20),
    };
    let serving = tokio::spawn(async move {
        http::serve(listener, Router::new(), &until, leaving).await;
    });
    shutdown.request();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!serving.is_finished(), "it has a delay");
    shutdown.hurry();
    serving.await.unwrap();
}
