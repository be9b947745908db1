//! What every store promises, whatever its kind: asked through the database service, of real processes.

pub(crate) mod kept;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use nats_serve::{
    Client, Code, Replica, Shutdown, Status,
    app::api::{
        Key, User,
        database::{CreateUser, CreateUserRequest, Created, GetUser, GetUserRequest, UserRecord},
        notification::{
            MailStatus, Mailed, NOTIFICATION, Notification, SendWelcomeEmail,
            SendWelcomeEmailRequest,
        },
        outbox::{
            Delivery, Entry, Kind, ListOutbox, ListOutboxRequest, Outcome, RetryOutbox,
            RetryOutboxRequest, SettleMail, SettleMailRequest,
        },
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
    a_key_stands_for_one_registration(Database::start(1, &fresh().await).await).await;
    of_parallel_writes_with_one_key_one_is_stored(Database::start(3, &fresh().await).await).await;
    a_key_is_forgotten_after_its_time(Database::start(1, &fresh().await).await).await;
    what_was_not_begun_is_no_try(Database::start(1, &fresh().await).await).await;
    only_who_has_a_mail_may_put_it_off(Database::start(1, &fresh().await).await).await;
    kept::who_still_sends_a_mail_keeps_its_lease(Database::start(1, &fresh().await).await).await;
    what_is_left_over_is_sent_by_one_of_three_relays(Database::start(3, &fresh().await).await)
        .await;
    what_nobody_takes_has_failed_until_somebody_retries(Database::start(1, &fresh().await).await)
        .await;
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

    async fn store(&self, request: &CreateUserRequest) -> Result<Created, Status> {
        eventually("a store that has time", async || {
            let created = self.client.call::<CreateUser>(request).await;
            let is_busy = matches!(&created, Err(status) if status.code() == Code::Unavailable);
            (!is_busy).then_some(created)
        })
        .await
    }

    async fn settle(&self, of: &CreateUserRequest, holder: &str, outcome: Outcome) {
        let request = SettleMailRequest {
            registration_id: of.registration_id.clone(),
            holder: holder.to_owned(),
            outcome,
        };
        eventually("a store that has time", async || {
            self.client.call::<SettleMail>(&request).await.ok()
        })
        .await;
    }

    /// Returns the mails that are not sent yet.
    async fn open_mails(&self) -> Vec<Entry> {
        let request = ListOutboxRequest {
            only: None,
            limit: 200,
        };
        let listed = eventually("a list", async || {
            self.client.call::<ListOutbox>(&request).await.ok()
        });
        let entries = listed.await.entries.into_iter();
        entries.filter(|entry| entry.kind == Kind::Mail).collect()
    }

    /// Takes mails as the notification service does, and counts how often each is sent. Those to `refused@…` are
    /// refused until they are let through.
    async fn take_mails(&self) -> Mails {
        let client = connect(NOTIFICATION, self.stack.nats.as_ref().unwrap()).await;
        let mails = Mails::default();
        let (sent, lets_through) = (Arc::clone(&mails.sent), Arc::clone(&mails.lets_through));
        let replica = Replica::new(&client).handle::<SendWelcomeEmail>(
            move |_ctx, request: SendWelcomeEmailRequest| {
                let (sent, lets_through) = (Arc::clone(&sent), Arc::clone(&lets_through));
                async move {
                    let refused =
                        request.email.starts_with("refused") && !lets_through.load(Relaxed);
                    *sent
                        .lock()
                        .unwrap()
                        .entry(request.email.clone())
                        .or_default() += 1;
                    let notification = Notification {
                        status: match refused {
                            true => MailStatus::Failed,
                            false => MailStatus::Sent,
                        },
                        message: String::new(),
                        recipient: request.email,
                    };
                    // As an older one answers: it leaves the note to its caller.
                    Ok(Mailed {
                        notification,
                        is_noted: false,
                    })
                }
            },
        );
        let running = replica.start().await.unwrap();
        tokio::spawn(async move { running.until(&Shutdown::new()).await });
        mails
    }

    pub(crate) async fn create_at_once(&self, name: &str, email: &str) -> Result<User, Status> {
        let request = request(name, email);
        let created = self.client.call::<CreateUser>(&request).await;
        created.map(|created| created.user)
    }
}

impl Database {
    /// The same as another attempt of our own.
    pub(crate) async fn create_again(&self, name: &str, email: &str) -> Result<User, Status> {
        let request = CreateUserRequest {
            is_repeated: true,
            ..request(name, email)
        };
        let created = self.client.call::<CreateUser>(&request).await;
        created.map(|created| created.user)
    }
}

/// What a notification service of the test's own has been asked to send.
#[derive(Default)]
struct Mails {
    sent: Arc<Mutex<BTreeMap<String, usize>>>,
    lets_through: Arc<AtomicBool>,
}

impl Mails {
    fn sent(&self) -> BTreeMap<String, usize> {
        self.sent.lock().unwrap().clone()
    }
}

/// Asks for a user with a key of its own, and a mail that nobody will send before the lease is over.
fn request(name: &str, email: &str) -> CreateUserRequest {
    let one = NEXT.fetch_add(1, Relaxed);
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
        let refused = store.create("Eve", again).await.unwrap_err();
        assert_eq!(Code::Conflict, refused.code(), "{again}");
        let refused = store.create_again("Other", again).await.unwrap_err();
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
        async move { store.create("Xenia", &format!("x{n}@example.com")).await }
    });
    let written = join_all(writes).await;
    let ids: BTreeSet<_> = written.into_iter().map(|user| user.unwrap().id).collect();
    assert_eq!(30, ids.len());
    // Made twice, the tables would hold somebody twice, or have been refused.
    assert!(!ids.contains("3") && store.user("3").await.is_ok());
}

