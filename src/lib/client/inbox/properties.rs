//! The inbox against a model: who waits, what reached him, and what came too late.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::Service;

const CAPACITY: usize = 2;

#[derive(Debug, Clone, Copy)]
enum Step {
    Wait,
    /// A message for the n-th who ever waited, gone or not.
    Answer(usize),
    /// One for nobody.
    Stray,
    Read(usize),
    /// However the call ended, its future is dropped.
    End(usize),
    LoseConnection,
}

fn step() -> impl Strategy<Value = Step> {
    let nth = 0..12_usize;
    prop_oneof![
        3 => Just(Step::Wait),
        4 => nth.clone().prop_map(Step::Answer),
        1 => Just(Step::Stray),
        3 => nth.clone().prop_map(Step::Read),
        2 => nth.prop_map(Step::End),
        1 => Just(Step::LoseConnection),
    ]
}

/// One who waits, as the model has him.
#[derive(Debug, Default)]
struct Expected {
    unread: usize,
    lost: bool,
}

fn message(subject: String) -> Message {
    Message {
        subject: subject.into(),
        reply: None,
        payload: bytes::Bytes::new(),
        headers: None,
        status: None,
        description: None,
        length: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn who_waits_gets_what_is_his_and_nothing_is_left_behind(steps in prop::collection::vec(step(), 1..80)) {
        let inbox = Inbox::new(&Instance::new(Service::new("caller")));
        let mut subjects = Vec::new();
        let mut waiters = BTreeMap::new();
        let mut model: BTreeMap<usize, Expected> = BTreeMap::new();
        let (mut received, mut late) = (0, 0);
        for step in steps {
            match step {
                Step::Wait => {
                    let waiter = inbox.wait("callee", Sent::Other, CAPACITY);
                    model.insert(subjects.len(), Expected::default());
                    let subject = waiter.subject();
                    waiters.insert(subjects.len(), waiter);
                    subjects.push(subject);
                }
                Step::Answer(nth) => if let Some(subject) = subjects.get(nth) {
                    inbox.deliver(message(subject.clone()));
                    received += 1;
                    match model.get_mut(&nth) {
                        Some(one) if !one.lost && one.unread < CAPACITY => one.unread += 1,
                        _ => late += 1,
                    }
                },
                Step::Stray => {
                    inbox.deliver(message("_INBOX.caller.callee.x.nonsense".to_owned()));
                    (received, late) = (received + 1, late + 1);
                }
                Step::Read(nth) => if let Some(waiter) = waiters.get_mut(&nth) {
                    let one = model.get_mut(&nth).expect("both or none");
                    match waiter.next().now_or_never() {
                        Some(Some(_)) => one.unread = one.unread.checked_sub(1).expect("one was unread"),
                        Some(None) => prop_assert!(one.lost && one.unread == 0),
                        None => prop_assert!(!one.lost && one.unread == 0),
                    }
                },
                Step::End(nth) => {
                    waiters.remove(&nth);
                    model.remove(&nth);
                }
                Step::LoseConnection => {
                    inbox.abandon();
                    model.values_mut().for_each(|one| one.lost = true);
                }
            }
            let waiting = model.values().filter(|one| !one.lost).count();
            let open = inbox.waiting().values().filter(|entry| !entry.is_closed).count();
            prop_assert_eq!(waiting, open);
            prop_assert_eq!((received, late), (inbox.received(), inbox.late()));
        }
        drop(waiters);
        prop_assert!(inbox.waiting().is_empty());
    }
}
