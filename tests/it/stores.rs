//! SQLite keeps the contract of stores, and a setting that names no store is an error that helps.

use std::time::{Duration, Instant};

use nats_serve::Code;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, sqlite::SqliteConnectOptions};

use crate::support::{
    Process, Server, Stack, eventually, process,
    stack::SERVICES,
    store::{self, Database},
};

#[tokio::test]
async fn sqlite_holds_the_contract_of_stores() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    store::holds_the_contract(async || {
        number += 1;
        let file = folder.path().join(format!("{number}.db"));
        vec![("DATABASE_URL", format!("sqlite://{}", file.display()))]
    })
    .await;
}

#[tokio::test]
async fn sqlite_removes_what_is_past_its_time() {
    let store = Database::start(1, &[]).await;
    let file = store.stack.folder().join(".nats-serve/nats-serve.db");
    let sql = async |sql: &str| {
        let options = SqliteConnectOptions::new().filename(&file);
        let mut other = options.connect().await.unwrap();
        let found = sqlx::query_scalar(AssertSqlSafe(sql));
        let found = found.fetch_optional(&mut other).await.unwrap();
        found.unwrap_or_default()
    };
    store::kept::removes_what_is_past_its_time(store, sql).await;
}

#[tokio::test]
async fn a_store_that_cant_be_named_is_an_error_that_quotes_no_password() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("password"), "hunter2").unwrap();
    let nats = ("NATS_URL", "nats://127.0.0.1:1");
    for (url, file, words) in [
        (
            "mysql://user:hunter2@host/x",
            "",
            "names no store that is known here",
        ),
        ("hunter2", "", "names no store that is known here"),
        ("sqlite://:memory:", "", "names no SQLite file"),
        ("sqlite://x.db", "password", "a SQLite file has no password"),
        (
            "postgres://user:hunter2@host/x",
            "password",
            "holds a password and DATABASE_PASSWORD_FILE names another",
        ),
        (
            "postgres://user@host/x",
            "none",
            "none can't be read; DATABASE_PASSWORD_FILE names it",
        ),
        (
            "",
            "password",
            "DATABASE_PASSWORD_FILE is set and DATABASE_URL is not",
        ),
    ] {
        let variables = [
            nats,
            ("DATABASE_URL", url),
            ("DATABASE_PASSWORD_FILE", file),
        ];
        let (good, said) = process::run(folder.path(), &["database-service"], &variables);
        assert!(
            !good && said.contains(words) && !said.contains("hunter2"),
            "{url}: {said}"
        );
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_and_the_process_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("NATS_URL", "nats://127.0.0.1:1"),
        ("DATABASE_URL", "postgres://user:hunter2@127.0.0.1:1/x"),
    ];
    let mut process = Process::start(folder.path(), &["database-service"], &variables);
    process.says("PostgreSQL is away: ").await;
    process.says("waiting for it").await;
    process.signal(rustix::process::Signal::TERM);
    assert!(process.ended().await.success());
    assert!(
        !process.output().contains("hunter2"),
        "{}",
        process.output()
    );
}

#[tokio::test]
async fn while_another_holds_the_sqlite_file_writes_say_so_soon_and_reads_go_on() {
    let stack = Stack::start().await;
    let file = stack.folder().join(".nats-serve/nats-serve.db");
    let mut other = SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let asked = Instant::now();
    let writes = (0..10).map(|n| {
        let stack = &stack;
        async move { stack.register("Xenia", &format!("x{n}@example.com")).await }
    });
    for refused in futures_util::future::join_all(writes).await {
        refused.problem(503);
        assert!(["1", "2"].contains(&refused.header("retry-after")));
    }
    // Half a second is promised.
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(200, stack.get("/user/1").await.status);
    assert_eq!(0, stack.mails().len());

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    assert_eq!(201, stack.register("Xenia", "x0@example.com").await.status);
}

#[tokio::test]
async fn a_disk_that_is_full_costs_writes_and_leaves_nothing_half_done() {
    let nats = Server::start_secured().await;
    let mut stack = Stack::empty(nats, &[]);
    // What a process may write to any file, in blocks of 512 bytes, stands for the disk: as little as the tables
    // and some users take. The log of what is written before it goes into the file counts, too.
    let script = format!(
        "trap '' XFSZ; ulimit -S -f 400; exec {} database-service",
        process::program()
    );
    stack.add_program("database-service", "sh".as_ref(), &["-c", &script]);
    for service in &SERVICES[1..] {
        stack.add(service, service);
    }
    for service in SERVICES {
        stack.ready(service).await;
    }
    let mut stored = Vec::new();
    let mut refused = 0;
    for n in 0..400 {
        let email = format!("{n}@example.com");
        let reply = stack.register("Xenia", &email).await;
        match reply.status.as_u16() {
            201 => {
                let id = reply.json()["data"]["user"]["id"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                stored.push((id, email));
            }
            _ => {
                reply.problem(503);
                refused += 1;
                if refused == 20 {
                    break;
                }
            }
        }
    }
    assert!(refused == 20 && !stored.is_empty(), "{refused}, {stored:?}");
    let mails = eventually("the mails", async || {
        let mails = stack.mails();
        (mails.len() >= stored.len()).then_some(mails)
    })
    .await;
    for (id, email) in &stored {
        let user = stack.get(&format!("/user/{id}")).await;
        assert_eq!(*email, user.json()["data"]["user"]["email"]);
        assert!(
            mails
                .iter()
                .any(|mail| mail.contains(&format!("<{email}>")))
        );
    }
    assert_eq!(stored.len(), mails.len(), "no mail for who was refused");

    // With room again it goes on, the same process.
    make_room(&mut stack).await;
    eventually("a registration", async || {
        let reply = stack.register("Xenia", "after@example.com").await;
        (reply.status == 201).then_some(())
    })
    .await;
}

#[cfg(target_os = "linux")]
async fn make_room(stack: &mut Stack) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let pid = stack.processes["database-service"].pid().cast_signed();
    // Its parent's hard limit is its own.
    let maximum = getrlimit(Resource::Fsize).maximum;
    let any = Rlimit {
        current: maximum,
        maximum,
    };
    prlimit(Pid::from_raw(pid), Resource::Fsize, any).unwrap();
}

/// Elsewhere nobody can change another's limits.
#[cfg(not(target_os = "linux"))]
async fn make_room(stack: &mut Stack) {
    stack.leave("database-service").await;
    stack.add("database-2", "database-service");
    stack.ready("database-2").await;
}

#[tokio::test]
async fn a_burst_beyond_the_writers_queue_is_refused_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.db");
    let settings = vec![("DATABASE_URL", format!("sqlite://{}", file.display()))];
    let database = Database::start(1, &settings).await;
    let writes = (0..600).map(|n| {
        let database = &database;
        async move {
            let email = format!("x{n}@example.com");
            database.create_at_once("X", &email).await
        }
    });
    let written = futures_util::future::join_all(writes).await;
    let (good, refused): (Vec<_>, Vec<_>) = written.into_iter().partition(Result::is_ok);
    assert!(!good.is_empty());
    for refused in refused {
        let code = refused.unwrap_err().code();
        assert!(
            [Code::Overloaded, Code::Unavailable].contains(&code),
            "{code}"
        );
    }
    for user in good {
        let user = user.unwrap();
        assert_eq!(user, database.user(&user.id).await.unwrap().user);
    }
}