async fn a_key_stands_for_one_registration(store: Database) {
    let first = request("David", "david@example.com");
    let created = store.store(&first).await.unwrap();
    assert_eq!(first.registration_id, created.registration_id);
    assert!(created.lease_ms.is_some_and(|left| left > 10_000));
    // The same attempt, whose answer was lost, still has the mail; another has not.
    let again = store.store(&first).await.unwrap();
    assert_eq!(created.user, again.user);
    assert_eq!(created.created_at_ms, again.created_at_ms);
    assert!(
        again
            .lease_ms
            .is_some_and(|left| left > 5_000 && left <= 15_000)
    );
    let mut other = first.clone();
    "another-holder".clone_into(&mut other.holder);
    "another-registration".clone_into(&mut other.registration_id);
    let again = store.store(&other).await.unwrap();
    assert_eq!(created.registration_id, again.registration_id);
    assert_eq!((Delivery::Pending, None), (again.mail, again.lease_ms));
    store.settle(&first, &first.holder, Outcome::Sent).await;
    let again = store.store(&other).await.unwrap();
    assert_eq!(Delivery::Sent, again.mail);

    "Dave".clone_into(&mut other.name);
    "another body".clone_into(&mut other.key.body);
    let refused = store.store(&other).await.unwrap_err();
    assert_eq!(Code::Invalid, refused.code());
    assert_eq!("Idempotency-Key", refused.fields()[0].field);
    // Also where the address would be free.
    "free@example.com".clone_into(&mut other.email);
    let refused = store.store(&other).await.unwrap_err();
    assert_eq!(Code::Invalid, refused.code());
    assert_eq!(Code::NotFound, store.user("5").await.unwrap_err().code());
}

async fn of_parallel_writes_with_one_key_one_is_stored(store: Database) {
    let one = request("David", "david@example.com");
    let writes = (0..30).map(|n| {
        let mut request = one.clone();
        request.holder = format!("holder-of-{n}");
        request.registration_id = format!("registration-of-{n}");
        let store = &store;
        async move { store.store(&request).await.unwrap() }
    });
    let created = join_all(writes).await;
    let ids: BTreeSet<_> = created.iter().map(|one| &one.registration_id).collect();
    assert_eq!(1, ids.len(), "{ids:?}");
    let holders = created.iter().filter(|one| one.lease_ms.is_some()).count();
    assert_eq!(1, holders, "one may send the mail");
    assert_eq!(1, store.open_mails().await.len());
}

