use super::*;
use crate::traces::{
    Selector,
    fixtures::{REGISTER, Sketch, append, get_user, register, write},
    read,
};

const UNICODE: Options = Options {
    width: 80,
    color: false,
    ascii: false,
};
const ASCII: Options = Options {
    ascii: true,
    ..UNICODE
};

fn trace(sketches: &[Sketch]) -> Trace {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), REGISTER, sketches);
    read(dir.path(), &Selector::Last).unwrap()
}

/// All that can be odd: an error, a missing parent, a skewed clock, hostile names, damaged lines.
fn odd() -> Trace {
    let dir = tempfile::tempdir().unwrap();
    let mut sketches = register();
    sketches[8].error =
        Some("the mail server refused ünder\nall \u{1b}[31mcircumstances, and said so at length");
    sketches[8].attributes = vec![(
        "error.type",
        serde_json::json!({"stringValue": "unavailable"}),
    )];
    sketches[7].error = Some("");
    sketches[6].times = (900_000, 100);
    sketches[3].name =
        "a_name_that_is_so_long_that_no_terminal_of_any_reasonable_width_shows_all_of_it";
    sketches.remove(5);
    sketches.remove(2);
    write(dir.path(), REGISTER, &sketches);
    append(dir.path(), "gateway-k3x9q0v7ab.jsonl", "damaged\n{");
    read(dir.path(), &Selector::Last).unwrap()
}

#[test]
fn a_registration_in_unicode() {
    let expected = "\
trace 4bf92f3577b34da6a3ce929d0e0e4736
POST /register -> 201  485.2 ms  9 spans, 4 services
                                                       all     self
 1. proxy_http_request                            485.2 ms   2.4 ms |██████████|
 2.  proxy_route_to_replica (APIGateway)          482.8 ms  0.75 ms |██████████|
 3.   replica_handle_request (APIGateway)         482.1 ms   2.6 ms |██████████|
 4.    proxy_route_to_replica (UserService)       479.5 ms  0.75 ms |██████████|
 5.     replica_handle_request (UserService)      478.8 ms   4.8 ms |██████████|
        +130.5 ms gate verdict=proceed
 6.      proxy_route_to_replica (DatabaseService)   125 ms  0.75 ms |███       |
 7.       replica_handle_reque… (DatabaseService) 124.3 ms 124.3 ms |███       |
 8.      proxy_route_to_re… (NotificationService)   349 ms  0.75 ms |  ████████|
 9.       replica_handle_r… (NotificationService) 348.3 ms 348.3 ms |  ████████|
replicas: database-service/k3x9q0v7ab gateway/k3x9q0v7ab
notification-service/k3x9q0v7ab user-service/k3x9q0v7ab
";
    assert_eq!(expected, render(&trace(&register()), &UNICODE));
}

#[test]
fn a_registration_in_ascii() {
    let expected = "\
trace 4bf92f3577b34da6a3ce929d0e0e4736
POST /register -> 201  485.2 ms  9 spans, 4 services
                                                       all     self
 1. proxy_http_request                            485.2 ms   2.4 ms |##########|
 2.  proxy_route_to_replica (APIGateway)          482.8 ms  0.75 ms |##########|
 3.   replica_handle_request (APIGateway)         482.1 ms   2.6 ms |##########|
 4.    proxy_route_to_replica (UserService)       479.5 ms  0.75 ms |##########|
 5.     replica_handle_request (UserService)      478.8 ms   4.8 ms |##########|
        +130.5 ms gate verdict=proceed
 6.      proxy_route_to_replica (DatabaseService)   125 ms  0.75 ms |###-------|
 7.       replica_handle_req... (DatabaseService) 124.3 ms 124.3 ms |###-------|
 8.      proxy_route_to_... (NotificationService)   349 ms  0.75 ms |--########|
 9.       replica_handle... (NotificationService) 348.3 ms 348.3 ms |--########|
replicas: database-service/k3x9q0v7ab gateway/k3x9q0v7ab
notification-service/k3x9q0v7ab user-service/k3x9q0v7ab
";
    assert_eq!(expected, render(&trace(&register()), &ASCII));
}

