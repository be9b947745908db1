//! What everybody says of the registrations, and whether it is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    client::{Answer, Intent},
    mail_server::Mail,
    told::untrue,
};

/// Seconds from the mail server's acceptance until the note of it is made, at most; or from the end of a lock that
/// keeps it from being made.
const NOTED_AFTER: f64 = 2.0;
/// Seconds that the mail server may still take for a mail whose sender has died, by its moods.
const TAKEN_AFTER: f64 = 4.0;
/// Seconds around the death of the mail server in which it may have taken a mail and not said so.
const AROUND_DEATH: f64 = 0.5;
/// What explains a second mail when nothing has failed.
const LOST_250: &str = "250 lost";

/// A row of `users`, with the states of the outbox.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) email: String,
    pub(crate) name: String,
    pub(crate) registration_id: String,
    pub(crate) mail: String,
    pub(crate) event: String,
}

/// An event as the other team heard it.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    registration_id: String,
    user_id: i64,
    name: String,
    email: String,
}

impl Event {
    pub(crate) fn read(message: &async_nats::Message) -> Self {
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let headers = message.headers.as_ref().unwrap();
        assert_eq!(event["id"], headers.get("Nats-Msg-Id").unwrap().as_str());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let user = &event["data"]["user"];
        assert_eq!(event["subject"], user["id"]);
        Self {
            registration_id: text(&event["id"]),
            user_id: text(&user["id"]).parse().unwrap(),
            name: text(&user["name"]),
            email: text(&user["email"]),
        }
    }
}

/// Something that failed; seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The service of the process that it hit, if it hit one.
    pub(crate) service: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Of a process, as a crash does.
    Kill,
    /// Of a process, shorter than a lease.
    Pause,
    /// Of a process, longer than a lease.
    LongPause,
    /// Of the connections of one replica of each service.
    Cut,
    /// The same connections stay, and nothing passes.
    Silence,
    /// Of the store; notes are made when it is over, and nothing is lost by that alone.
    Lock,
    /// The same, longer than a lease.
    LongLock,
    /// Of all replicas of the database service at once, longer than a lease.
    DatabaseAway,
    /// Of the store's server, which recovers.
    Crash,
    MailAway,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::LongPause => "long pause",
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::Lock => "lock",
            Self::LongLock => "long lock",
            Self::DatabaseAway => "database away",
            Self::Crash => "crash of the store",
            Self::MailAway => "mail away",
        }
    }
}

/// Mails that went out twice.
#[derive(Debug, Default)]
struct Doubled {
    /// Within the window that is documented, by what failed there.
    within: BTreeMap<&'static str, usize>,
    outside: Vec<String>,
}

pub(crate) struct Books {
    pub(crate) intents: Vec<Intent>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) rows: Vec<Row>,
    pub(crate) mails: Vec<Mail>,
    pub(crate) events: Vec<Event>,
    pub(crate) faults: Vec<Fault>,
}

impl Books {
    fn created(&self) -> impl Iterator<Item = (&Intent, &Answer)> {
        let all = self.intents.iter().zip(&self.answers);
        all.filter(|(_, answer)| answer.status == Some(201))
    }

    /// Who was told 201 and is not there, as himself.
    fn lost(&self) -> Vec<String> {
        let rows: BTreeMap<i64, &str> = self.rows.iter().map(|row| (row.id, &*row.email)).collect();
        self.created()
            .filter(|(intent, answer)| {
                let email = answer.user_id.and_then(|id| rows.get(&id));
                email != Some(&&*intent.email)
            })
            .map(|(intent, answer)| format!("{} {answer:?}", intent.email))
            .collect()
    }

    /// Keys, and addresses, that stand for more than one user.
    fn doubled_users(&self) -> Vec<String> {
        let mut users = BTreeMap::<&str, BTreeSet<i64>>::new();
        for (intent, answer) in self.created() {
            let users = users.entry(intent.key.as_deref().unwrap_or(&intent.email));
            users.or_default().extend(answer.user_id);
        }
        let keys = users.into_iter().filter(|(_, users)| users.len() > 1);
        let mut addresses = BTreeSet::new();
        let twice = self.rows.iter().filter(|row| !addresses.insert(&row.email));
        keys.map(|(key, users)| format!("{key}: {users:?}"))
            .chain(twice.map(|row| row.email.clone()))
            .collect()
    }

    /// Mails, by their Message-ID.
    fn mails_by_id(&self) -> BTreeMap<&str, Vec<&Mail>> {
        let mut mails = BTreeMap::<&str, Vec<&Mail>>::new();
        for mail in &self.mails {
            mails.entry(&mail.message_id).or_default().push(mail);
        }
        mails
    }

    /// The registration of a Message-ID: `<id@domain>`.
    fn registration_of(message_id: &str) -> &str {
        message_id
            .trim_start_matches('<')
            .split('@')
            .next()
            .unwrap()
    }

    fn mails_without_a_row(&self) -> Vec<String> {
        let rows: BTreeMap<&str, &str> = self
            .rows
            .iter()
            .map(|row| (&*row.registration_id, &*row.email))
            .collect();
        self.mails
            .iter()
            .filter(|mail| rows.get(Self::registration_of(&mail.message_id)) != Some(&&*mail.to))
            .map(|mail| format!("{mail:?}"))
            .collect()
    }

