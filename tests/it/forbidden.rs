//! What a caller does where NATS refuses a part of what it needs: no more is lost than that part.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use nats_serve::{
    Client, Instance, Operation, Replica, Service, Shutdown,
    client::{Options, Unanswered},
};

use crate::support::{Server, Stack, eventually, nats::with_key_of, process};

const DATABASE: Service = Service::new("database-service").with_subject("database");
const USER: Service = Service::new("user-service").with_subject("user");

struct Write;
impl Operation for Write {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "write";
    type Request = u64;
    type Reply = u64;
}

struct Read;
impl Operation for Read {
    const SERVICE: Service = DATABASE;
    const NAME: &'static str = "read";
    const IDEMPOTENT: bool = true;
    type Request = u64;
    type Reply = u64;
}

/// A server on which the user service may not use single replicas of the database service, and one of these, which
/// counts what it begins.
async fn without_single_replicas() -> (Server, Arc<AtomicUsize>) {
    let changes = [(
        "\"inst.database.*.*\"            # also at single replicas",
        "# not at single replicas",
    )];
    let nats = Server::start_changed(&changes).await;
    let begun = Arc::<AtomicUsize>::default();
    let (reads, writes) = (Arc::clone(&begun), Arc::clone(&begun));
    let sleep = async |ms| {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(ms)
    };
    let database = keyed(DATABASE, &nats).await;
    let replica = Replica::new(&database)
        .handle::<Write>(move |_ctx, ms| {
            writes.fetch_add(1, Relaxed);
            sleep(ms)
        })
        .handle::<Read>(move |_ctx, ms| {
            reads.fetch_add(1, Relaxed);
            sleep(ms)
        });
    let running = replica.start().await.unwrap();
    tokio::spawn(async move { running.until(&Shutdown::new()).await });
    (nats, begun)
}

async fn keyed(service: Service, nats: &Server) -> Client {
    let file = nats
        .nkeys()
        .unwrap()
        .join(format!("{}.nk", service.subject()));
    let options = Options {
        url: nats.url(),
        nkey: Some(fs::read_to_string(file).unwrap().parse().unwrap()),
        request_timeout: Duration::from_secs(10),
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(service), options)
        .await
        .unwrap();
    client.ready().await;
    client
}

#[tokio::test]
async fn a_forbidden_ping_is_named_and_taken_for_no_silence() {
    let (nats, begun) = without_single_replicas().await;
    let client = keyed(USER, &nats).await;
    assert_eq!(2_000, client.call::<Read>(&2_000).await.unwrap());
    assert_eq!(
        1,
        begun.load(Relaxed),
        "a replica that said that it works is waited for"
    );
    let reason = client.health().report().await.reason();
    assert!(
        reason
            .unwrap()
            .contains("NATS forbids publishing to inst.database.")
    );
}

#[tokio::test]
async fn a_call_that_is_being_worked_on_is_not_forbidden_by_another() {
    let (nats, begun) = without_single_replicas().await;
    let client = keyed(USER, &nats).await;
    let long = tokio::spawn({
        let client = client.clone();
        async move { client.call::<Write>(&3_000).await }
    });
    eventually("a write that is begun", async || {
        (begun.load(Relaxed) == 1).then_some(())
    })
    .await;
    // A member that is silent, so that the client steers to the other, which it may not.
    let silent = with_key_of("database", &nats)
        .connect(nats.url())
        .await
        .unwrap();
    let silence = silent.queue_subscribe("svc.database.read", "database".to_owned());
    let _silence = silence.await.unwrap();
    silent.flush().await.unwrap();
    for _ in 0..12 {
        let read = client.call::<Read>(&0).await;
        let how = read.err().and_then(|status| status.unanswered());
        assert_ne!(Some(Unanswered::Forbidden), how, "the group is open to it");
    }
    assert_eq!(3_000, long.await.unwrap().unwrap());
}

#[tokio::test]
async fn an_event_that_is_forbidden_is_not_taken_for_published() {
    let changes = [(
        "\"evt.user.registered\"          # it tells",
        "# it does not tell",
    )];
    let stack = Stack::on(Server::start_changed(&changes).await, &[]).await;
    assert_eq!(
        201,
        stack.register("David", "david@example.com").await.status
    );
    eventually("an event that waits", async || {
        let arguments = ["outbox", "--json"];
        let (_, said) = process::run(stack.folder(), &arguments, &stack.nats_variables());
        let list: serde_json::Value = serde_json::from_str(&said).ok()?;
        let event = list["entries"]
            .as_array()?
            .iter()
            .find(|one| one["kind"] == "event")?;
        // Not sent, and not with its first holder any more: he was told that it failed.
        (event["is_leased"] == false && event["delivery"] == "pending").then_some(())
    })
    .await;
}
