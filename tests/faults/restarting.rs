//! Rolling restarts of everything under load: no `GET` and no keyed registration fails, and each process ends well, in its time.

use std::time::{Duration, Instant};

use crate::{
    bench::{Bench, shared_turn},
    load::{Load, Report},
    proxy::Proxy,
    registered::assert_each_once,
    settings::{figure, rate, strict},
    stalls,
    support::{Process, Server},
};

/// A round restarts all of them.
const SERVICES: [(&str, usize); 4] = [
    ("database-service", 3),
    ("notification-service", 2),
    ("user-service", 3),
    ("gateway", 1),
];
const LEAVES: usize = 20;
/// `SHUTDOWN_GRACE`, and the time for the last spans.
const GRACE: Duration = Duration::from_secs(12);

#[tokio::test]
async fn a_rolling_restart_costs_no_get() {
    let _turn = shared_turn().await;
    let nats = Server::start_secured().await;
    let mut bench = Bench::on(nats, &SERVICES, &[("SIMULATED_LATENCY", "on")]).await;
    let load = Load::start(bench.get_user("gateway-1"), rate());
    restart(&mut bench, load, Bench::get_user, "loopback").await;
}

#[tokio::test]
async fn a_rolling_restart_over_a_slow_network_costs_no_get() {
    let _turn = shared_turn().await;
    let nats = Server::start_secured().await;
    let network = Proxy::slow(&nats, Duration::from_millis(3)).await;
    let variables = [("NATS_URL", network.url())];
    let variables = variables
        .each_ref()
        .map(|(name, url)| (*name, url.as_str()));
    let mut bench = Bench::on(nats, &SERVICES, &variables).await;
    let load = Load::start(bench.get_user("gateway-1"), rate());
    restart(&mut bench, load, Bench::get_user, "3 ms each way").await;
}

#[tokio::test]
async fn a_rolling_restart_costs_no_keyed_registration() {
    let _turn = shared_turn().await;
    let mut bench = Bench::start(&SERVICES, &[]).await;
    let load = Load::registering(bench.register("gateway-1"), rate() / 2);
    let report = restart(&mut bench, load, Bench::register, "registrations").await;
    assert_each_once(&bench, &report, 0).await;
}

async fn restart(
    bench: &mut Bench,
    load: Load,
    url: impl Fn(&Bench, &str) -> String,
    how: &str,
) -> Report {
    let mut leaving = Vec::new();
    while leaving.len() < LEAVES {
        // One replica of each service at a time, as if each were rolled out by its own team.
        for round in 0..3 {
            let others = SERVICES.iter().filter(|(name, _)| *name != "gateway");
            let services: Vec<_> = others.filter(|(_, replicas)| round < *replicas).collect();
            let names: Vec<_> = (services.iter())
                .map(|(service, _)| bench.replicas(service)[0].clone())
                .collect();
            leaving.extend(leave(bench, &names).await);
            for (service, _) in services {
                bench.add(service).await;
            }
        }
        let old = bench.replicas("gateway");
        let new = bench.add("gateway").await;
        load.aim_at(url(bench, &new));
        // A balancer stops sending before a gateway is told to leave.
        tokio::time::sleep(Duration::from_secs(1)).await;
        leaving.extend(leave(bench, &old).await);
    }
    let report = load.stop().await;
    let longest = leaving.iter().max().unwrap();
    figure(
        &format!("{} restarts, {how}", leaving.len()),
        format!("{report}; the slowest left in {longest:.1?}"),
    );
    report.assert_no_failure();
    assert!(*longest < GRACE, "{longest:?}");
    report
}

/// Tells processes to leave, and returns how long each took.
async fn leave(bench: &mut Bench, names: &[String]) -> Vec<Duration> {
    let told = Instant::now();
    let take = |name| bench.stack.processes.remove(name).unwrap();
    let mut processes: Vec<Process> = names.iter().map(take).collect();
    for process in &processes {
        process.signal(rustix::process::Signal::TERM);
    }
    let mut took = Vec::new();
    for process in &mut processes {
        assert!(process.ended().await.success(), "{}", process.output());
        // Calls that can be repeated hide what leaving loses; the process itself counts it.
        let said = process.output();
        let excused = !strict() && stalls::concern(told, Instant::now());
        assert!(excused || !said.contains("messages came after"), "{said}");
        bench.keep_words_of(process);
        took.push(told.elapsed());
    }
    took
}
