//! Names, addresses and passwords go to a mail server that isn't ours, which quotes them, and no receiver of spans gets
//! any of them. The rest of what is told to nobody is in tests/it.

use std::fs;

use crate::{
    mails::{Mails, PASSWORD},
    otlp::leave,
    rotel::Rotel,
    support::{
        Stack,
        canaries::{find, see_that_none_is_in},
        stack::Reply,
    },
};

/// Registers somebody and returns the answer, of which it is known how the mail went.
async fn register(stack: &Stack, email: &str, mail: &str) -> Reply {
    let reply = stack.register("Quirinus", email).await;
    assert_eq!(201, reply.status, "{}", reply.body);
    let told = &reply.json()["data"]["notification"]["status"];
    assert_eq!(mail, told.as_str().unwrap(), "{email}");
    reply
}

async fn gets_spans_that_name_nobody(rotel: &Rotel, endpoint: &str, protocol: &str) {
    let mails = Mails::guarded("starttls").await;
    let password = mails.folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let url = format!("smtp://mailer@localhost:{}?tls=required", mails.port);
    let mut stack = Stack::with(&[
        ("SMTP_URL", &url),
        ("SMTP_PASSWORD_FILE", password.to_str().unwrap()),
        ("SSL_CERT_FILE", mails.certificate().to_str().unwrap()),
        ("MAIL_FROM", "Example <no-reply@example.com>"),
        ("TRACING_DETAIL", "full"),
        ("RUST_LOG", "debug,sqlx=info"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ])
    .await;
    let mut replies = vec![register(&stack, "quirinus@canary.example", "sent").await];
    // It got the password, the name and the address; of these it refuses it quotes the address.
    let mail = mails.first().await;
    assert_eq!("mailer", mail["user"]);
    assert!(find(mail.to_string().as_bytes()).is_some(), "{mail}");
    for (email, state) in [
        ("refused@canary.example", "failed"),
        ("full@canary.example", "failed"),
        ("later@canary.example", "queued"),
        ("relay@canary.example", "queued"),
    ] {
        replies.push(register(&stack, email, state).await);
    }
    replies.push(stack.register("Zoë", "quirinus@canary.example").await);
    fs::write(&password, "wrong-hunter2").unwrap();
    stack.leave("notification-service").await;
    stack.add("mistaken", "notification-service");
    stack.ready("mistaken").await;
    replies.push(register(&stack, "zoe@canary.example", "queued").await);

    let (_, said) = leave(&mut stack).await;
    assert!(said["mistaken"].contains("the SMTP server answered 535"));
    for reply in &replies {
        let trace = stack.trace(reply, 9).await;
        rotel.has(&trace).await;
    }
    see_that_none_is_in("what a receiver got", rotel.printed().as_bytes());
}

#[tokio::test]
async fn a_receiver_gets_no_name_address_or_password_by_grpc() {
    let rotel = Rotel::start().await;
    gets_spans_that_name_nobody(&rotel, &rotel.grpc(), "grpc").await;
}

#[tokio::test]
async fn a_receiver_gets_no_name_address_or_password_by_http() {
    let rotel = Rotel::start().await;
    gets_spans_that_name_nobody(&rotel, &rotel.http(), "http/protobuf").await;
}
