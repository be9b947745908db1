//! A collector that is away, silent or slow: requests don't notice, nothing piles up, what is lost is counted and said,
//! and nobody waits for it in the end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use nats_serve::traces::Selector;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    bench::{Bench, ONE_EACH, turn},
    load::Load,
    receiver::{Manner, Receiver},
    settings::{figure, lasting, rate, strict},
    stalls,
    stopwatch::percentile,
    support::{Process, eventually, stack::trace_in},
};

/// Nobody listens on this port, and only root could.
const NOBODY: &str = "http://127.0.0.1:1";
/// How long a collector takes whom exporters give up at about the same time.
const SLOW: Duration = Duration::from_secs(10);
/// How long one takes that is on another continent.
const FAR: Duration = Duration::from_millis(200);
/// Requests that make more spans in a gateway, four each, than may wait for a collector.
const MANY: usize = 3_200;
const CONNECTIONS: usize = 8;
/// A slice of the load, after which the other gateway has its turn.
const SLICE: Duration = Duration::from_secs(1);
/// What it costs at most is 5 %, and this is ten times that.
const AT_MOST: f64 = 1.5;
/// Several times what the 8,192 spans have that may wait.
const MEMORY: f64 = 64e6;
const EXIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_collector_that_refuses_costs_spans_and_nothing_else_by_http() {
    costs_spans_and_nothing_else("refusing", NOBODY, "http/protobuf").await;
}

#[tokio::test]
async fn a_collector_that_refuses_costs_spans_and_nothing_else_by_grpc() {
    costs_spans_and_nothing_else("refusing", NOBODY, "grpc").await;
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_spans_and_nothing_else_by_http() {
    let silent = Receiver::start(Manner::Silent).await;
    costs_spans_and_nothing_else("silent", silent.endpoint(), "http/protobuf").await;
}

#[tokio::test]
async fn a_collector_that_never_answers_costs_spans_and_nothing_else_by_grpc() {
    let silent = Receiver::start(Manner::Silent).await;
    costs_spans_and_nothing_else("silent", silent.endpoint(), "grpc").await;
}

#[tokio::test]
async fn a_collector_that_takes_ten_seconds_costs_spans_and_nothing_else() {
    let slow = Receiver::start(Manner::Answering(SLOW)).await;
    costs_spans_and_nothing_else("10 s slow", slow.endpoint(), "http/protobuf").await;
}

/// Compares an application that sends to a collector with one beside it that sends to none.
async fn costs_spans_and_nothing_else(how: &str, endpoint: &str, protocol: &str) {
    let _turn = turn().await;
    let what = format!("collector {how}, {protocol}");
    let mut sending = sending_to(endpoint, protocol).await;
    let mut alone = Bench::start(&ONE_EACH, &[]).await;
    let began = Instant::now();
    let urls = [&sending, &alone].map(|bench| bench.get_user("gateway-1"));
    for url in &urls {
        request_many(url).await;
    }
    let lost = eventually("lost spans", async || {
        let lost = dropped(&sending, "otlp").await;
        (lost > 0.0).then_some(lost)
    })
    .await;
    figure(&what, format!("{lost} spans of 12800 lost by then"));
    compare(&what, &urls).await;

    let [with, without] = [memory(&sending).await, memory(&alone).await];
    let megabytes = [with, without].map(|bytes| format!("{:.1} MB", bytes / 1e6));
    figure(
        &format!("{what}, resident with, without"),
        megabytes.join(", "),
    );
    assert!(with - without < MEMORY, "{megabytes:?}");
    for at in ["queue", "files"] {
        assert_eq!(0.0, dropped(&sending, at).await, "{at}");
    }

    let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap();
    let (took, said) = leave(&mut sending).await;
    figure(
        &format!("{what}, exit"),
        format!("{:.1} s", took.as_secs_f64()),
    );
    assert!(
        took < EXIT || (!strict() && stalls::concern(Instant::now() - took, Instant::now())),
        "{took:?}"
    );
    let warnings = said["gateway-1"].matches("sending spans by OTLP").count();
    figure(&format!("{what}, warnings in {minutes} min"), warnings);
    assert!(
        (1..=1 + minutes).contains(&warnings),
        "{}",
        said["gateway-1"]
    );
    // A notification service that nobody has called has nothing to lose.
    for service in ["gateway-1", "user-service-1", "database-service-1"] {
        assert_accounts(&said[service]);
    }
    for (name, said) in leave(&mut alone).await.1 {
        assert!(!said.contains("spans"), "{name}: {said}");
    }
}

async fn sending_to(endpoint: &str, protocol: &str) -> Bench {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ];
    Bench::start(&ONE_EACH, &variables).await
}

/// Sends some requests at a time, as fast as they are answered.
async fn request_many(url: &str) {
    let client = reqwest::Client::new();
    let mut workers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, url) = (client.clone(), url.to_owned());
        workers.spawn(async move {
            for _ in 0..MANY / CONNECTIONS {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(200, answer.status());
                answer.bytes().await.unwrap();
            }
        });
    }
    workers.join_all().await;
}

