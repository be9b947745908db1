//! A nats-server that is about to leave says so; the service goes on until it sends its clients away, and heals
//! when another has taken its place.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::{
    bench::{Bench, ONE_EACH, shared_turn},
    load::Load,
    settings::figure,
    support::{Server, eventually},
};

#[tokio::test]
async fn a_lame_duck_is_noticed_and_service_goes_on() {
    let _turn = shared_turn().await;
    // It serves for so long after the word, and then sends one client a second away.
    let grace = (
        "ping_interval:",
        "lame_duck_grace_period: \"4s\"\nping_interval:",
    );
    let nats = Server::start_changed(&[grace]).await;
    let mut bench = Bench::on(nats, &ONE_EACH, &[]).await;
    let started = Instant::now();
    let load = Load::start(bench.get_user("gateway-1"), 100);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let lame = bench.stack.nats.take().unwrap();
    // What `nats-server --signal ldm` sends.
    lame.signal(Signal::USR2);
    let told = Instant::now();
    for (service, _) in ONE_EACH {
        let name = format!("{service}-1");
        let process = bench.stack.processes.get_mut(&name).unwrap();
        process.says("the NATS server is about to leave").await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    // What is under way when it sends them away may be lost; what was sent before that has ended by then.
    let leaving = Instant::now();
    let left = lame.ended().await;
    figure(
        "lame duck, gone by itself after",
        format!("{:.1?}", told.elapsed()),
    );
    let replaced = Instant::now();
    bench.stack.nats = Some(left.start_again().await);
    let first = eventually("a success", async || load.success_since(replaced)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let healed = Instant::now();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let report = load.stop().await;
    let lame = report.between(started, leaving);
    figure("lame duck, before it left", &lame);
    figure(
        "lame duck replaced, first success after",
        format!("{:.1?}", first - replaced),
    );
    lame.assert_no_failure();
    report.between(healed, Instant::now()).assert_no_failure();
}