#[test]
fn errors_and_gaps_are_said_in_words() {
    let expected = "\
trace 4bf92f3577b34da6a3ce929d0e0e4736
POST /register -> 201  485.2 ms  7 spans, 4 services
                                                       all     self
 1. proxy_http_request                            485.2 ms   2.4 ms |██████████|
 2.  proxy_route_to_replica (APIGateway)          482.8 ms 482.8 ms |██████████|
 3. a_name_that_i… (UserService) (parent missing) 479.5 ms  0.75 ms |██████████|
 4.  replica_handle_request (UserService)         478.8 ms 129.8 ms |██████████|
     +130.5 ms gate verdict=proceed
 5.   ✗ proxy_route_to_rep… (NotificationService)   349 ms  0.75 ms |  ████████|
 6.    ✗ replica_handle_re… (NotificationService) 348.3 ms 348.3 ms |  ████████|
       unavailable: the mail server refused ünder all ?[31mcircumstances, and
       said so at length
 7. replica_h… (DatabaseService) (parent missing)     0 ms     0 ms |         █|
replicas: database-service/k3x9q0v7ab gateway/k3x9q0v7ab
notification-service/k3x9q0v7ab user-service/k3x9q0v7ab
incomplete: the parents of 2 spans are missing, 1 call's other side is missing;
a process may not have written its spans yet
skipped: 1 damaged line, 1 half-written line
";
    assert_eq!(expected, render(&odd(), &UNICODE));
}

#[test]
fn what_nobody_waited_for_is_lighter_and_the_legend_says_so() {
    let mut parallel = register();
    for mail in [7, 8] {
        parallel[mail].times.0 = 5_100;
    }
    let text = render(&trace(&parallel), &UNICODE);
    let bar = |number: &str| {
        let line = text.lines().find(|line| line.starts_with(number));
        line.unwrap().to_owned()
    };
    assert!(
        bar(" 7. ").contains("▒▒▒") && bar(" 9. ").contains("███"),
        "{text}"
    );
    assert!(
        text.contains("█ the answer waited for, ▒ beside that"),
        "{text}"
    );
}

#[test]
fn what_goes_on_behind_the_answer_does_not_shrink_what_was_before() {
    let mut late = register();
    for mail in [7, 8] {
        late[mail].times.1 += 60_000_000;
    }
    let text = render(&trace(&late), &UNICODE);
    assert!(text.contains("482.8 ms  0.75 ms |██████████|\n"), "{text}");
    assert!(text.contains(" |  ████████>\n"), "{text}");
    let words = "> goes on behind the answer, for 59.99 s at most";
    assert!(text.contains(words), "{text}");
}

#[test]
fn waits_and_attempts_stand_below_their_span() {
    let mut repeated = register();
    let attribute =
        |key: &'static str, number: &str| (key, serde_json::json!({"intValue": number}));
    repeated[3].attributes = vec![
        attribute("attempt", "2"),
        attribute("queue_wait_ms", "12"),
        ("replica_id", serde_json::json!({"stringValue": "u2"})),
        (
            "rpc.method",
            serde_json::json!({"stringValue": "user/register_user"}),
        ),
    ];
    repeated[4].attributes = vec![attribute("queue_wait_ms", "12")];
    let text = render(&trace(&repeated), &UNICODE);
    let below = "\
 4.    proxy_route_to_replica (UserService)       479.5 ms  0.75 ms |██████████|
       2 attempts, the last one answered by u2
 5.     replica_handle_request (UserService)      478.8 ms   4.8 ms |██████████|
        waited 12 ms for its turn
        +130.5 ms gate verdict=proceed
";
    assert!(text.contains(below), "{text}");
}

#[test]
fn a_wide_terminal_shows_the_processes_and_one_head_line() {
    let wide = Options {
        width: 120,
        ..UNICODE
    };
    let text = render(&trace(&register()), &wide);
    assert!(
        text.starts_with(&format!(
            "trace {REGISTER}  POST /register -> 201  485.2 ms  9 spans"
        )),
        "{text}"
    );
    assert!(text.contains(" notification-service/k3x9q0v7ab "), "{text}");
    assert!(!text.contains("replicas:"), "{text}");
    let narrower = Options {
        width: 119,
        ..UNICODE
    };
    let below = "replicas: database-service/k3x9q0v7ab gateway/k3x9q0v7ab";
    assert!(render(&trace(&register()), &narrower).contains(below));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let chain: Vec<Sketch> = (1..=300)
        .map(|id| Sketch {
            id,
            parent: id - 1,
            ..register()[2].clone()
        })
        .collect();
    for trace in [trace(&register()), trace(&get_user()), trace(&chain), odd()] {
        for width in (0..60).step_by(7).chain(60..=200) {
            for ascii in [false, true] {
                let text = render(
                    &trace,
                    &Options {
                        width,
                        ascii,
                        color: false,
                    },
                );
                for line in text.lines() {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                    assert!(!ascii || line.is_ascii(), "{line}");
                    assert!(!line.contains(char::is_control), "{line}");
                }
            }
        }
    }
}

#[test]
fn colours_change_nothing_but_the_colour() {
    let colored = render(
        &odd(),
        &Options {
            color: true,
            ..UNICODE
        },
    );
    assert!(
        colored.contains("\u{1b}[31m   ✗ replica_handle_re"),
        "{colored}"
    );
    let plain = ["0", "1", "2", "31"].iter().fold(colored, |text, code| {
        text.replace(&format!("\u{1b}[{code}m"), "")
    });
    assert_eq!(render(&odd(), &UNICODE), plain);
}

#[test]
fn times_out_of_any_range_are_shown() {
    let id = REGISTER.parse().unwrap();
    let spans = |times: &[(u64, u64)]| {
        let one = trace(&register()[..1]).rows().next().unwrap().span.clone();
        let spans = times.iter().zip(1..).map(|((start, end), id)| Span {
            span_id: format!("{id:016x}").parse().unwrap(),
            start: *start,
            end: *end,
            ..one.clone()
        });
        Trace::new(id, spans.collect(), 0, 0)
    };
    for times in [
        vec![],
        vec![(0, 0)],
        vec![(0, u64::MAX), (u64::MAX, 0)],
        vec![(u64::MAX, 1), (5, 6)],
    ] {
        let text = render(&spans(&times), &ASCII);
        let bars = text.lines().filter(|line| line.contains('#')).count();
        assert_eq!(times.len(), bars, "{text}");
    }
}
