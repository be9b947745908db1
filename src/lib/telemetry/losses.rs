//! What goes on failing, said when it begins, each minute, and when it is over.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// How often it is said that something fails, whether all the time or now and then.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Says what is lost, and not each of a thousand failures.
#[derive(Debug)]
pub(super) struct Losses {
    what: String,
    said: Option<Instant>,
    /// The failures since the last success were said.
    is_known: bool,
    /// Spans lost since it was last said, and all of them.
    unsaid: u64,
    all: u64,
}

/// What is to be said about an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Fails { lost: u64, all: u64 },
    Works { all: u64 },
}

impl Losses {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            said: None,
            is_known: false,
            unsaid: 0,
            all: 0,
        }
    }

    /// Notes how the last attempt went: it was for so many spans.
    pub(super) fn note(&mut self, spans: u64, result: Result<(), impl Display>, now: Instant) {
        let word = self.word(spans, result.is_ok(), now);
        let what = &self.what;
        match (word, result) {
            (Some(Word::Fails { lost, all }), Err(error)) => {
                tracing::warn!(
                    lost,
                    lost_since_start = all,
                    "{what}: {error}; requests are not affected"
                );
            }
            (Some(Word::Works { all }), _) => {
                tracing::info!(lost_since_start = all, "{what}: works again");
            }
            _ => {}
        }
    }

    fn word(&mut self, spans: u64, is_good: bool, now: Instant) -> Option<Word> {
        if is_good {
            let was_known = std::mem::take(&mut self.is_known);
            return was_known.then_some(Word::Works { all: self.all });
        }
        self.unsaid += spans;
        self.all += spans;
        let is_due = |said| now.duration_since(said) >= SAY_EVERY;
        if !self.said.is_none_or(is_due) {
            return None;
        }
        self.said = Some(now);
        self.is_known = true;
        Some(Word::Fails {
            lost: std::mem::take(&mut self.unsaid),
            all: self.all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_said_once_a_minute_and_its_end_once() {
        let mut losses = Losses::new("writing");
        let began = Instant::now();
        let mut word =
            |second, is_good| losses.word(5, is_good, began + Duration::from_secs(second));
        assert_eq!(None, word(0, true));
        assert_eq!(Some(Word::Fails { lost: 5, all: 5 }), word(1, false));
        for second in 2..61 {
            assert_eq!(None, word(second, false));
        }
        let after_a_minute = Word::Fails {
            lost: 300,
            all: 305,
        };
        assert_eq!(Some(after_a_minute), word(61, false));
        assert_eq!(Some(Word::Works { all: 305 }), word(62, true));
        assert_eq!(None, word(63, true));
    }

    #[test]
    fn what_fails_now_and_then_is_no_flood() {
        let mut losses = Losses::new("writing");
        let began = Instant::now();
        let words = (0..600).filter_map(|second| {
            losses.word(1, second % 2 == 1, began + Duration::from_secs(second))
        });
        assert_eq!(20, words.count());
    }
}