    /// Nobody can send to `refused…`, and the outbox must say so.
    fn rows_without_a_mail(&self) -> Vec<String> {
        let sent: BTreeSet<&str> = self
            .mails
            .iter()
            .map(|mail| Self::registration_of(&mail.message_id))
            .collect();
        self.rows
            .iter()
            .filter(|row| match row.email.starts_with("refused") {
                true => row.mail != "failed",
                false => !sent.contains(&*row.registration_id) || row.mail != "sent",
            })
            .map(|row| format!("{row:?}"))
            .collect()
    }

    fn doubled_mails(&self) -> Doubled {
        let mut doubled = Doubled::default();
        for (id, mails) in self.mails_by_id() {
            for (first, second) in mails.iter().zip(mails.iter().skip(1)) {
                match self.excuse(first, second) {
                    Some(excuse) => *doubled.within.entry(excuse).or_default() += 1,
                    None => doubled.outside.push(format!("{id}: {first:?}, {second:?}")),
                }
            }
        }
        doubled
    }

    /// What explains that a mail went out again, if anything: nobody was told that it was taken, or who was told died or
    /// slept before it had noted that. Other processes may die, and connections may break, without a second mail.
    fn excuse(&self, mail: &Mail, again: &Mail) -> Option<&'static str> {
        if mail.silent || again.slow {
            return Some(LOST_250);
        }
        let noted = self.noted(mail);
        let excuse = self.faults.iter().find(|fault| match fault.kind {
            Kind::MailAway => (fault.from - mail.at).abs() < AROUND_DEATH,
            _ if fault.service != "notification-service" => false,
            Kind::Kill => fault.from <= noted && fault.from + TAKEN_AFTER >= mail.at,
            // It had sent the first and could not say so, or sends the second when it wakes.
            Kind::LongPause => {
                (fault.from <= noted && fault.from + TAKEN_AFTER >= mail.at)
                    || (fault.to <= again.at && fault.to + TAKEN_AFTER >= again.at)
            }
            Kind::Pause
            | Kind::Cut
            | Kind::Silence
            | Kind::Lock
            | Kind::LongLock
            | Kind::DatabaseAway
            | Kind::Crash => false,
        });
        excuse.map(|fault| fault.kind.name())
    }

    /// When it should have been noted that a mail was accepted.
    fn noted(&self, mail: &Mail) -> f64 {
        let away = [Kind::Lock, Kind::LongLock, Kind::DatabaseAway, Kind::Crash];
        let locks = (self.faults.iter()).filter(|fault| away.contains(&fault.kind));
        let mut noted = mail.at + NOTED_AFTER;
        for lock in locks {
            if lock.from <= noted && lock.to >= mail.at {
                noted = noted.max(lock.to + NOTED_AFTER);
            }
        }
        noted
    }

    fn events_and_rows_that_differ(&self) -> Vec<String> {
        let rows: BTreeMap<&str, &Row> = self
            .rows
            .iter()
            .map(|row| (&*row.registration_id, row))
            .collect();
        let told: BTreeSet<&str> = self
            .events
            .iter()
            .map(|event| &*event.registration_id)
            .collect();
        let untrue = self
            .events
            .iter()
            .filter(|event| {
                let row = rows.get(&*event.registration_id);
                let said = (event.user_id, &event.name, &event.email);
                row.map(|row| (row.id, &row.name, &row.email)) != Some(said)
            })
            .map(|event| format!("{event:?}"));
        let untold = self
            .rows
            .iter()
            .filter(|row| !told.contains(&*row.registration_id) || row.event != "sent")
            .map(|row| format!("{row:?}"));
        untrue.chain(untold).collect()
    }

    /// What a client was told that is none of 201, 409 and 422, or nothing final.
    fn unexpected(&self) -> Vec<String> {
        let all = self.intents.iter().zip(&self.answers);
        all.filter(|(_, answer)| !matches!(answer.status, Some(201 | 409 | 422)))
            .map(|(intent, answer)| format!("{intent:?}: {answer:?}"))
            .collect()
    }

    #[track_caller]
    pub(crate) fn assert_balanced(&self) {
        for (what, found) in [
            ("201s without a row", self.lost()),
            ("keys or addresses with two users", self.doubled_users()),
            ("mails without a row", self.mails_without_a_row()),
            ("rows without a mail", self.rows_without_a_mail()),
            (
                "mails doubled outside the window",
                self.doubled_mails().outside,
            ),
            (
                "events that differ from the rows",
                self.events_and_rows_that_differ(),
            ),
            ("answers that are not final", self.unexpected()),
            ("answers that are not true", untrue(self)),
        ] {
            assert!(found.is_empty(), "{what}: {found:#?}");
        }
        assert!(self.created().count() * 2 > self.intents.len());
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Doubled { within, outside } = self.doubled_mails();
        let within: Vec<String> = within
            .iter()
            .map(|(excuse, count)| format!("{excuse} {count}"))
            .collect();
        let tries: usize = self.answers.iter().map(|answer| answer.tries).sum();
        write!(
            f,
            "{} registrations in {tries} requests, {} x 201, {} rows, {} mails; lost {}, doubled users {}, \
             doubled mails {} (and within the window: {}), mails without a row {}, rows without a mail {}, \
             events that differ {}, answers that are not true {}, without a final answer {}",
            self.intents.len(),
            self.created().count(),
            self.rows.len(),
            self.mails_by_id().len(),
            self.lost().len(),
            self.doubled_users().len(),
            outside.len(),
            within.join(", "),
            self.mails_without_a_row().len(),
            self.rows_without_a_mail().len(),
            self.events_and_rows_that_differ().len(),
            untrue(self).len(),
            self.unexpected().len(),
        )
    }
}