async fn a_key_is_forgotten_after_its_time(store: Database) {
    let mut first = request("David", "david@example.com");
    first.key.keep_s = 1;
    store.store(&first).await.unwrap();
    let mut other = request("Eve", "eve@example.com");
    other.key = Key {
        body: "another".to_owned(),
        ..first.key.clone()
    };
    eventually("a key that is free again", async || {
        store.store(&other).await.ok()
    })
    .await;
    // The address is not.
    let again = store.store(&request("David", "david@example.com")).await;
    assert_eq!(Code::Conflict, again.unwrap_err().code());
}

async fn what_was_not_begun_is_no_try(store: Database) {
    let one = request("David", "david@example.com");
    store.store(&one).await.unwrap();
    let holder = one.holder.clone();
    store.settle(&one, "somebody else", Outcome::NotBegun).await;
    assert!(store.open_mails().await[0].is_leased);
    store.settle(&one, &holder, Outcome::NotBegun).await;
    // Nobody is there who would send it: whoever takes it meanwhile puts it off in the same way.
    let open = eventually("a mail that nobody has", async || {
        let open = store.open_mails().await.remove(0);
        (!open.is_leased).then_some(open)
    })
    .await;
    assert_eq!(0, open.tries);
    assert!(open.due_in_ms <= 6_000, "{open:?}");
}

async fn only_who_has_a_mail_may_put_it_off(store: Database) {
    let first = request("David", "david@example.com");
    store.store(&first).await.unwrap();
    for outcome in [Outcome::Later, Outcome::Failed] {
        store.settle(&first, "somebody-else", outcome).await;
        let open = store.open_mails().await;
        assert!(
            open[0].is_leased && open[0].delivery == Delivery::Pending,
            "{open:?}"
        );
    }
    store.settle(&first, &first.holder, Outcome::Later).await;
    let open = store.open_mails().await;
    assert!(!open[0].is_leased && open[0].due_in_ms <= 2_400, "{open:?}");
    // That it was sent is a fact, whoever says so.
    store.settle(&first, "somebody-else", Outcome::Sent).await;
    assert_eq!(Vec::<Entry>::new(), store.open_mails().await);
    store.settle(&first, &first.holder, Outcome::Failed).await;
    assert_eq!(Vec::<Entry>::new(), store.open_mails().await);
}

async fn what_is_left_over_is_sent_by_one_of_three_relays(store: Database) {
    let mails = store.take_mails().await;
    let requests: Vec<_> = (0..40)
        .map(|n| request("Xenia", &format!("x{n}@example.com")))
        .collect();
    for request in &requests {
        store.store(request).await.unwrap();
        store.settle(request, &request.holder, Outcome::Later).await;
    }
    eventually("all mails", async || {
        store.open_mails().await.is_empty().then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = mails.sent();
    assert_eq!(40, sent.len());
    assert!(sent.values().all(|times| *times == 1), "{sent:?}");
}

async fn what_nobody_takes_has_failed_until_somebody_retries(store: Database) {
    let mails = store.take_mails().await;
    let refused = request("Xenia", "refused@example.com");
    store.store(&refused).await.unwrap();
    store
        .settle(&refused, &refused.holder, Outcome::Later)
        .await;
    eventually("a mail that has failed", async || {
        let open = store.open_mails().await;
        (open[0].delivery == Delivery::Failed).then_some(())
    })
    .await;
    mails.lets_through.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(1, mails.sent()["refused@example.com"]);
    let all = RetryOutboxRequest::Failed;
    let retried = store.client.call::<RetryOutbox>(&all).await.unwrap();
    assert_eq!(1, retried.entries);
    eventually("no open mail", async || {
        store.open_mails().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(2, mails.sent()["refused@example.com"]);
}
