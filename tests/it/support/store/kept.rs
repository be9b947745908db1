//! What a store keeps, and for how long.

use nats_serve::Code;

use super::{Database, request};
use crate::support::eventually;

/// Checks it; `sql` runs a statement in it and returns the number that was found.
pub(crate) async fn removes_what_is_past_its_time(
    mut store: Database,
    sql: impl AsyncFn(&str) -> i64,
) {
    let old = request("David", "david@example.com");
    store.store(&old).await.unwrap();
    store.stack.leave("database-1").await;
    sql("UPDATE registrations SET expires_at = 1").await;
    sql("UPDATE outbox SET created_at = 1, status = CASE kind WHEN 'mail' THEN 'failed' ELSE 'sent' END").await;
    store.stack.add("database-1", "database-service");
    store.stack.ready("database-1").await;
    store
        .store(&request("Eve", "eve@example.com"))
        .await
        .unwrap();
    eventually("nothing of David's registration but the user", async || {
        let keys = sql("SELECT count(*) FROM registrations").await;
        let entries = sql("SELECT count(*) FROM outbox").await;
        ((keys, entries) == (1, 2)).then_some(())
    })
    .await;
    assert_eq!(5, sql("SELECT count(*) FROM users").await);
    for last in [
        // Nobody is there who would begin to send it: after a day that is a try.
        "tries = 7, created_at = created_at - 90000000",
        // Whoever took it never came to note anything.
        "tries = 8, created_at = created_at + 90000000, holder = 'gone', status = 'pending'",
    ] {
        sql(&format!(
            "UPDATE outbox SET due_at = 1, {last} WHERE kind = 'mail'"
        ))
        .await;
        eventually("a mail that has failed", async || {
            let failed = sql("SELECT count(*) FROM outbox WHERE status = 'failed'").await;
            (failed == 1).then_some(())
        })
        .await;
    }
    let again = store.store(&request("David", "david@example.com")).await;
    assert_eq!(Code::Conflict, again.unwrap_err().code());
}
