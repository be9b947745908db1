//! Subject, request and reply of every operation, as they are on the wire: a change here is a change that
//! processes of the last version meet in a rolling update.

use serde::Serialize;
use serde_json::json;

use super::{
    database::{CreateUser, GetUser},
    notification::SendWelcomeEmail,
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
const MAIL: &str = r#"{"status":"sent","message":"Welcome!","recipient":"david@example.com"}"#;

#[test]
fn the_contracts_are_on_the_wire_as_they_were() {
    let record = format!(r#"{{"user":{USER},"profile_data":{PROFILE}}}"#);
    let asked = r#"{"user_id":"4"}"#;
    let new = r#"{"name":"David","email":"david@example.com"}"#;
    let registered =
        format!(r#"{{"user":{USER},"notification":{MAIL},"registration_complete":true}}"#);
    let mail = r#"{"registration_id":"r1","name":"David","email":"david@example.com","gate":"gate.user.u1.00ff"}"#;

    check::<GetUserProfile>("svc.user.get_user_profile", asked, &record);
    check::<RegisterUser>("svc.user.register_user", new, &registered);
    check::<GetUser>("svc.database.get_user", asked, &record);
    check::<CreateUser>("svc.database.create_user", new, USER);
    check::<SendWelcomeEmail>("svc.notification.send_welcome_email", mail, MAIL);
}

#[test]
fn fields_of_a_newer_version_are_ignored() {
    let newer = json!({"user_id": "4", "added_later": [1, 2]});
    let read: Result<<GetUser as Operation>::Request, _> = serde_json::from_value(newer);
    assert_eq!("4", read.expect("readable").user_id);
}
