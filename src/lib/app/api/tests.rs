//! Subject, request and reply of every operation, as they are on the wire: a change here is a change that
//! processes of the last version meet in a rolling update.

use serde::Serialize;
use serde_json::json;

use super::{
    database::{CreateUser, GetUser},
    notification::SendWelcomeEmail,
    outbox::{ListOutbox, RetryOutbox, SettleMail},
    user::{GetUserProfile, RegisterUser},
};
use crate::{Operation, operation::Names};

/// Reads both documents as the operation's types, writes them again and sees that nothing changed.
#[track_caller]
fn check<O: Operation>(subject: &str, request: &str, reply: &str) {
    fn again<T: Serialize>(read: serde_json::Result<T>) -> String {
        serde_json::to_string(&read.expect("readable")).expect("writable")
    }
    assert_eq!(subject, Names::of::<O>().subject);
    assert_eq!(request, again(serde_json::from_str::<O::Request>(request)));
    assert_eq!(reply, again(serde_json::from_str::<O::Reply>(reply)));
}

const USER: &str = r#"{"id":"4","name":"David","email":"david@example.com"}"#;
const PROFILE: &str = r#"{"last_login":null,"preferences":{"theme":"dark","notifications":true}}"#;
const KEY: &str = r#"{"id":"ab","body":"cd","keep_s":86400}"#;
const MAIL: &str = r#"{"status":"sent","message":"Welcome!","recipient":"david@example.com"}"#;

#[test]
fn the_contracts_are_on_the_wire_as_they_were() {
    let record = format!(r#"{{"user":{USER},"profile_data":{PROFILE}}}"#);
    let asked = r#"{"user_id":"4"}"#;
    let new = format!(
        r#"{{"name":"David","email":"david@example.com","key":{KEY},"registration_id":"r1"}}"#
    );
    let registered = format!(
        r#"{{"user":{USER},"notification":{MAIL},"registration_complete":true,"created_at_ms":1,"is_replayed":false}}"#
    );
    let stored = format!(
        r#"{{"name":"David","email":"david@example.com","key":{KEY},"registration_id":"r1","holder":"h1","is_repeated":false}}"#
    );
    let created = format!(
        r#"{{"user":{USER},"created_at_ms":1,"registration_id":"r1","mail":"pending","lease_ms":15000}}"#
    );
    let mail = r#"{"registration_id":"r1","name":"David","email":"david@example.com","holder":"h1","gate":"gate.user.u1.00ff","gate_wait_ms":2000}"#;
    let mailed = MAIL.replace('}', r#","is_noted":true}"#);
    let settled = r#"{"registration_id":"r1","holder":"h1","outcome":"not_begun"}"#;
    let entry = r#"{"registration_id":"r1","kind":"mail","user_id":"4","delivery":"failed","tries":8,"due_in_ms":-5,"is_leased":false,"created_at_ms":1}"#;
    let outbox = format!(r#"{{"entries":[{entry}],"pending":0,"failed":1}}"#);

    check::<GetUserProfile>("svc.user.get_user_profile", asked, &record);
    check::<RegisterUser>("svc.user.register_user", &new, &registered);
    check::<GetUser>("svc.database.get_user", asked, &record);
    check::<CreateUser>("svc.database.create_user", &stored, &created);
    check::<SettleMail>("svc.database.settle_mail", settled, "null");
    let kept = settled.replace("not_begun", "under_way");
    check::<SettleMail>("svc.database.settle_mail", &kept, "null");
    let list = r#"{"only":"failed","limit":50}"#;
    check::<ListOutbox>("svc.database.list_outbox", list, &outbox);
    let retry = r#"{"registration":"r1"}"#;
    check::<RetryOutbox>("svc.database.retry_outbox", retry, r#"{"entries":1}"#);
    check::<SendWelcomeEmail>("svc.notification.send_welcome_email", mail, &mailed);
}

#[test]
fn a_mail_asked_for_or_answered_by_an_older_version_is_noted_by_its_caller() {
    let mail =
        json!({"registration_id": "r1", "name": "D", "email": "d@example.com", "gate": null});
    let read: <SendWelcomeEmail as Operation>::Request =
        serde_json::from_value(mail).expect("readable");
    assert_eq!(None, read.holder);
    let read: <SendWelcomeEmail as Operation>::Reply =
        serde_json::from_str(MAIL).expect("readable");
    assert!(!read.is_noted);
}

#[test]
fn fields_of_a_newer_version_are_ignored() {
    let newer = json!({"user_id": "4", "added_later": [1, 2]});
    let read: Result<<GetUser as Operation>::Request, _> = serde_json::from_value(newer);
    assert_eq!("4", read.expect("readable").user_id);
}
