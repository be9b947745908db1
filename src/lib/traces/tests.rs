use std::fs;

use super::{
    fixtures::{GET_USER, REGISTER, Sketch, append, get_user, ids, line, register, write},
    *,
};

fn prefix(text: &str) -> Selector {
    text.parse().unwrap()
}

/// Reads back what the spans are after they were written to their services' files.
pub(super) fn read_sketches(sketches: &[Sketch]) -> Trace {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, sketches);
    read(dir.path(), &prefix(REGISTER)).unwrap()
}

pub(super) fn depths(trace: &Trace) -> Vec<usize> {
    trace.rows().map(|row| row.depth).collect()
}

#[test]
fn a_trace_is_put_together_from_the_files_of_all_services() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, &register());
    write(dir.path(), GET_USER, &get_user());
    assert_eq!(4, fs::read_dir(dir.path()).unwrap().count());

    let trace = read(dir.path(), &prefix("4BF92F")).unwrap();
    assert_eq!(vec![0, 1, 2, 3, 4, 5, 6, 5, 6], depths(&trace));
    assert_eq!(REGISTER, trace.id().to_string());
    assert_eq!(4, trace.services().len());
    assert_eq!(485_200_000, trace.duration());
    assert!(trace.is_complete(), "{:?}", trace.gaps());
    assert_eq!((0, 0), (trace.skipped_lines, trace.torn_lines));

    let trace = read(dir.path(), &prefix(GET_USER)).unwrap();
    assert_eq!(vec![0, 1, 2, 3, 4, 5, 6], depths(&trace));
    assert!(trace.is_complete());
}

#[test]
fn a_span_keeps_what_was_written() {
    let mut sketches = register();
    sketches[8].error = Some("mailbox is full");
    let trace = read_sketches(&sketches);
    let spans: Vec<&Span> = trace.rows().map(|row| row.span).collect();
    assert_eq!(
        Some(&Value::Int(201)),
        spans[0].attributes.get("http.response.status_code")
    );
    assert_eq!(Some("/register"), spans[0].text("url.path"));
    assert_eq!((Kind::Server, Kind::Client), (spans[0].kind, spans[1].kind));
    assert!(spans[0].events.is_empty());
    let gate = &spans[4].events[0];
    assert_eq!(("gate", 1), (gate.name.as_str(), gate.attributes.len()));
    assert_eq!(Status::Unset, spans[0].status);
    assert_eq!(Status::Error("mailbox is full".into()), spans[8].status);
    assert_eq!("notification-service", spans[8].service);
    assert_eq!(Some("k3x9q0v7ab"), spans[8].instance.as_deref());
}

#[test]
fn a_trace_is_written_as_json() {
    let json = serde_json::to_value(read_sketches(&register())).unwrap();
    assert_eq!(REGISTER, json["trace_id"]);
    assert_eq!(true, json["complete"]);
    assert_eq!(4, json["spans"][3]["number"]);
    assert_eq!("0000000000000003", json["spans"][3]["parent_span_id"]);
    assert_eq!("UserService", json["spans"][3]["attributes"]["deployment"]);
    assert_eq!("unset", json["spans"][3]["status"]["code"]);
}

#[test]
fn the_file_name_names_the_service_that_a_line_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let bare = line(REGISTER, &register()[0]).replace("service.", "other.");
    append(dir.path(), "user-service-k3x9.jsonl", &(bare + "\n"));
    let trace = read(dir.path(), &Selector::Last).unwrap();
    let span = trace.rows().next().unwrap().span;
    assert_eq!(
        ("user-service", Some("k3x9")),
        (span.service.as_str(), span.instance.as_deref())
    );
}

#[test]
fn damaged_and_torn_lines_cost_only_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let whole = line(REGISTER, &register()[0]);
    let half = &whole[..whole.len() / 2];
    append(dir.path(), "a-1.jsonl", "\nnot json\n");
    append(
        dir.path(),
        "a-1.jsonl",
        &whole.replace("0000000000000001", "span"),
    );
    append(
        dir.path(),
        "a-1.jsonl",
        &format!("\n{half}\n{whole}\n{half}"),
    );
    write(dir.path(), REGISTER, &register()[1..]);
    append(dir.path(), "b-2.jsonl", "{");
    append(dir.path(), "c-3.jsonl", &whole.to_uppercase());
    append(dir.path(), "d-4.txt", "not json\n");
    for selector in [Selector::Last, prefix(REGISTER)] {
        let trace = read(dir.path(), &selector).unwrap();
        assert!(trace.is_complete());
        assert_eq!(3, trace.skipped_lines);
        // Upper case keys are unknown fields, so that line is whole and empty.
        assert_eq!(2, trace.torn_lines);
    }
}

