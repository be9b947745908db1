//! Killing one replica of three every 2 s: no `GET` fails.

use crate::{
    bench::{Bench, THREE_EACH, shared_turn},
    calls::Hops,
    load::Load,
    settings::{figure, lasting, rate},
};

#[tokio::test]
async fn a_killed_replica_costs_an_attempt_and_no_get() {
    killed("handlers of 0 ms", &[]).await;
}

#[tokio::test]
async fn a_replica_killed_in_the_middle_of_its_work_costs_an_attempt_and_no_get() {
    killed("handlers of 100 ms", &[("SIMULATED_LATENCY", "on")]).await;
}

async fn killed(how: &str, variables: &[(&str, &str)]) {
    let _turn = shared_turn().await;
    let mut bench = Bench::start(&THREE_EACH, variables).await;
    let load = Load::start(bench.get_user("gateway-1"), rate());
    let services = ["database-service", "user-service"];
    let kills = bench.kill_in_turn(&services, lasting(12)).await;
    let report = load.stop().await;
    figure(&format!("{kills} replicas killed, {how}"), &report);
    report.assert_no_failure();
    let hops = Hops::read(&bench.stack.spans());
    let repeated = ["DatabaseService", "UserService"].map(|one| hops.repeated(one, 0).len());
    let repeated: usize = repeated.iter().sum();
    figure(&format!("calls that were repeated, {how}"), repeated);
    assert!(repeated > 0, "nobody met a replica that was killed");
}
