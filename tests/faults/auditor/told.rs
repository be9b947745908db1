//! Whether everybody was told what is true: who registered whom, by key, body and address.

use std::collections::BTreeMap;

use super::{
    books::{Books, Row},
    client::{Answer, Intent},
};

type Told<'a> = (&'a Intent, &'a Answer);

/// Lists the answers that are not true, and the rows that nobody was told of.
pub(super) fn untrue(books: &Books) -> Vec<String> {
    let all: Vec<Told> = books.intents.iter().zip(&books.answers).collect();
    let rows: BTreeMap<&str, &Row> = (books.rows.iter())
        .map(|row| (row.email.as_str(), row))
        .collect();
    let mut keys = BTreeMap::<&str, Vec<Told>>::new();
    let mut addresses = BTreeMap::<&str, Vec<Told>>::new();
    for one in &all {
        if let Some(key) = &one.0.key {
            keys.entry(key).or_default().push(*one);
        }
        addresses.entry(&one.0.email).or_default().push(*one);
    }
    let untrue = all.iter().filter(|(intent, answer)| {
        let row = rows.get(&*intent.email);
        let with_key = intent.key.as_deref().map_or(&[][..], |key| &keys[key]);
        let mut created = with_key.iter().filter(|other| other.1.status == Some(201));
        !match answer.status {
            Some(201) => row.is_some_and(|row| is_of(row, intent, answer)),
            // A key stands for the first body that was stored with it.
            Some(422) => created.any(|other| other.0.name != intent.name),
            Some(409) => row.is_some() && created.next().is_none(),
            _ => false,
        }
    });
    let untold = books.rows.iter().filter(|row| {
        let asked = addresses.get(&*row.email).map_or(&[][..], Vec::as_slice);
        !asked.iter().any(|(intent, answer)| {
            // Who sent no key and lost the answer is told that the address is taken.
            answer.status == Some(201) || intent.key.is_none() && answer.tries > 1
        })
    });
    untrue
        .map(|one| format!("{one:?}"))
        .chain(untold.map(|row| format!("untold: {row:?}")))
        .chain(replays_that_differ(&all))
        .collect()
}

fn is_of(row: &Row, intent: &Intent, answer: &Answer) -> bool {
    let mail = match answer.mail.as_deref() {
        // It will be one or the other.
        Some("queued") => true,
        said => said == Some(&*row.mail),
    };
    answer.user_id == Some(row.id) && row.name == intent.name && mail
}

/// Of the answers about one user one at most is the first, and all tell the same time.
fn replays_that_differ(all: &[Told]) -> Vec<String> {
    let mut users = BTreeMap::<i64, Vec<Told>>::new();
    for one in all {
        if let Some(id) = one.1.user_id {
            users.entry(id).or_default().push(*one);
        }
    }
    let differing = users.into_values().filter(|told| {
        let firsts = told.iter().filter(|(_, answer)| !answer.is_replayed);
        let time = told[0].1.timestamp;
        firsts.count() > 1 || told.iter().any(|(_, answer)| answer.timestamp != time)
    });
    differing.map(|told| format!("replays: {told:?}")).collect()
}
