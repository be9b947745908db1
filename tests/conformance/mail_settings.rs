//! Settings of the mailer that can't be meant.

use std::fs;

use rustix::process::Signal;

use crate::support::Process;

#[test]
fn settings_that_contradict_or_lack_something_are_errors_that_help() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "hunter2").unwrap();
    for (url, dir, file, words) in [
        (
            "smtp://mail",
            "mails",
            "",
            "SMTP_URL and MAILS_DIR are both set",
        ),
        (
            "",
            "",
            "password",
            "SMTP_PASSWORD_FILE is set and SMTP_URL is not",
        ),
        (
            "smtp://u@mail",
            "",
            "",
            "names a user and no password; set SMTP_PASSWORD_FILE",
        ),
        (
            "smtp://u@mail",
            "",
            "password",
            "would send the password unencrypted",
        ),
        ("hunter2", "", "", "SMTP_URL is no URL"),
        (
            "imap://mail",
            "",
            "",
            "SMTP_URL can't be used; write smtps://host",
        ),
    ] {
        let variables = [
            ("NATS_URL", "nats://127.0.0.1:1"),
            ("SMTP_URL", url),
            ("MAILS_DIR", dir),
            ("SMTP_PASSWORD_FILE", file),
        ];
        let run = crate::support::process::run;
        let (good, said) = run(folder.path(), &["notification-service"], &variables);
        assert!(
            !good && said.contains(words) && !said.contains("hunter2"),
            "{url}: {said}"
        );
    }
}

#[tokio::test]
async fn a_sender_that_servers_refuse_is_told_of_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let variables = [
        ("NATS_URL", "nats://127.0.0.1:1"),
        ("SMTP_URL", "smtp://mail.example.com"),
    ];
    let mut process = Process::start(folder.path(), &["notification-service"], &variables);
    process
        .says("mails are sent from no-reply@localhost, which mail servers refuse as a rule; set MAIL_FROM")
        .await;
    process.signal(Signal::TERM);
    assert!(process.ended().await.success(), "{}", process.output());
}
