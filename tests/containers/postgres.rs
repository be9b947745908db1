//! The PostgreSQL store: the contract of stores, and a server that is late, away, frozen or refuses us.

mod tls;

use std::time::{Duration, Instant};

use nats_serve::{Code, traces::Trace};
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt,
    core::{ExecCommand, Mount, WaitFor, ports::IntoContainerPort},
    runners::AsyncRunner,
};

use crate::{
    engine::docker,
    images::{self, POSTGRES},
    support::{
        PATIENCE, Process, Stack, eventually, process,
        store::{Database, holds_the_contract, kept::removes_what_is_past_its_time},
    },
};

const PASSWORD: &str = "hunter2/@: x";
/// The same in a URL.
const ENCODED: &str = "hunter2%2F%40%3A%20x";

pub(crate) struct Server {
    container: ContainerAsync<GenericImage>,
    port: u16,
    databases: usize,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|image| image).await
    }

    async fn with(
        change: impl FnOnce(ContainerRequest<GenericImage>) -> ContainerRequest<GenericImage>,
    ) -> Self {
        images::provide();
        let (name, tag) = POSTGRES.split_once(':').unwrap();
        let image = GenericImage::new(name, tag)
            .with_exposed_port(5432.tcp())
            // The first time it is the server of the first start, which listens on a socket only.
            .with_wait_for(WaitFor::message_on_stderr(
                "database system is ready to accept connections",
            ))
            .with_env_var("POSTGRES_PASSWORD", PASSWORD);
        let container = change(image).start().await.unwrap();
        let port = container.get_host_port_ipv4(5432).await.unwrap();
        let server = Self {
            container,
            port,
            databases: 0,
        };
        eventually("PostgreSQL", async || server.try_sql("SELECT 1").await.ok()).await;
        server
    }

    /// Makes a database of its own and returns the settings for it.
    pub(crate) async fn fresh(&mut self) -> Vec<(&'static str, String)> {
        self.databases += 1;
        let name = format!("test{}", self.databases);
        self.sql(&format!("CREATE DATABASE {name}")).await;
        self.settings(&name)
    }

    fn settings(&self, database: &str) -> Vec<(&'static str, String)> {
        let port = self.port;
        let url = format!("postgres://postgres:{ENCODED}@127.0.0.1:{port}/{database}");
        vec![("DATABASE_URL", url)]
    }

    /// Runs a command as the server's user.
    fn run(&self, command: &[&str]) {
        let id = self.container.id();
        let all = [&["exec", "--user", "postgres", id], command].concat();
        docker(&all);
    }

    async fn sql(&self, sql: &str) {
        self.try_sql(sql).await.unwrap();
    }

    async fn try_sql(&self, sql: &str) -> Result<(), String> {
        self.try_sql_in("postgres", sql).await
    }

    async fn try_sql_in(&self, database: &str, sql: &str) -> Result<(), String> {
        self.query(database, sql).await.map(|_| ())
    }

    /// Returns what was found, without headings.
    pub(crate) async fn query(&self, database: &str, sql: &str) -> Result<String, String> {
        let psql = "psql -q -A -t -h 127.0.0.1 -U postgres -d".split(' ');
        let psql = ExecCommand::new(psql.chain([database, "-c", sql]));
        let psql = psql.with_env_vars([("PGPASSWORD", PASSWORD)]);
        let words = |error: testcontainers::TestcontainersError| error.to_string();
        let mut done = self.container.exec(psql).await.map_err(words)?;
        let said = done.stderr_to_vec().await.map_err(words)?;
        let found = done.stdout_to_vec().await.map_err(words)?;
        match done.exit_code().await {
            Ok(Some(0)) => Ok(String::from_utf8_lossy(&found).into_owned()),
            other => Err(format!("{other:?}: {}", String::from_utf8_lossy(&said))),
        }
    }

    /// Kills one of the server's processes: it ends all others, and recovers from its log.
    pub(crate) async fn crash(&self, database: &str) {
        let pid = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
             AND pid <> pg_backend_pid() LIMIT 1";
        let pid = self.query(database, pid).await.unwrap();
        self.run(&["sh", "-c", &format!("kill -9 {}", pid.trim())]);
    }
}

