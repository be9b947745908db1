//! What every store promises, whatever its kind: asked through the database service, of real processes.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use futures_util::future::join_all;
use nats_serve::{
    Client, Code, Status,
    app::api::{
        Key, User,
        database::{CreateUser, CreateUserRequest, GetUser, GetUserRequest, UserRecord},
    },
};

use super::{
    Server, Stack,
    echo::{CALLER, connect},
    eventually,
};

/// Checks all of it; `fresh` returns the settings of a store that nobody has used yet.
pub(crate) async fn holds_the_contract(
    mut fresh: impl AsyncFnMut() -> Vec<(&'static str, String)>,
) {
    the_first_users_are_there_and_ids_are_numbers(Database::start(1, &fresh().await).await).await;
    what_was_written_is_read_as_it_was(Database::start(1, &fresh().await).await).await;
    an_address_registers_once_in_whatever_case(Database::start(1, &fresh().await).await).await;
    of_parallel_writes_of_an_address_one_wins(Database::start(3, &fresh().await).await).await;
    users_survive_a_restart(Database::start(1, &fresh().await).await).await;
    ten_replicas_may_start_together_on_a_new_store(Database::start(10, &fresh().await).await).await;
}

/// Replicas of the database service on one store, and a caller of them.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) stack: Stack,
    client: Client,
}

impl Database {
    /// Starts all replicas at the same moment, and waits until they serve.
    pub(crate) async fn start(replicas: usize, settings: &[(&'static str, String)]) -> Self {
        let variables: Vec<_> = settings
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let nats = Server::start().await;
        let client = connect(CALLER, &nats).await;
        let mut stack = Stack::empty(nats, &variables);
        let names: Vec<_> = (1..=replicas).map(|n| format!("database-{n}")).collect();
        for name in &names {
            stack.add(name, "database-service");
        }
        for name in &names {
            stack.ready(name).await;
        }
        Self { stack, client }
    }

    pub(crate) async fn user(&self, id: &str) -> Result<UserRecord, Status> {
        let user_id = id.to_owned();
        self.client
            .call::<GetUser>(&GetUserRequest { user_id })
            .await
    }

    /// Creates a user; asks again where the store was too busy to begin, as a slow disk makes it.
    pub(crate) async fn create(&self, name: &str, email: &str) -> Result<User, Status> {
        eventually("a store that has time", async || {
            let created = self.create_at_once(name, email).await;
            let is_busy = matches!(&created, Err(status) if status.code() == Code::Unavailable);
            (!is_busy).then_some(created)
        })
        .await
    }

    pub(crate) async fn create_at_once(&self, name: &str, email: &str) -> Result<User, Status> {
        let request = request(name, email);
        let created = self.client.call::<CreateUser>(&request).await;
        created.map(|created| created.user)
    }
}

/// Asks for a user with a key of its own, and a mail that nobody will send before the lease is over.
fn request(name: &str, email: &str) -> CreateUserRequest {
    let one = NEXT.fetch_add(1, Ordering::Relaxed);
    CreateUserRequest {
        name: name.to_owned(),
        email: email.to_owned(),
        key: Key {
            id: format!("key-{one}"),
            body: format!("{name} {email}"),
            keep_s: 3600,
        },
        registration_id: format!("registration-{one}"),
        holder: format!("holder-{one}"),
        is_repeated: false,
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

async fn the_first_users_are_there_and_ids_are_numbers(store: Database) {
    for (id, name) in [("1", "Alice"), ("2", "Bob"), ("3", "Charlie")] {
        let record = store.user(id).await.unwrap();
        let email = format!("{}@example.com", name.to_lowercase());
        assert_eq!(
            (id, name, &email),
            (&*record.user.id, &*record.user.name, &record.user.email)
        );
        let data = record.profile_data;
        assert_eq!(Some("2024-08-29T10:00:00Z"), data.last_login.as_deref());
        assert_eq!(
            ("dark", true),
            (&*data.preferences.theme, data.preferences.notifications)
        );
    }
    for nobody in [
        "0",
        "4",
        "-1",
        "x",
        "",
        "+1",
        "01",
        " 1",
        "1 OR 1=1",
        "99999999999999999999",
    ] {
        let refused = store.user(nobody).await.unwrap_err();
        assert_eq!(Code::NotFound, refused.code(), "{nobody:?}");
    }
}

async fn what_was_written_is_read_as_it_was(store: Database) {
    let odd = "Zoë 🦀 O'Brien \"x\" \\ %s; DROP TABLE users --";
    let written = store.create(odd, "Zoe@Example.com").await.unwrap();
    assert_eq!(
        ("4", odd, "Zoe@Example.com"),
        (&*written.id, &*written.name, &*written.email)
    );
    let read = store.user("4").await.unwrap();
    assert_eq!(written, read.user);
    assert_eq!(None, read.profile_data.last_login);
}

async fn an_address_registers_once_in_whatever_case(store: Database) {
    store.create("David", "David@Example.com").await.unwrap();
    for again in [
        "dAVID@eXAMPLE.COM",
        "David@Example.com",
        "alice@example.com",
    ] {
        let refused = store.create("Other", again).await.unwrap_err();
        assert_eq!(Code::Conflict, refused.code(), "{again}");
    }
}

async fn of_parallel_writes_of_an_address_one_wins(store: Database) {
    let writes = (0..50).map(|_| store.create("David", "david@example.com"));
    let written = join_all(writes).await;
    let (good, refused): (Vec<_>, Vec<_>) = written.into_iter().partition(Result::is_ok);
    assert_eq!(1, good.len());
    for refused in refused {
        assert_eq!(Code::Conflict, refused.unwrap_err().code());
    }
}

async fn users_survive_a_restart(mut store: Database) {
    let written = store.create("David", "david@example.com").await.unwrap();
    store.stack.leave("database-1").await;
    store.stack.add("database-2", "database-service");
    store.stack.ready("database-2").await;
    assert_eq!(written, store.user(&written.id).await.unwrap().user);
}

async fn ten_replicas_may_start_together_on_a_new_store(store: Database) {
    let writes = (0..30).map(|n| {
        let store = &store;
        async move { store.create("X", &format!("x{n}@example.com")).await }
    });
    let written = join_all(writes).await;
    let ids: BTreeSet<_> = written.into_iter().map(|user| user.unwrap().id).collect();
    assert_eq!(30, ids.len());
    // Made twice, the tables would hold somebody twice, or have been refused.
    assert!(!ids.contains("3") && store.user("3").await.is_ok());
}
