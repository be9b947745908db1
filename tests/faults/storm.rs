//! Everything asks for a service that isn't there: repeating stays within the budget.

use std::time::Duration;

use crate::{
    bench::{Bench, turn},
    calls::{Hops, now},
    load::Load,
    settings::{figure, lasting},
};

/// The budget's window is 10 s. Its minimum of 100 is spent in a burst, at the start and again whenever that
/// is 10 to 11 s past: counting begins between two bursts, for one window.
const FILLED: Duration = Duration::from_secs(13);

#[tokio::test]
async fn attempts_on_what_is_away_stay_within_the_budget() {
    let _turn = turn().await;
    let services = [("user-service", 1), ("gateway", 1)];
    let bench = Bench::start(&services, &[]).await;
    let load = Load::start(bench.get_user("gateway-1"), 200);
    tokio::time::sleep(FILLED).await;
    let filled = now();
    tokio::time::sleep(lasting(10)).await;
    let report = load.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let hops = Hops::read(&bench.stack.spans());
    let database = hops.calls_of("DatabaseService", filled);
    figure("database away", &report);
    figure(
        "database away, attempts a call",
        format!("{:.3}", database.attempts_a_call()),
    );
    assert_eq!(report.len(), report.failed());
    assert!(database.calls > 0);
    assert!(database.attempts_a_call() <= 1.2, "{database:?}");
    let user = hops.calls_of("UserService", filled);
    assert!(user.attempts_a_call() <= 1.2, "{user:?}");
}
