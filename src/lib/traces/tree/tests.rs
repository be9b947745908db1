use crate::traces::{
    Gaps, Trace,
    fixtures::{Sketch, get_user, register},
    tests::{depths, read_sketches},
};

fn shape(trace: &Trace) -> Vec<(usize, usize, String)> {
    trace
        .rows()
        .map(|row| (row.number, row.depth, row.span.span_id.to_string()))
        .collect()
}

#[test]
fn a_span_without_its_parent_is_one_more_root() {
    let mut sketches = register();
    sketches.remove(4);
    let trace = read_sketches(&sketches);
    assert_eq!(vec![0, 1, 2, 3, 0, 1, 0, 1], depths(&trace));
    let missing: Vec<usize> = (trace.rows().filter(|row| row.missing_parent))
        .map(|row| row.number)
        .collect();
    assert_eq!(vec![5, 7], missing);
    assert_eq!(
        Gaps {
            roots: 1,
            missing_parents: 2,
            one_sided_calls: 1
        },
        trace.gaps()
    );
    assert!(!trace.is_complete());
}

#[test]
fn a_call_without_its_other_side_is_a_gap_unless_it_failed() {
    let mut sketches = get_user();
    sketches.pop();
    assert_eq!(1, read_sketches(&sketches).gaps().one_sided_calls);
    sketches[5].error = Some("");
    assert!(read_sketches(&sketches).is_complete());
}

#[test]
fn a_statement_has_no_other_side() {
    let mut sketches = get_user();
    let last = sketches[6].clone();
    sketches.push(Sketch {
        id: 8,
        parent: last.id,
        name: "SELECT users",
        kind: 3,
        ..last
    });
    assert!(read_sketches(&sketches).is_complete());
}

#[test]
fn cycles_end_and_every_span_is_shown_once() {
    let mut sketches = register();
    sketches[2].parent = 5;
    sketches[8].parent = 9;
    let trace = read_sketches(&sketches);
    let mut ids: Vec<String> = trace
        .rows()
        .map(|row| row.span.span_id.to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!((9, 9), (ids.len(), trace.rows().len()));
    assert_eq!(2, trace.gaps().missing_parents);
}

#[test]
fn a_span_that_was_exported_twice_is_shown_once() {
    let once = read_sketches(&register());
    let mut twice = [register(), register()].concat();
    twice[9].times.1 -= 1;
    assert_eq!(shape(&once), shape(&read_sketches(&twice)));
    assert_eq!(once.duration(), read_sketches(&twice).duration());
}

#[test]
fn self_time_is_the_time_that_no_child_covers() {
    let mut sketches = register();
    let times = |trace: &Trace| {
        trace
            .rows()
            .map(|row| row.self_time / 1_000)
            .collect::<Vec<_>>()
    };
    // 478 700 of its own, children from 5 000 to 130 000 and from 131 000 to 480 000.
    assert_eq!(
        478_750 - 125_000 - 349_000,
        times(&read_sketches(&sketches))[4]
    );
    // Overlapping children count once; one that sticks out counts as far as it is inside.
    sketches[7].times = (6_000, 9_000_000);
    assert_eq!(5_000 - 3_400, times(&read_sketches(&sketches))[4]);
}

#[test]
fn skewed_clocks_never_make_a_time_negative() {
    let mut sketches = register();
    sketches[0].times = (400_000, 100_000);
    sketches[5].times = (0, 1);
    let trace = read_sketches(&sketches);
    assert_eq!(0, trace.duration());
    assert_eq!(0, trace.rows().next().unwrap().self_time);
    assert_eq!(9, trace.rows().len());
}

#[test]
fn a_very_deep_trace_needs_no_deep_stack() {
    let chain: Vec<Sketch> = (1..=20_000)
        .map(|id| Sketch {
            id,
            parent: id - 1,
            ..register()[2].clone()
        })
        .collect();
    let trace = read_sketches(&chain);
    assert_eq!(Some(19_999), trace.rows().last().map(|row| row.depth));
}