/// Sends a load in turns to the one and to the other, and compares how long it took.
async fn compare(what: &str, urls: &[String; 2]) {
    let load = Load::start(urls[0].clone(), rate());
    let slices = lasting(8).as_secs();
    let mut turns = Vec::new();
    for nth in 0..slices {
        let url = usize::try_from(nth % 2).unwrap();
        load.aim_at(urls[url].clone());
        let from = Instant::now();
        sleep(SLICE).await;
        turns.push((url, from, Instant::now()));
    }
    let report = load.stop().await;
    let is_measured = report.assert_no_failure();
    // Every nth of a gateway's turns.
    let of = |url: usize, nth: usize| {
        let turns = turns.iter().filter(|(which, ..)| *which == url);
        let slices = turns
            .step_by(nth)
            .map(|(_, from, to)| report.between(*from, *to));
        slices.flat_map(|slice| slice.took()).collect::<Vec<_>>()
    };
    for percent in [50, 99] {
        let times = [of(0, 1), of(1, 1), of(1, 2)].map(|times| percentile(times, percent));
        let [with, without, some] = times.map(|time| time.as_secs_f64());
        let ratio = with / without;
        figure(
            &format!("{what}, p{percent} with, without"),
            format!("{:.2?}, {:.2?}, ratio {ratio:.3}", times[0], times[1]),
        );
        let chance = some / without;
        figure(
            &format!("{what}, p{percent} of half of the latter"),
            format!("ratio {chance:.3}"),
        );
        assert!(percent != 50 || !is_measured || ratio < AT_MOST, "{ratio}");
    }
}

/// Has everybody leave at once, and returns how long that took and what each has said.
async fn leave(bench: &mut Bench) -> (Duration, BTreeMap<String, String>) {
    let began = Instant::now();
    let mut processes = std::mem::take(&mut bench.stack.processes);
    for process in processes.values() {
        process.signal(Signal::TERM);
    }
    for process in processes.values_mut() {
        let status = process.ended().await;
        assert!(status.success(), "{status}: {}", process.output());
    }
    let took = began.elapsed();
    let said = |(name, process): (String, Process)| (name, process.output());
    (took, processes.into_iter().map(said).collect())
}

/// Checks that the last words tell what became of each span.
#[track_caller]
fn assert_accounts(said: &str) {
    let mut last = said.lines().filter(|line| line.contains("not all spans"));
    let (Some(line), None) = (last.next(), last.next()) else {
        panic!("one line about all spans in {said}");
    };
    let line: Value = serde_json::from_str(line).unwrap();
    let number = |key: &str| {
        let number = line[key].as_u64();
        number.unwrap_or_else(|| panic!("{key} in {line}"))
    };
    let recorded = number("recorded");
    assert_eq!(recorded, number("written"), "{line}");
    assert!(number("dropped_for_otlp") > 0, "{line}");
    assert_eq!(
        recorded,
        number("sent") + number("dropped_for_otlp"),
        "{line}"
    );
}

async fn dropped(bench: &Bench, at: &str) -> f64 {
    let series = format!("nats_serve_spans_dropped_total{{at=\"{at}\"}}");
    value(bench, &series).await
}

async fn exported(bench: &Bench) -> f64 {
    value(bench, "nats_serve_spans_exported_total{exporter=\"otlp\"}").await
}

async fn memory(bench: &Bench) -> f64 {
    value(bench, "process_resident_memory_bytes").await
}

/// One of the gateway's metrics.
async fn value(bench: &Bench, series: &str) -> f64 {
    let text = bench.stack.metrics("gateway-1").await;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("no {series} in {text}"))
}

#[tokio::test]
async fn a_collector_that_is_far_away_gets_every_span() {
    let _turn = turn().await;
    let far = Receiver::start(Manner::Answering(FAR)).await;
    let mut bench = sending_to(far.endpoint(), "http/protobuf").await;
    let load = Load::start(bench.get_user("gateway-1"), rate());
    sleep(lasting(5)).await;
    let report = load.stop().await;
    report.assert_no_failure();
    let (_, said) = leave(&mut bench).await;
    for (name, said) in said {
        assert!(!said.contains("spans"), "{name}: {said}");
    }
    let exports = far.exports();
    figure(
        "collector 200 ms away",
        format!("no span lost in {exports} exports; {report}"),
    );
}

#[tokio::test]
async fn a_collector_that_is_back_is_sent_what_comes_then() {
    let _turn = turn().await;
    let collector = Receiver::start(Manner::HangingUp).await;
    let mut bench = sending_to(collector.endpoint(), "http/protobuf").await;
    let url = bench.get_user("gateway-1");
    let get = async || {
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!(200, answer.status());
    };
    get().await;
    eventually("lost spans", async || {
        (dropped(&bench, "otlp").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(0.0, exported(&bench).await);
    collector.becomes(Manner::Answering(Duration::ZERO));
    eventually("spans that arrive", async || {
        get().await;
        (exported(&bench).await > 0.0).then_some(())
    })
    .await;
    let gateway = bench.stack.processes.get_mut("gateway-1").unwrap();
    gateway.says(": works again").await;
    assert_eq!(2, gateway.output().matches("sending spans by OTLP").count());
    // The files had them all the time.
    let spans = bench.stack.spans();
    let last = nats_serve::traces::read(&spans, &Selector::Last).unwrap();
    trace_in(&spans, &last.id().to_string(), 7).await;
    leave(&mut bench).await;
}
