//! What a store keeps, and for how long.

use nats_serve::{Code, app::api::outbox::Outcome};

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

/// Checks that whoever still sends a mail keeps its lease, and nobody else does.
pub(super) async fn who_still_sends_a_mail_keeps_its_lease(store: Database) {
    let one = request("David", "david@example.com");
    store.store(&one).await.unwrap();
    let due_in_ms = async || store.open_mails().await[0].due_in_ms;
    store.settle(&one, "somebody else", Outcome::UnderWay).await;
    assert!(due_in_ms().await <= 15_000);
    store.settle(&one, &one.holder, Outcome::UnderWay).await;
    let kept = due_in_ms().await;
    assert!((15_001..=20_000).contains(&kept), "{kept}");
    store.settle(&one, &one.holder, Outcome::Later).await;
    store.settle(&one, &one.holder, Outcome::UnderWay).await;
    let open = store.open_mails().await.remove(0);
    assert!(!open.is_leased && open.due_in_ms <= 2_400, "{open:?}");
    store.settle(&one, &one.holder, Outcome::Sent).await;
    store.settle(&one, &one.holder, Outcome::UnderWay).await;
    assert!(store.open_mails().await.is_empty());
}