#[tokio::test]
async fn postgres_holds_the_contract_of_stores() {
    let mut server = Server::start().await;
    holds_the_contract(async || server.fresh().await).await;
}

#[tokio::test]
async fn with_full_detail_a_trace_tells_of_the_statements_and_of_no_value() {
    let mut server = Server::start().await;
    let settings = server.fresh().await;
    let mut all = vec![("TRACING_DETAIL", "full")];
    all.extend(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let stack = Stack::with(&all).await;
    let read = stack.trace(&stack.get("/user/1").await, 9).await;
    let below = |trace: &Trace, parents: usize| -> Vec<String> {
        let steps = trace.rows().filter(|row| row.depth > parents);
        let steps = steps.filter(|row| row.span.text("db.system.name") == Some("postgresql"));
        steps.map(|row| row.span.name.clone()).collect()
    };
    assert_eq!(["take connection", "SELECT users"], *below(&read, 6));
    assert!(read.is_complete(), "{:?}", read.gaps());
    let select = read.rows().last().unwrap().span;
    let text = |name: &str| select.text(name).unwrap_or_default().to_owned();
    assert_eq!("test1", text("db.namespace"));
    assert_eq!("127.0.0.1", text("server.address"));
    assert_eq!(
        server.port.to_string(),
        select.attributes["server.port"].to_string()
    );
    assert!(text("db.query.text").ends_with("FROM users WHERE id = $1"));

    let email = "quirinus@canary.example";
    let registered = stack.register("Quirinus", email).await;
    assert_eq!(201, registered.status, "{}", registered.body);
    let stored = stack.trace(&registered, 19).await;
    let insert = "INSERT users INSERT registrations INSERT outbox";
    let mut names = below(&stored, 0);
    names.sort();
    let connection = "take connection";
    let note = "UPDATE outbox";
    assert_eq!(
        [insert, note, note, connection, connection, connection],
        *names
    );

    // Another transaction is about to store the same address.
    let holding = server.query(
        "test1",
        "BEGIN; INSERT INTO users (name, email, email_normalised) VALUES ('E', 'e@x', 'eve@canary.example'); \
         SELECT pg_sleep(3); ROLLBACK",
    );
    let asking = async {
        eventually("a lock", async || {
            let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'users'::regclass AND mode = 'RowExclusiveLock'";
            let found = server.query("test1", locks).await.ok()?;
            (found.trim() != "0").then_some(())
        })
        .await;
        let reply = stack.register("Eve", "eve@canary.example").await;
        eventually("the statement that failed", async || {
            let trace = stack.trace(&reply, 7).await;
            let mut rows = trace.rows();
            let failed = rows.find(|row| row.span.name == insert && row.span.is_error())?;
            let kind = failed.span.text("error.type").map(str::to_owned);
            Some((
                kind,
                failed
                    .span
                    .text("db.response.status_code")
                    .map(str::to_owned),
            ))
        })
        .await
    };
    let (held, failed) = tokio::join!(holding, asking);
    held.unwrap();
    let code = Some("55P03".to_owned());
    assert_eq!((code.clone(), code), failed);
    for file in std::fs::read_dir(stack.spans()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for canary in ["canary", "Quirinus", "hunter2"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}

#[tokio::test]
async fn postgres_removes_what_is_past_its_time() {
    let mut server = Server::start().await;
    let store = Database::start(1, &server.fresh().await).await;
    let sql = async |sql: &str| {
        let found = server.query("test1", sql).await.unwrap();
        found.trim().parse().unwrap_or_default()
    };
    removes_what_is_past_its_time(store, sql).await;
}

#[tokio::test]
async fn a_replica_waits_for_a_server_that_is_late_and_says_so() {
    let mut server = Server::start().await;
    let settings = server.fresh().await;
    server.container.pause().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("NATS_URL", "nats://127.0.0.1:1"),
        ("DATABASE_URL", settings[0].1.as_str()),
    ];
    let mut late = Process::start(folder.path(), &["database-service"], &variables);
    late.says("PostgreSQL is away: no answer in time; waiting for it")
        .await;
    server.container.unpause().await.unwrap();
    let users = "SELECT name FROM users";
    eventually("the tables", async || {
        server.try_sql_in("test1", users).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_us_ends_the_process_with_words_and_no_password() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let port = server.port;
    for (url, words) in [
        (
            format!("postgres://postgres:wrong-hunter2@127.0.0.1:{port}/postgres"),
            "password authentication failed",
        ),
        (
            format!("postgres://postgres:{ENCODED}@127.0.0.1:{port}/nothing"),
            "database \"nothing\" does not exist",
        ),
    ] {
        let variables = [
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("DATABASE_URL", url.as_str()),
        ];
        let (good, said) = process::run(folder.path(), &["database-service"], &variables);
        assert!(
            !good && said.contains(words) && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_key_that_another_transaction_holds_is_under_way_to_others_and_not_to_ourselves() {
    let mut server = Server::start().await;
    let database = Database::start(1, &server.fresh().await).await;
    let hold = "BEGIN; INSERT INTO users (name, email, email_normalised)
        VALUES ('X', 'david@example.com', 'david@example.com'); SELECT pg_sleep(10); ROLLBACK";
    let asking = async {
        let holds =
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%david@%' AND pid <> pg_backend_pid()
            AND wait_event = 'PgSleep'";
        eventually("a transaction that holds it", async || {
            let found = server.query("test1", holds).await.ok()?;
            (found.trim() == "1").then_some(())
        })
        .await;
        let first = database.create_at_once("David", "david@example.com").await;
        let again = database.create_again("David", "david@example.com").await;
        (first.unwrap_err(), again.unwrap_err())
    };
    let (held, (first, again)) = tokio::join!(server.query("test1", hold), asking);
    held.unwrap();
    assert_eq!((Code::Conflict, true), (first.code(), first.is_retryable()));
    assert_eq!(Code::Unavailable, again.code());
    database.create("David", "david@example.com").await.unwrap();
}

#[tokio::test]
async fn while_somebody_works_on_a_table_nobodys_key_is_said_to_be_under_way() {
    let mut server = Server::start().await;
    let database = Database::start(1, &server.fresh().await).await;
    let work = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); ROLLBACK";
    let asking = async {
        let mut asked = 0;
        eventually("a table that is locked", async || {
            asked += 1;
            let email = format!("x{asked}@example.com");
            database.create_at_once("Xenia", &email).await.err()
        })
        .await
    };
    let (worked, refused) = tokio::join!(server.query("test1", work), asking);
    worked.unwrap();
    assert_eq!(Code::Unavailable, refused.code());
    database.create("Xenia", "y@example.com").await.unwrap();
}

#[tokio::test]
async fn connections_that_an_administrator_ends_cost_no_request() {
    let mut server = Server::start().await;
    let database = Database::start(1, &server.fresh().await).await;
    let before = database.create("David", "david@example.com").await.unwrap();
    // As an administrator ends it: every connection is told, and closed.
    server
        .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test1'")
        .await;
    let read = database.user(&before.id).await.unwrap();
    assert_eq!(before, read.user);
    let after = database.create("Eve", "eve@example.com").await.unwrap();
    assert_ne!(before.id, after.id);
}

#[tokio::test]
async fn a_server_that_crashes_costs_a_moment_and_no_process_and_no_user_that_was_answered() {
    let mut server = Server::start().await;
    let database = Database::start(1, &server.fresh().await).await;
    let before = database.create("David", "david@example.com").await.unwrap();
    server.crash("test1").await;
    let crashed = Instant::now();
    let read = eventually("an answer", async || database.user(&before.id).await.ok()).await;
    assert_eq!(before, read.user);
    // Two seconds are promised.
    assert!(crashed.elapsed() < PATIENCE, "{:?}", crashed.elapsed());
    let after = database.create("Eve", "eve@example.com").await.unwrap();
    assert_ne!(before.id, after.id);
}

#[tokio::test]
async fn while_the_server_is_stopped_refusals_are_fast() {
    let mut server = Server::start().await;
    let database = Database::start(1, &server.fresh().await).await;
    database.user("1").await.unwrap();
    server.container.stop().await.unwrap();
    let asked = Instant::now();
    for _ in 0..20 {
        let failed = database.user("1").await.unwrap_err();
        assert_eq!(Code::Unavailable, failed.code());
    }
    // One finds out in a second, the others are told at once; each for himself they would need twenty.
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
    // Also where many ask at once, of whom some are connecting at any time.
    let many = (0..400).map(|n| {
        let database = &database;
        async move {
            tokio::time::sleep(Duration::from_millis(10 * n)).await;
            let asked = Instant::now();
            let failed = database.user("1").await.unwrap_err();
            assert_eq!(Code::Unavailable, failed.code());
            asked.elapsed() < Duration::from_millis(500)
        }
    });
    let told = futures_util::future::join_all(many).await;
    let at_once = told.iter().filter(|soon| **soon).count();
    assert!(at_once > 40, "{at_once} of 400 were told at once");
}

#[tokio::test]
async fn a_frozen_server_costs_each_request_its_deadline_at_most_and_heals() {
    let mut server = Server::start().await;
    let database = Database::start(1, &server.fresh().await).await;
    database.create("David", "david@example.com").await.unwrap();
    server.container.pause().await.unwrap();
    // More than there are connections, reads and writes, each given up on in the middle.
    let reads = (0..20).map(|_| async {
        let asked = Instant::now();
        let failed = database.user("1").await.unwrap_err();
        (failed.code(), asked.elapsed())
    });
    for (code, took) in futures_util::future::join_all(reads).await {
        assert!(
            [Code::DeadlineExceeded, Code::Unavailable].contains(&code),
            "{code}"
        );
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
    let failed = database
        .create_at_once("Eve", "eve@example.com")
        .await
        .unwrap_err();
    assert!([Code::DeadlineExceeded, Code::Unavailable].contains(&failed.code()));
    let process = &database.stack.processes["database-1"];
    let health = process.admin();
    let ready = async || {
        let answer = reqwest::get(format!("http://{health}/readyz"))
            .await
            .unwrap();
        answer.text().await.unwrap()
    };
    let said = ready().await;
    assert!(
        said.contains("not ready") && !said.contains("\"store\":\"ok\""),
        "{said}"
    );

    server.container.unpause().await.unwrap();
    let thawed = Instant::now();
    eventually("an answer", async || database.user("1").await.ok()).await;
    assert!(thawed.elapsed() < PATIENCE / 2, "{:?}", thawed.elapsed());
    eventually("a ready process", async || {
        ready().await.contains("\"status\":\"ready\"").then_some(())
    })
    .await;
    // No connection was lost to those who gave up: as many requests as there are connections work at once.
    let reads = (0..64).map(|_| database.user("1"));
    for read in futures_util::future::join_all(reads).await {
        read.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_is_full_costs_writes_and_leaves_nothing_half_done() {
    let disk = Mount::tmpfs_mount("/small")
        .with_size("16m")
        .with_mode(0o1777);
    let mut server = Server::with(|image| image.with_mount(disk)).await;
    let database = Database::start(1, &server.fresh().await).await;
    server.run(&["mkdir", "/small/space"]);
    server
        .sql("CREATE TABLESPACE small LOCATION '/small/space'")
        .await;
    let sql = |sql: &'static str| server.query("test1", sql);
    sql("ALTER TABLE outbox SET TABLESPACE small")
        .await
        .unwrap();
    sql("ALTER TABLE users SET TABLESPACE small").await.unwrap();
    database.create("David", "david@example.com").await.unwrap();
    sql("CREATE TABLE filler (text TEXT) TABLESPACE small")
        .await
        .unwrap();
    let fill = "INSERT INTO filler SELECT repeat(md5(n::TEXT), 20) FROM generate_series(1, 100) n";
    while sql(fill).await.is_ok() {}
    // What is left of the pages that are there.
    let mut refused = None;
    for n in 0..500 {
        let stored = database
            .create_at_once("Xenia", &format!("x{n}@example.com"))
            .await;
        if let Err(status) = stored {
            refused = Some((n, status.code()));
            break;
        }
    }
    let (n, code) = refused.expect("a disk that is full");
    assert_eq!(Code::Unavailable, code);
    let half = format!("SELECT count(*) FROM users WHERE email = 'x{n}@example.com'");
    assert_eq!("0", server.query("test1", &half).await.unwrap().trim());
    assert_eq!("Alice", database.user("1").await.unwrap().user.name);
    sql("DROP TABLE filler").await.unwrap();
    database
        .create("Xenia", &format!("x{n}@example.com"))
        .await
        .unwrap();
}
