//! Mails by SMTP, to a server that isn't ours: what it gets, and what a registration says when it doesn't.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nats_serve::traces::{Row, Trace};
use serde_json::{Value, json};

use crate::{
    mails::{Mails, PASSWORD},
    support::{PATIENCE, Stack, eventually, process},
};

async fn stack(url: &str, more: &[(&str, &str)]) -> Stack {
    let mut variables = vec![
        ("SMTP_URL", url),
        ("MAIL_FROM", "Example <no-reply@example.com>"),
    ];
    variables.extend(more);
    Stack::with(&variables).await
}

/// Registers somebody and returns how the mail went.
async fn mail_to(stack: &Stack, email: &str) -> String {
    let reply = stack.register("Zoë O'Brien", email).await;
    assert_eq!(201, reply.status, "{}", reply.body);
    reply.json()["data"]["notification"]["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn log(stack: &Stack) -> String {
    stack.processes["notification-service"].output()
}

#[tokio::test]
async fn a_mail_arrives_whole_and_a_refused_user_gets_none() {
    let mails = Mails::start(&[]).await;
    let stack = stack(&format!("smtp://127.0.0.1:{}", mails.port), &[]).await;
    assert_eq!("sent", mail_to(&stack, "zoe@example.com").await);
    let refused = stack.register("Zoë", "ZOE@example.com").await;
    refused.problem(409);
    // The mail's side has answered by the time the trace is whole: nothing comes later.
    stack.trace(&refused, 9).await;
    let mail = &mails.first().await;
    assert_eq!(1, mails.accepted().len());
    assert_eq!(json!(["zoe@example.com"]), mail["to"]);
    assert_eq!("no-reply@example.com", mail["sender"]);
    let text = mail["text"].as_str().unwrap();
    for line in [
        "From: Example <no-reply@example.com>\r\n",
        "To: =?utf-8?",
        "Subject: Welcome!\r\n",
        "Message-ID: <",
        "@example.com>\r\n",
        "Date: ",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

/// How many mails to somebody the server has taken.
fn taken(mails: &Mails, email: &str) -> usize {
    let accepted = mails.accepted();
    accepted
        .iter()
        .filter(|mail| mail["to"][0] == email)
        .count()
}

#[tokio::test]
async fn what_the_server_refuses_for_good_has_failed_and_the_log_names_no_address() {
    let mails = Mails::start(&[]).await;
    let stack = stack(&format!("smtp://127.0.0.1:{}", mails.port), &[]).await;
    for email in ["refused@example.com", "full@example.com"] {
        assert_eq!("failed", mail_to(&stack, email).await, "{email}");
    }
    // What is about us, and not about the mail, ends when somebody mends it.
    for email in [
        "later@example.com",
        "blocked@example.com",
        "sender@example.com",
        "relay@example.com",
    ] {
        assert_eq!("queued", mail_to(&stack, email).await, "{email}");
    }
    assert_eq!("sent", mail_to(&stack, "zoe@example.com").await);
    let log = log(&stack);
    for code in ["550", "451", "552", "554"] {
        assert!(
            log.contains(&format!("the SMTP server answered {code}")),
            "{log}"
        );
    }
    assert!(!log.contains("@example.com"), "{log}");
    let outbox = outbox(&stack, &["--json"]).await;
    let open: Vec<(&str, &str)> = outbox["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["user_id"].as_str().unwrap(),
                entry["delivery"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        [
            ("4", "failed"),
            ("5", "failed"),
            ("6", "pending"),
            ("7", "pending"),
            ("8", "pending"),
            ("9", "pending")
        ],
        *open
    );
}

async fn outbox(stack: &Stack, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["outbox"].iter().chain(arguments).copied().collect();
    eventually("a list", async || {
        let (good, said) = process::run(stack.folder(), &all, &stack.nats_variables());
        // What became of the last mail may not be noted yet.
        let list: Value = good.then(|| serde_json::from_str(&said).ok())??;
        let entries = list["entries"].as_array()?;
        entries
            .iter()
            .all(|entry| entry["is_leased"] == false)
            .then_some(list)
    })
    .await
}

/// The names of steps, with the class of what failed, and where they went.
fn steps(trace: &Trace) -> Vec<(String, Option<String>, String)> {
    let of_smtp = |row: &Row<'_>| row.span.text("network.protocol.name") == Some("smtp");
    let told = |row: Row<'_>| {
        let text = |key: &str| row.span.text(key).map(str::to_owned);
        let port = row.span.attributes["server.port"].to_string();
        let place = format!("{}:{port}", text("server.address").unwrap_or_default());
        (row.span.name.clone(), text("error.type"), place)
    };
    trace.rows().filter(of_smtp).map(told).collect()
}

#[tokio::test]
async fn with_full_detail_a_trace_tells_of_the_mail_and_names_nobody() {
    let mails = Mails::start(&[]).await;
    let place = format!("127.0.0.1:{}", mails.port);
    let full = [("TRACING_DETAIL", "full")];
    let stack = stack(&format!("smtp://{place}"), &full).await;
    for (email, failed) in [
        ("zoe@example.com", None),
        ("refused@example.com", Some("550")),
    ] {
        let reply = stack.register("Quirinus Canary", email).await;
        assert_eq!(201, reply.status, "{}", reply.body);
        let trace = eventually("the steps of a mail", async || {
            let trace = stack.trace(&reply, 9).await;
            (steps(&trace).len() == 2).then_some(trace)
        })
        .await;
        let step = |name: &str, failed: Option<&str>| {
            (name.to_owned(), failed.map(str::to_owned), place.clone())
        };
        let expected = [step("smtp connect", None), step("smtp send", failed)];
        assert_eq!(expected, *steps(&trace), "{email}");
    }
    for file in fs::read_dir(stack.spans()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for canary in ["Quirinus", "@example.com", "Welcome", "unknown"] {
            assert!(!text.contains(canary), "{canary} in {text}");
        }
    }
}

#[tokio::test]
async fn what_the_server_refuses_for_now_is_sent_once_a_moment_later() {
    let mails = Mails::start(&[]).await;
    let stack = stack(&format!("smtp://127.0.0.1:{}", mails.port), &[]).await;
    assert_eq!("queued", mail_to(&stack, "once@example.com").await);
    eventually("the mail", async || {
        (taken(&mails, "once@example.com") == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(1, taken(&mails, "once@example.com"));
}

#[tokio::test]
async fn a_mail_whose_acceptance_was_lost_comes_twice_with_one_message_id() {
    let mails = Mails::start(&[]).await;
    let stack = stack(&format!("smtp://127.0.0.1:{}", mails.port), &[]).await;
    assert_eq!("queued", mail_to(&stack, "lost@example.com").await);
    eventually("the second mail", async || {
        (taken(&mails, "lost@example.com") == 2).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let accepted = mails.accepted();
    let id = |mail: &Value| {
        let text = mail["text"].as_str().unwrap().to_owned();
        let mut lines = text.lines();
        lines
            .find(|line| line.starts_with("Message-ID"))
            .map(str::to_owned)
    };
    assert_eq!(2, accepted.len(), "and no third");
    assert_eq!(id(&accepted[0]), id(&accepted[1]));
}

#[tokio::test]
async fn a_caller_that_dies_while_the_mail_is_sent_costs_no_second_mail() {
    let mails = Mails::start(&[]).await;
    let stack = stack(&format!("smtp://127.0.0.1:{}", mails.port), &[]).await;
    let killing = async {
        eventually("the commit", async || {
            (stack.get("/user/4").await.status == 200).then_some(())
        })
        .await;
        // The mail takes a second and a half.
        tokio::time::sleep(Duration::from_millis(500)).await;
        stack.processes["user-service"].signal(rustix::process::Signal::KILL);
    };
    // Whatever the client hears.
    let _ = tokio::join!(stack.register("Zoë", "slow@example.com"), killing);
    eventually("the note of the mail", async || {
        (outbox(&stack, &["--json"]).await["pending"] == 0).then_some(())
    })
    .await;
    assert_eq!(1, taken(&mails, "slow@example.com"));
}

/// lettre's async transport gives a connection that was given up on back to its pool, where the next mail
/// takes the answers to the last for its own: <https://github.com/lettre/lettre/issues/1027> and its kin.
#[tokio::test]
async fn a_mail_after_one_that_took_too_long_is_not_answered_with_the_last_ones_answer() {
    let mails = Mails::start(&[]).await;
    let url = format!("smtp://127.0.0.1:{}", mails.port);
    let stack = stack(&url, &[("MAIL_TIMEOUT", "500ms")]).await;
    assert_eq!("queued", mail_to(&stack, "slow1@example.com").await);
    assert_eq!("queued", mail_to(&stack, "hang1@example.com").await);
    for n in 0..10 {
        assert_eq!(
            "failed",
            mail_to(&stack, &format!("full{n}@example.com")).await
        );
        assert_eq!(
            "sent",
            mail_to(&stack, &format!("zoe{n}@example.com")).await
        );
    }
    let accepted = mails.accepted();
    let sent = accepted
        .iter()
        .filter(|mail| mail["to"][0].as_str().unwrap().starts_with("zoe"));
    assert_eq!(10, sent.count(), "{accepted:?}");
    assert!(log(&stack).contains("the SMTP server took too long"));
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_its_own_mails_and_nothing_else() {
    let mails = Mails::start(&[]).await;
    let url = format!("smtp://127.0.0.1:{}", mails.port);
    let stack = stack(&url, &[("MAIL_TIMEOUT", "1s")]).await;
    let hanging = (0..30).map(|n| {
        let stack = &stack;
        async move { mail_to(stack, &format!("hang{n}@example.com")).await }
    });
    let states = futures_util::future::join_all(hanging).await;
    assert!(states.iter().all(|state| state == "queued"), "{states:?}");
    assert_eq!(200, stack.get("/user/1").await.status);
    let mut number = 0;
    eventually("a mail that goes out again", async || {
        number += 1;
        (mail_to(&stack, &format!("zoe{number}@example.com")).await == "sent").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_mail_server_that_comes_back_is_used_again() {
    let mails = Mails::start(&[]).await;
    let url = format!("smtp://127.0.0.1:{}", mails.port);
    let stack = stack(&url, &[]).await;
    assert_eq!("sent", mail_to(&stack, "zoe1@example.com").await);
    let port = mails.port.to_string();
    drop(mails);
    assert_eq!("queued", mail_to(&stack, "zoe2@example.com").await);
    assert!(
        log(&stack).contains("the SMTP server can't be reached"),
        "{}",
        log(&stack)
    );
    let mails = Mails::start(&["--port", &port]).await;
    assert_eq!("sent", mail_to(&stack, "zoe3@example.com").await);
    eventually("the mail of the outage", async || {
        (taken(&mails, "zoe2@example.com") == 1).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(2, mails.accepted().len());
}

#[tokio::test]
async fn however_long_the_mail_server_was_away_its_mails_go_out_soon() {
    let mails = Mails::start(&[]).await;
    let url = format!("smtp://127.0.0.1:{}", mails.port);
    let stack = stack(&url, &[]).await;
    let port = mails.port.to_string();
    drop(mails);
    for n in 0..20 {
        assert_eq!(
            "queued",
            mail_to(&stack, &format!("zoe{n}@example.com")).await
        );
    }
    // Longer than the first pauses of a mail that was refused for now.
    tokio::time::sleep(Duration::from_secs(25)).await;
    let open = outbox(&stack, &["--json", "--pending"]).await;
    let entries = open["entries"].as_array().unwrap();
    let mails = entries.iter().filter(|entry| entry["kind"] == "mail");
    assert!(mails.clone().count() == 20, "{open}");
    // None of it was a try; the one that is under way counts as long as it is.
    assert!(
        mails.clone().all(|mail| mail["tries"].as_u64() <= Some(1)),
        "{open}"
    );
    let mails = Mails::start(&["--port", &port]).await;
    let back = Instant::now();
    eventually("the mails of the outage", async || {
        (mails.accepted().len() == 20).then_some(())
    })
    .await;
    println!(
        "figure: 20 mails were sent {:.1?} after the mail server was back",
        back.elapsed()
    );
}

#[tokio::test]
async fn with_tls_and_a_login_from_a_file_mails_go_out_either_way() {
    for tls in ["starttls", "smtps"] {
        let mails = Mails::guarded(tls).await;
        let password = mails.folder.path().join("password");
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let stack = guarded_stack(&mails, tls, &password, &mails.certificate()).await;
        assert_eq!(
            "sent",
            mail_to(&stack, "zoe@example.com").await,
            "{}",
            log(&stack)
        );
        let mail = &mails.first().await;
        assert_eq!(
            (&json!(true), &json!("mailer")),
            (&mail["tls"], &mail["user"])
        );
    }
}

#[tokio::test]
async fn a_wrong_password_or_certificate_is_told_and_nothing_is_sent() {
    let mails = Mails::guarded("starttls").await;
    let password = mails.folder.path().join("password");
    fs::write(&password, "wrong-hunter2").unwrap();
    let wrong = guarded_stack(&mails, "starttls", &password, &mails.certificate()).await;
    assert_eq!("queued", mail_to(&wrong, "zoe@example.com").await);
    let said = says(&wrong, "the SMTP server answered 535").await;
    assert!(!said.contains("hunter2"), "{said}");

    fs::write(&password, PASSWORD).unwrap();
    let none = mails.folder.path().join("none.pem");
    fs::write(&none, "").unwrap();
    let stranger = guarded_stack(&mails, "starttls", &password, &none).await;
    assert_eq!("queued", mail_to(&stranger, "zoe@example.com").await);
    says(&stranger, "no TLS with the SMTP server").await;
    assert!(mails.accepted().is_empty());
}

/// Waits until the service has said some words, and returns all that it said: an answer may be quicker than a line.
async fn says(stack: &Stack, words: &str) -> String {
    eventually(words, async || {
        let said = log(stack);
        said.contains(words).then_some(said)
    })
    .await
}

async fn guarded_stack(mails: &Mails, tls: &str, password: &Path, roots: &Path) -> Stack {
    let port = mails.port;
    let url = match tls {
        "smtps" => format!("smtps://mailer@localhost:{port}"),
        _ => format!("smtp://mailer@localhost:{port}?tls=required"),
    };
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (password, roots) = (text(password), text(roots));
    stack(
        &url,
        &[("SMTP_PASSWORD_FILE", &password), ("SSL_CERT_FILE", &roots)],
    )
    .await
}

#[tokio::test]
async fn a_mail_that_takes_longer_than_its_lease_is_sent_once() {
    let mails = Mails::start(&[]).await;
    let url = format!("smtp://127.0.0.1:{}", mails.port);
    let stack = stack(&url, &[("MAIL_TIMEOUT", "10s")]).await;
    // 18 s in all, each answer within the 10 s that it may take.
    assert_eq!("queued", mail_to(&stack, "tardy@example.com").await);
    let until = Instant::now() + 2 * PATIENCE;
    while taken(&mails, "tardy@example.com") == 0 {
        assert!(Instant::now() < until, "{}", mails.process.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let noted = eventually("the note", async || {
        let outbox = outbox(&stack, &["--json"]).await;
        (outbox["pending"] == 0).then_some(outbox)
    });
    assert_eq!(json!([]), noted.await["entries"]);
    assert_eq!(1, taken(&mails, "tardy@example.com"));
    // Where the lease had run out another would be under way.
    let begun = mails.process.output().matches("\"begun\"").count();
    assert_eq!(1, begun);
}
