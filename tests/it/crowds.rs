//! Many clients, and greedy or slow ones: who is well-behaved is served all the while.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::StatusCode,
    routing::{get, post},
};
use futures_util::future::join_all;
use nats_serve::{Instance, Shutdown, http, replica::Limits};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, Stack, echo::CALLER, eventually};

const ONE: &str = "one-hunter2-0123456789";
const OTHER: &str = "two-hunter2-0123456789";

/// An edge before one route, which echoes.
async fn edge(options: http::Options) -> String {
    serve(
        options,
        Router::new().route("/echo", post(async |body: String| body)),
    )
    .await
}

async fn serve(options: http::Options, router: Router) -> String {
    let router = http::Edge::new(&Instance::new(CALLER), options).wrap(router);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        http::serve(listener, router, &Shutdown::new(), Duration::ZERO).await;
    });
    address
}

#[tokio::test]
async fn a_client_that_asks_too_fast_is_told_to_wait_and_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("{ONE}\n{OTHER}\n")).unwrap();
    let variables = [
        ("TOKENS_FILE", file.to_str().unwrap()),
        ("RATE_LIMIT", "20"),
    ];
    let stack = Stack::with(&variables).await;
    let bearer = |token: &str| format!("Bearer {token}");
    let greedy = async {
        let started = Instant::now();
        let (mut served, mut refused) = (0, 0);
        // About a thousand a second.
        while started.elapsed() < Duration::from_secs(2) {
            let token = bearer(ONE);
            let headers = [("authorization", token.as_str())];
            let ask = || stack.send(Method::GET, "/user/1", &headers, None);
            for reply in join_all((0..10).map(|_| ask())).await {
                match reply.status.as_u16() {
                    200 => served += 1,
                    _ => {
                        let problem = reply.problem(429);
                        assert_eq!("urn:nats-serve:problem:rate_limited", problem["type"]);
                        assert_eq!("1", reply.header("retry-after"));
                        refused += 1;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (served, refused, started.elapsed())
    };
    let modest = async {
        for _ in 0..10 {
            let token = bearer(OTHER);
            let headers = [("authorization", token.as_str())];
            let reply = stack.send(Method::GET, "/user/1", &headers, None).await;
            assert_eq!(200, reply.status, "{}", reply.body);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let ((served, refused, took), ()) = tokio::join!(greedy, modest);
    let allowed = 20.0 * (took.as_secs_f64() + 1.0) + 1.0;
    assert!(served >= 20 && f64::from(served) <= allowed, "{served}");
    assert!(refused > served, "{refused}");
    // Who guesses tokens is one client, too; health is nobody's.
    let guess = || {
        stack.send(
            Method::GET,
            "/user/1",
            &[("authorization", "Bearer no-hunter2")],
            None,
        )
    };
    let guessed = join_all((0..60).map(|_| guess())).await;
    let told = |status: u16| {
        guessed
            .iter()
            .filter(|reply| reply.status == status)
            .count()
    };
    assert!(told(401) >= 20 && told(429) > 0, "{} x 429", told(429));
    assert_eq!(200, stack.get("/health").await.status);
}

#[tokio::test]
async fn five_hundred_clients_that_never_finish_their_headers_harm_nobody() {
    let mut stack = Stack::with(&[("SHUTDOWN_GRACE", "20s")]).await;
    let mut half_open = Vec::new();
    for _ in 0..500 {
        let mut connection = TcpStream::connect(stack.address()).await.unwrap();
        connection
            .write_all(b"GET /user/1 HTTP/1.1\r\nhost: x\r\nx-slow: ")
            .await
            .unwrap();
        half_open.push(connection);
    }
    let replies = join_all((0..50).map(|_| stack.get("/user/1"))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    // After 10 s; a bound ten times as wide would outlast the test.
    let closed = half_open[..5].iter_mut().map(|connection| async {
        let mut rest = Vec::new();
        timeout(PATIENCE * 3, connection.read_to_end(&mut rest)).await
    });
    assert!(join_all(closed).await.iter().all(Result::is_ok));

    let mut more = Vec::new();
    for _ in 0..200 {
        let mut connection = TcpStream::connect(stack.address()).await.unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        more.push(connection);
    }
    assert_eq!(200, stack.get("/user/1").await.status);
    let told = Instant::now();
    stack.leave("gateway").await;
    // Not after the 10 s of the headers, nor after the grace.
    let took = told.elapsed();
    assert!(took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test]
async fn who_sends_a_body_drop_by_drop_takes_no_place_from_others() {
    let limits = Limits {
        max_ongoing: 1,
        max_queued: 0,
        ..Limits::default()
    };
    let options = http::Options {
        limits,
        request_timeout: Duration::from_secs(1),
        ..http::Options::default()
    };
    let address = edge(options).await;
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let head = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel";
    slow.write_all(head).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let url = format!("http://{address}/echo");
    let quick = reqwest::Client::new().post(url).body("hello");
    let reply = quick.send().await.unwrap();
    assert_eq!(StatusCode::OK, reply.status());
    assert_eq!("hello", reply.text().await.unwrap());
    // And is told so, when his time is over.
    let mut answer = String::new();
    timeout(PATIENCE, slow.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("the body did not come in time"), "{answer}");
}

#[tokio::test]
async fn who_does_not_take_his_answers_is_cut_off() {
    let stack = Stack::start().await;
    let mut greedy = TcpStream::connect(stack.address()).await.unwrap();
    let request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n";
    let asked = request.repeat(20);
    greedy.write_all(&asked).await.unwrap();
    // 10 s after the last byte that he took; whoever reads slowly, and reads, is served.
    tokio::time::sleep(Duration::from_secs(14)).await;
    let mut taken = Vec::new();
    let reading = timeout(PATIENCE, greedy.read_to_end(&mut taken)).await;
    assert!(reading.is_ok(), "it is still open");
    let whole = reqwest::get(format!(
        "http://{}/docs/swagger-ui-bundle.js",
        stack.address()
    ));
    let whole = whole.await.unwrap().bytes().await.unwrap().len();
    assert!(taken.len() < 20 * whole, "{} of 20 x {whole}", taken.len());
}

/// Says so when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[tokio::test]
async fn work_for_a_client_that_has_gone_is_dropped() {
    let (begun, dropped) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (begins, drops) = (Arc::clone(&begun), Arc::clone(&dropped));
    let router = Router::new().route(
        "/slow",
        get(async move || {
            let _work = Dropped(drops);
            begins.store(true, Relaxed);
            tokio::time::sleep(PATIENCE * 2).await;
        }),
    );
    let options = http::Options {
        request_timeout: Duration::from_secs(30),
        ..http::Options::default()
    };
    let address = serve(options, router).await;
    let mut gone = TcpStream::connect(&address).await.unwrap();
    let request = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";
    gone.write_all(request).await.unwrap();
    eventually("the work", async || begun.load(Relaxed).then_some(())).await;
    drop(gone);
    eventually("its end", async || dropped.load(Relaxed).then_some(())).await;
}

#[tokio::test]
async fn a_service_that_is_nested_has_deadline_place_and_limit_too() {
    let slow = axum::routing::any(async || tokio::time::sleep(PATIENCE * 2).await);
    let nested = Router::new().nest_service("/there", Router::new().fallback_service(slow));
    let options = http::Options {
        request_timeout: Duration::from_millis(300),
        max_body: 8,
        ..http::Options::default()
    };
    let address = serve(options, nested).await;
    let client = reqwest::Client::new();
    let ask = |body: &'static str| client.post(format!("http://{address}/there/x")).body(body);
    assert_eq!(504, ask("").send().await.unwrap().status());
    assert_eq!(413, ask("too large").send().await.unwrap().status());
}

#[tokio::test]
async fn who_sends_much_to_an_edge_that_does_not_want_it_reads_the_answer() {
    let stack = Stack::start().await;
    // Without asking before, and more than fits into what lies between.
    for _ in 0..5 {
        let reply = stack.post("/register", &"x".repeat(250 * 1024)).await;
        reply.problem(413);
    }
    // In chunks, of which nobody knows how many will come.
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    let head = "POST /register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n";
    let request = format!("{head}{}0\r\n\r\n", chunk.repeat(20));
    for _ in 0..5 {
        let mut connection = TcpStream::connect(stack.address()).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        connection.read_exact(&mut answer).await.unwrap();
        assert_eq!("HTTP/1.1 413", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_status_alone_becomes_a_problem_document() {
    let router = Router::new()
        .route("/gone", get(async || StatusCode::NOT_FOUND))
        .route("/teapot", get(async || StatusCode::IM_A_TEAPOT))
        .route("/own", get(async || (StatusCode::CONFLICT, "mine")))
        .route(
            "/busy",
            get(async || (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "120")])),
        );
    let address = serve(http::Options::default(), router).await;
    let ask = async |path: &str| {
        let reply = reqwest::get(format!("http://{address}{path}"))
            .await
            .unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    let (status, gone) = ask("/gone").await;
    assert!(
        status == 404 && gone.contains("urn:nats-serve:problem:not_found"),
        "{gone}"
    );
    assert_eq!((418, String::new()), ask("/teapot").await);
    let busy = reqwest::get(format!("http://{address}/busy"))
        .await
        .unwrap();
    assert_eq!("120", busy.headers()["retry-after"]);
    assert_eq!("application/problem+json", busy.headers()["content-type"]);
    assert_eq!((409, "mine".to_owned()), ask("/own").await);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let options = http::Options {
        max_body: 8,
        rate_limit: NonZeroU32::new(1_000),
        ..http::Options::default()
    };
    let address = edge(options).await;
    for (what, head) in [
        (
            "announced",
            "content-length: 9\r\nexpect: 100-continue\r\n\r\n",
        ),
        (
            "sent in chunks",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n",
        ),
    ] {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let request = format!("POST /echo HTTP/1.1\r\nhost: x\r\n{head}");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        timeout(PATIENCE, connection.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!("HTTP/1.1 413", String::from_utf8_lossy(&answer), "{what}");
    }
    let url = format!("http://{address}/echo");
    eventually("what fits", async || {
        let sent = reqwest::Client::new().post(&url).body("just fit").send();
        (sent.await.unwrap().status() == 200).then_some(())
    })
    .await;
}