#[test]
fn an_index_that_tells_of_more_than_there_is_keeps_nobody_from_the_spans() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, &register());
    // As it would be beside a file that somebody has cut since.
    let root = r#""start":1693310400000000000,"duration":1,"method":"","path":"","route":"","status":null,"error":false"#;
    let root = format!(r#"{{"trace_id":"{GET_USER}",{root}}}"#);
    let of_another = format!(r#"{{"written":1,"offset":0,"length":1000000,"roots":[{root}]}}"#);
    for file in fs::read_dir(dir.path()).unwrap() {
        let index = file.unwrap().path().with_extension("index");
        fs::write(index, format!("{of_another}\n")).unwrap();
    }
    for selector in [prefix(REGISTER), Selector::Last] {
        let trace = read(dir.path(), &selector).unwrap();
        assert_eq!(9, trace.rows().len());
    }
    let all = requests(dir.path(), &Filter::default()).unwrap();
    assert_eq!(vec![REGISTER.to_owned()], ids(&all.requests));
}

#[test]
fn several_requests_of_one_caller_are_one_whole_trace() {
    let mut second = register();
    for sketch in &mut second {
        sketch.id += 100;
        sketch.parent += if sketch.parent > 0 { 100 } else { 0 };
        sketch.times = (sketch.times.0 + 1_000_000, sketch.times.1 + 1_000_000);
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, &register());
    write(dir.path(), REGISTER, &second);
    let trace = read(dir.path(), &prefix(REGISTER)).unwrap();
    assert!(trace.is_complete());
    assert_eq!((18, 2), (trace.rows().len(), trace.gaps().roots));
    // From the first to the last.
    assert_eq!(trace.end() - trace.start(), trace.duration());
}

#[test]
fn ids_in_upper_case_are_the_same_ids() {
    let dir = tempfile::tempdir().unwrap();
    for sketch in register() {
        let text = line(REGISTER, &sketch).replace(REGISTER, &REGISTER.to_uppercase());
        append(dir.path(), "a-1.jsonl", &(text + "\n"));
    }
    assert!(read(dir.path(), &prefix(REGISTER)).unwrap().is_complete());
}

#[test]
fn last_is_the_trace_whose_root_ended_last() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, &register());
    write(dir.path(), GET_USER, &get_user());
    assert_eq!(
        REGISTER,
        read(dir.path(), &Selector::Last).unwrap().id().to_string()
    );

    // Neither a later span without a root nor the order in the file decides.
    let mut orphan = get_user()[3].clone();
    orphan.times.1 = 900_000_000;
    write(dir.path(), "4bf9bbbb77b34da6a3ce929d0e0e4736", &[orphan]);
    let mut old = get_user()[0].clone();
    for trace in 0..20 {
        old.times.1 = 10_000 + trace;
        write(
            dir.path(),
            &format!("{:032x}", trace + 1),
            std::slice::from_ref(&old),
        );
    }
    assert_eq!(
        REGISTER,
        read(dir.path(), &Selector::Last).unwrap().id().to_string()
    );
}

#[test]
fn what_a_process_begins_by_itself_is_not_the_last_request() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, &register());
    let mut relay = get_user()[0].clone();
    relay.name = "outbox_relay";
    relay.times.1 = 900_000_000;
    relay.attributes.clear();
    write(dir.path(), GET_USER, std::slice::from_ref(&relay));
    let last = |dir: &std::path::Path| read(dir, &Selector::Last).unwrap().id().to_string();
    assert_eq!(REGISTER, last(dir.path()));
    // Where there is nothing else, it is the last thing that happened.
    let alone = tempfile::tempdir().unwrap();
    write(alone.path(), GET_USER, &[relay]);
    assert_eq!(GET_USER, last(alone.path()));
}

#[test]
fn without_any_root_last_is_the_trace_that_ended_last() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), GET_USER, &get_user()[1..]);
    write(dir.path(), REGISTER, &register()[1..]);
    let trace = read(dir.path(), &Selector::Last).unwrap();
    assert_eq!(REGISTER, trace.id().to_string());
    assert_eq!(
        Gaps {
            roots: 0,
            missing_parents: 1,
            one_sided_calls: 0
        },
        trace.gaps()
    );
}

#[test]
fn an_absent_trace_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let error = |dir: &std::path::Path, selector: &Selector| read(dir, selector).unwrap_err();

    let gone = error(&dir.path().join("gone"), &Selector::Last);
    assert!(matches!(gone, Error::NoDirectory { .. }), "{gone}");
    assert!(gone.to_string().contains("send a request first"), "{gone}");
    fs::write(dir.path().join("a-1.jsonl"), "").unwrap();
    let empty = error(dir.path(), &prefix("4bf9"));
    assert!(matches!(empty, Error::NoSpans { .. }), "{empty}");
    fs::write(dir.path().join("a-1.jsonl"), "{}\n").unwrap();
    assert!(matches!(
        error(dir.path(), &Selector::Last),
        Error::NoSpans { .. }
    ));
    let unknown = error(dir.path(), &prefix("4bf9"));
    assert!(matches!(unknown, Error::UnknownTrace { .. }), "{unknown}");
    assert!(
        unknown.to_string().contains("older than the files kept"),
        "{unknown}"
    );
    let file = error(&dir.path().join("a-1.jsonl"), &Selector::Last);
    assert!(matches!(file, Error::Unreadable { .. }), "{file}");
    assert!(std::error::Error::source(&file).is_some());
}

#[test]
fn an_ambiguous_prefix_lists_the_last_five() {
    let dir = tempfile::tempdir().unwrap();
    for trace in 1..=7 {
        let mut root = get_user()[0].clone();
        root.times.1 += trace;
        write(dir.path(), &format!("4bf9{trace:028x}"), &[root]);
    }
    let error = read(dir.path(), &prefix("4bf9")).unwrap_err();
    let text = error.to_string();
    let Error::Ambiguous {
        candidates, count, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!((5, 7), (candidates.len(), count));
    assert_eq!(format!("4bf9{:028x}", 7), candidates[0].to_string());
    assert!(
        text.ends_with("3 and 2 more") && text.contains("7 trace ids"),
        "{text}"
    );
}

#[test]
fn any_cut_of_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut text = line(REGISTER, &register()[0]) + "\n";
    text += &line(REGISTER, &register()[1]);
    for cut in (1..text.len()).step_by(7) {
        fs::write(dir.path().join("a-1.jsonl"), &text[..cut]).unwrap();
        match read(dir.path(), &Selector::Last) {
            Ok(trace) => assert_eq!(0, trace.skipped_lines),
            Err(error) => assert!(matches!(error, Error::NoSpans { .. })),
        }
    }
}
