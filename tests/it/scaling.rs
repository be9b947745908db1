//! More processes are more replicas.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Stack, process};

#[tokio::test]
async fn a_second_process_is_a_second_replica() {
    let mut stack = Stack::start().await;
    stack.add("second", "user-service");
    stack.ready("second").await;

    let work = (0..8).map(|_| async {
        let mut replies = Vec::new();
        for _ in 0..25 {
            replies.push(stack.get("/user/1").await);
        }
        replies
    });
    let mut by_replica = BTreeMap::<String, usize>::new();
    for reply in futures_util::future::join_all(work)
        .await
        .into_iter()
        .flatten()
    {
        assert_eq!(200, reply.status);
        let trace = stack.trace(&reply, 7).await;
        let handled = trace.rows().nth(4).unwrap().span;
        let replica = handled.text("replica_id").unwrap();
        assert_eq!(Some(replica), handled.instance.as_deref());
        *by_replica.entry(replica.to_owned()).or_default() += 1;
    }
    assert_eq!(2, by_replica.len(), "{by_replica:?}");

    let (good, text) = process::run(
        stack.folder(),
        &["status", "--json"],
        &stack.nats_variables(),
    );
    assert!(good, "{text}");
    let status: Vec<Value> = serde_json::from_str(&text).unwrap();
    let gateway = status.iter().find(|replica| replica["name"] == "gateway");
    let load = &gateway.unwrap()["endpoints"][0]["data"];
    assert_eq!(
        (0, 512),
        (
            load["ongoing"].as_u64().unwrap(),
            load["limit"].as_u64().unwrap()
        )
    );
    let users: BTreeMap<String, u64> = status
        .iter()
        .filter(|replica| replica["name"] == "user-service")
        .map(|replica| {
            let id = replica["id"].as_str().unwrap().to_owned();
            (
                id,
                replica["endpoints"][0]["num_requests"].as_u64().unwrap(),
            )
        })
        .collect();
    for (replica, requests) in by_replica {
        assert_eq!(requests as u64, users[&replica]);
    }
}

#[tokio::test]
async fn status_shows_who_is_there() {
    let stack = Stack::start().await;
    assert_eq!(200, stack.get("/user/1").await.status);
    let (good, text) = process::run(stack.folder(), &["status"], &stack.nats_variables());
    assert!(good, "{text}");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        [
            "SERVICE", "REPLICA", "UPTIME", "REQUESTS", "ERRORS", "LOAD", "QUEUE", "LATE"
        ]
        .as_slice(),
        rows[0]
    );
    let services: Vec<&str> = rows[1..].iter().map(|row| row[0]).collect();
    assert_eq!(
        [
            "database-service",
            "gateway",
            "notification-service",
            "user-service"
        ]
        .as_slice(),
        services
    );
    assert_eq!(
        ["1", "0", "0/256", "0", "0"].as_slice(),
        &rows[4][3..],
        "{text}"
    );
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
}

#[tokio::test]
async fn without_a_running_system_status_says_so_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let (good, text) = process::run(folder.path(), &["status"], &[]);
    assert!(!good);
    assert_eq!(1, text.lines().count(), "{text}");
    assert!(
        text.contains("no running system was found in this folder"),
        "{text}"
    );

    let nobody = [("NATS_URL", "nats://127.0.0.1:1")];
    let (good, text) = process::run(folder.path(), &["status"], &nobody);
    assert!(!good);
    assert_eq!(1, text.lines().count(), "{text}");
    assert!(
        text.contains("NATS can't be reached at nats://127.0.0.1:1"),
        "{text}"
    );
}
