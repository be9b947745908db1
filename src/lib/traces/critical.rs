//! The critical path: what the answer waited for. Anything else could take longer, and nobody would notice.
//!
//! From the end of a span backwards: whoever ended last before a moment is what was waited for until then, and from
//! his begin on it is the turn of whoever had ended by then. One who waited for something beside him, as an event of his
//! tells, was waited for from that moment on only; before it is the turn of what he waited for.

use super::tree::Placed;

/// Marks the path of each top of the tree. Spans are placed depth first.
pub(super) fn mark(placed: &mut [Placed]) {
    let mut at = 0;
    while at < placed.len() {
        let end = after(placed, at);
        if placed[at].depth == 0 {
            mark_from(placed, at);
        }
        at = end;
    }
}

/// Where the spans below one end.
fn after(placed: &[Placed], at: usize) -> usize {
    let depth = placed[at].depth;
    let below = placed[at + 1..].iter().take_while(|one| one.depth > depth);
    at + 1 + below.count()
}

fn mark_from(placed: &mut [Placed], top: usize) {
    // A list of its own, because the input decides how deep the tree is. Beside each span the moment until which it was
    // waited for, by its clock.
    let mut waiting = vec![(top, placed[top].span.end)];
    while let Some((at, given_up)) = waiting.pop() {
        placed[at].is_critical = true;
        let parent = &placed[at].span;
        let mut children = Vec::new();
        let (mut child, end) = (at + 1, after(placed, at));
        while child < end {
            let span = &placed[child].span;
            // What begins after the answer is waited for by nobody.
            if !(span.has_clock_of(parent) && span.start > given_up) {
                children.push(child);
            }
            child = after(placed, child);
        }
        // Clocks differ: a child counts as ended with its parent at the latest.
        let ended = |child: usize| placed[child].span.end.min(placed[at].span.end);
        children.sort_by_key(|child| std::cmp::Reverse((ended(*child), placed[*child].span.start)));
        let mut until = placed[at].span.end;
        let mut was_held_up = false;
        for child in children {
            let start = placed[child].span.start;
            // What held somebody up ended before him, whatever the clocks say.
            if ended(child) <= until || (was_held_up && start < until) {
                let held_up = held_up_until(placed, child);
                was_held_up = held_up.is_some();
                until = held_up.unwrap_or(start);
                let span = &placed[child].span;
                let given_up = match span.has_clock_of(&placed[at].span) {
                    true => span.end.min(given_up),
                    false => span.end,
                };
                waiting.push((child, given_up));
            }
        }
    }
}

/// The last moment until which a span, or one below it, waited for something beside it.
fn held_up_until(placed: &[Placed], at: usize) -> Option<u64> {
    let below = placed[at..after(placed, at)].iter();
    below
        .flat_map(|one| one.span.waits())
        .map(|wait| wait.end)
        .max()
}

#[cfg(test)]
mod tests {
    use crate::traces::{
        Selector, Trace,
        fixtures::{REGISTER, Sketch, register, write},
        read,
    };

    fn trace(sketches: &[Sketch]) -> Trace {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), REGISTER, sketches);
        read(dir.path(), &Selector::Last).unwrap()
    }

    fn numbers(sketches: &[Sketch]) -> Vec<usize> {
        let trace = trace(sketches);
        let critical = trace.rows().filter(|row| row.is_critical);
        critical.map(|row| row.number).collect()
    }

    #[test]
    fn calls_one_after_the_other_are_all_waited_for() {
        assert_eq!((1..=9).collect::<Vec<_>>(), numbers(&register()));
    }

    #[test]
    fn of_two_parallel_calls_the_longer_one_is_waited_for() {
        let mut sketches = register();
        for earlier in [7, 8] {
            sketches[earlier].times.0 = 6_000;
        }
        assert_eq!(vec![1, 2, 3, 4, 5, 8, 9], numbers(&sketches));
    }

    #[test]
    fn what_a_parallel_call_waits_for_at_a_gate_is_waited_for_in_its_place() {
        let mut sketches = register();
        for earlier in [7, 8] {
            sketches[earlier].times.0 = 6_000;
        }
        // The mail is ready at once, and held back until the row is committed.
        sketches[8].waited = Some((131_000, 120_000));
        assert_eq!((1..=9).collect::<Vec<_>>(), numbers(&sketches));
        let trace = trace(&sketches);
        let own = |number: usize| trace.rows().nth(number - 1).unwrap().self_time;
        let whole = trace.rows().nth(8).unwrap().span.duration();
        assert_eq!(whole - 120_000_000, own(9));
    }

    #[test]
    fn what_begins_after_the_answer_is_waited_for_by_nobody() {
        let mut sketches = register();
        let (replica, began) = (sketches[6].clone(), sketches[6].times.1);
        sketches.push(Sketch {
            id: 10,
            parent: replica.id,
            name: "UPDATE outbox",
            kind: 3,
            times: (began + 1, began + 2),
            ..replica
        });
        assert_eq!(vec![1, 2, 3, 4, 5, 6, 7, 9, 10], numbers(&sketches));
    }

    #[test]
    fn a_call_that_was_given_up_is_waited_for_until_then() {
        let mut sketches = register();
        // The mail's call goes on for a second after the answer, and its replica begins only then.
        let end = sketches[7].times.1;
        sketches[7].times.1 = end + 1_000_000;
        sketches[8].times = (end + 900_000, end + 990_000);
        assert_eq!((1..=8).collect::<Vec<_>>(), numbers(&sketches));
    }

    #[test]
    fn a_clock_that_is_ahead_hides_nobody() {
        let mut sketches = register();
        // Of the process that answers; the caller's side has the clock of what is above it.
        sketches[8].times.0 += 10_000_000;
        sketches[8].times.1 += 10_000_000;
        assert!(numbers(&sketches).contains(&9));
    }
}
