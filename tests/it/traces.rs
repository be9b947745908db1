//! Each request is one trace, whole, across all processes.

use std::fs;

use nats_serve::traces::{Trace, Value};
use pretty_assertions::assert_eq;
use reqwest::Method;

use crate::support::{
    Stack, eventually, process,
    stack::trace_in,
    tree::{self, draw},
};

#[tokio::test]
async fn a_request_is_one_trace_of_the_reference_applications_shape() {
    let stack = Stack::start().await;
    let user = stack.get("/user/1").await;
    assert_eq!(tree::GET_USER, draw(&stack.trace(&user, 7).await));

    let registered = stack.register("David", "david@example.com").await;
    let trace = stack.trace(&registered, 9).await;
    assert_eq!(tree::REGISTER, draw(&trace));
    assert!(trace.is_complete());
    let services: Vec<&str> = trace.services().into_iter().collect();
    assert_eq!(
        [
            "database-service",
            "gateway",
            "notification-service",
            "user-service"
        ]
        .as_slice(),
        services
    );
}

/// Lists a span's attributes, those that are chance left out.
fn attributes(trace: &Trace, number: usize) -> Vec<String> {
    let span = trace.rows().nth(number - 1).unwrap().span;
    let chance = ["request_id", "replica_id", "server.port", "queue_wait_ms"];
    for named in chance
        .iter()
        .filter(|named| span.attributes.contains_key(**named))
    {
        assert_ne!(Value::String(String::new()), span.attributes[*named]);
    }
    let kept = span
        .attributes
        .iter()
        .filter(|(name, _)| !chance.contains(&name.as_str()));
    kept.map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[tokio::test]
async fn spans_carry_rays_and_opentelemetrys_attributes() {
    let stack = Stack::start().await;
    let reply = stack.get("/user/1").await;
    let trace = stack.trace(&reply, 7).await;
    assert_eq!(
        [
            "app=default",
            "deployment=APIGateway",
            "http.request.method=GET",
            "http.response.status_code=200",
            "http.route=/user/{user_id}",
            "route=/user/{user_id}",
            "url.path=/user/1",
        ]
        .as_slice(),
        attributes(&trace, 1)
    );
    let rpc = [
        "app=default",
        "attempt=1",
        "call_method=get_user",
        "deployment=DatabaseService",
        "messaging.consumer.group.name=database",
        "messaging.destination.template=svc.database.get_user",
        "messaging.system=nats",
        "rpc.method=database/get_user",
        "rpc.response.status_code=ok",
        "rpc.system.name=nats",
    ];
    let mut routing = rpc.to_vec();
    routing.push("server.address=127.0.0.1");
    assert_eq!(routing, attributes(&trace, 6));
    assert_eq!(rpc.as_slice(), attributes(&trace, 7));
    // Who answered is known on both sides, by the one id that the process has.
    let replica = |row: usize| {
        trace
            .rows()
            .nth(row)
            .unwrap()
            .span
            .text("replica_id")
            .map(str::to_owned)
    };
    assert_eq!(replica(5), replica(6));
    assert_eq!(replica(6), trace.rows().nth(6).unwrap().span.instance);
}

/// The write takes 200 ms, and the mail, which takes 150, waits for it at the gate.
#[tokio::test]
async fn of_a_registration_the_write_is_waited_for_and_the_mails_wait_is_nobodys_time() {
    let stack = Stack::with(&[("SIMULATED_LATENCY", "on")]).await;
    let registered = stack.register("David", "david@example.com").await;
    let trace = stack.trace(&registered, 9).await;
    assert_eq!(tree::REGISTER, draw(&trace));
    assert!(trace.rows().all(|row| row.is_critical), "{trace:?}");
    let mail = trace.rows().find(|row| {
        let is_mail = row.span.text("deployment") == Some("NotificationService");
        is_mail && row.span.name == "replica_handle_request"
    });
    let mail = mail.unwrap();
    let gate = mail.span.events.iter().find(|event| event.name == "gate");
    let waited = gate.unwrap().attributes["waited_us"].to_string();
    let waited = 1_000 * waited.parse::<u64>().unwrap();
    assert!(waited > 0, "{:?}", mail.span);
    assert!(mail.self_time <= mail.span.duration() - waited, "{mail:?}");
}

#[tokio::test]
async fn the_failing_hop_and_its_callers_are_errors_and_a_404_is_none() {
    let mut stack = Stack::start().await;
    let unknown = stack.get("/user/99").await;
    assert_eq!(tree::GET_USER, draw(&stack.trace(&unknown, 7).await));

    stack.leave("database-service").await;
    let broken = stack.get("/user/1").await;
    let trace = stack.trace(&broken, 6).await;
    assert_eq!(
        "\
proxy_http_request (APIGateway) server ERROR unavailable
  proxy_route_to_replica (APIGateway) internal ERROR unavailable
    replica_handle_request (APIGateway) internal ERROR unavailable
      proxy_route_to_replica (UserService) client ERROR unavailable
        replica_handle_request (UserService) server ERROR unavailable
          proxy_route_to_replica (DatabaseService) client ERROR no_responders
",
        draw(&trace)
    );
    // The one caller of the hop that failed tried it three times, and nobody above did.
    let attempts = trace.rows().map(|row| {
        let failed = row.span.events.iter();
        failed
            .filter(|event| event.name == "attempt_failed")
            .count()
    });
    assert_eq!([0, 0, 0, 0, 0, 3].as_slice(), attempts.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_wait_for_a_service_that_is_restarted_is_one_event_and_no_attempt() {
    let mut stack = Stack::with(&[("ABSENCE_WAIT", "30s")]).await;
    stack.leave("user-service").await;
    let url = format!("http://{}/user/1", stack.address());
    let request = reqwest::Client::new().get(url);
    let waiting = tokio::spawn(request.header("request-timeout-ms", "30000").send());
    eventually("a request that waits", async || {
        let text = stack.metrics("gateway").await;
        let in_flight = "nats_serve_requests_in_flight ";
        let line = text.lines().find(|line| line.starts_with(in_flight))?;
        line.ends_with(" 1").then_some(())
    })
    .await;
    stack.add("restarted", "user-service");
    stack.ready("restarted").await;
    let reply = waiting.await.unwrap().unwrap();
    assert_eq!(200, reply.status());

    let traceparent = reply.headers()["traceparent"].to_str().unwrap();
    let id = traceparent.split('-').nth(1).unwrap();
    let trace = trace_in(&stack.spans(), id, 7).await;
    let events = trace.rows().flat_map(|row| row.span.events.iter());
    let events: Vec<String> = events.map(|event| event.name.to_string()).collect();
    let count = |name: &str| events.iter().filter(|one| *one == name).count();
    assert_eq!(
        (1, 0),
        (count("service_absent"), count("attempt_failed")),
        "{events:?}"
    );
    let text = stack.metrics("gateway").await;
    let attempts = text
        .lines()
        .filter(|line| line.starts_with("nats_serve_attempts_total{"));
    let others: Vec<&str> = attempts
        .filter(|line| !line.contains("\"answered\""))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test]
async fn sixty_four_connections_at_once_mix_up_no_trace() {
    let stack = Stack::start().await;
    let work = (0..64).map(|n| {
        let stack = &stack;
        async move {
            let user = stack.get("/user/2").await;
            let registered = stack.register("Xenia", &format!("x{n}@example.com")).await;
            [(user, 7, tree::GET_USER), (registered, 9, tree::REGISTER)]
        }
    });
    for (reply, spans, expected) in futures_util::future::join_all(work)
        .await
        .into_iter()
        .flatten()
    {
        assert!(reply.status.is_success(), "{}", reply.body);
        let trace = stack.trace(&reply, spans).await;
        assert_eq!(expected, draw(&trace));
        let id = reply.header("x-request-id");
        assert!(
            trace
                .rows()
                .all(|row| row.span.text("request_id") == Some(id))
        );
    }
}

#[tokio::test]
async fn a_trusted_callers_trace_is_continued_and_anothers_is_not() {
    let outside = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let stack = Stack::start().await;
    let send = [
        ("traceparent", outside),
        ("tracestate", "vendor=1"),
        ("baggage", "secret=1"),
    ];
    let reply = stack.send(Method::GET, "/user/1", &send, None).await;
    assert_eq!("0af7651916cd43dd8448eb211c80319c", reply.trace_id());
    let trace = stack.trace(&reply, 7).await;
    let root = trace.rows().next().unwrap().span;
    assert_eq!("b7ad6b7169203331", root.parent_span_id.unwrap().to_string());
    // Which of two is meant nobody can say.
    let twice = [("traceparent", outside), ("traceparent", outside)];
    let reply = stack.send(Method::GET, "/user/1", &twice, None).await;
    assert_ne!("0af7651916cd43dd8448eb211c80319c", reply.trace_id());

    let stack = Stack::with(&[("TRUST_TRACEPARENT", "never")]).await;
    let reply = stack.send(Method::GET, "/user/1", &send, None).await;
    assert_ne!("0af7651916cd43dd8448eb211c80319c", reply.trace_id());
    assert_eq!(tree::GET_USER, draw(&stack.trace(&reply, 7).await));
    let malformed = [(
        "traceparent",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )];
    assert_eq!(
        200,
        stack
            .send(Method::GET, "/user/1", &malformed, None)
            .await
            .status
    );
}

#[tokio::test]
async fn the_ratio_is_honoured_by_all_processes_alike() {
    let stack = Stack::with(&[("TRACING_SAMPLING_RATIO", "0.5")]).await;
    let mut replies = Vec::new();
    for _ in 0..40 {
        replies.push(stack.get("/user/1").await);
    }
    let (kept, left): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| reply.header("traceparent").ends_with("-01"));
    assert!(
        !kept.is_empty() && !left.is_empty(),
        "{} of 40 were kept",
        kept.len()
    );
    for reply in kept {
        assert_eq!(tree::GET_USER, draw(&stack.trace(reply, 7).await));
    }
    let written = all_spans(&stack);
    for reply in left {
        assert!(!written.contains(&reply.trace_id()));
    }
}

fn all_spans(stack: &Stack) -> String {
    let files = fs::read_dir(stack.spans()).into_iter().flatten().flatten();
    files
        .map(|file| fs::read_to_string(file.path()).unwrap())
        .collect()
}

#[tokio::test]
async fn with_tracing_off_nothing_is_recorded_and_the_request_id_stays() {
    let mut stack = Stack::with(&[("TRACING_ENABLED", "false")]).await;
    let reply = stack.get("/user/1").await;
    assert_eq!(200, reply.status);
    assert_eq!("", reply.header("traceparent"));
    assert!(!reply.header("x-request-id").is_empty());
    for service in crate::support::stack::SERVICES {
        stack.leave(service).await;
    }
    assert_eq!("", all_spans(&stack));
}

#[tokio::test]
async fn the_trace_command_prints_the_request_that_was_just_answered() {
    let stack = Stack::start().await;
    let reply = stack.register("David", "david@example.com").await;
    let (good, text) = process::run(stack.folder(), &["trace", "last"], &[]);
    assert!(good, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with(&format!("trace {}", reply.trace_id())),
        "{text}"
    );
    assert!(text.contains("POST /register -> 201"), "{text}");
    assert!(text.contains(" 1. proxy_http_request"), "{text}");
    assert!(text.contains(" 9. "), "{text}");
    assert!(!text.contains("incomplete"), "{text}");

    let prefix = &reply.trace_id()[..12];
    let (good, same) = process::run(stack.folder(), &["trace", prefix], &[]);
    assert!(good && same == text, "{same}");

    let (good, unknown) = process::run(stack.folder(), &["trace", "ffffffffffff"], &[]);
    assert!(!good);
    assert_eq!(1, unknown.lines().count(), "{unknown}");
    assert!(unknown.starts_with("nats-serve: "), "{unknown}");
    let (good, nonsense) = process::run(stack.folder(), &["trace", "xyz"], &[]);
    assert!(!good && !nonsense.contains("panicked"), "{nonsense}");
}

#[tokio::test]
async fn a_frozen_hop_is_named_before_it_has_written_anything() {
    let stack = Stack::start().await;
    let mails = &stack.processes["notification-service"];
    mails.signal(rustix::process::Signal::STOP);
    let reply = stack.register("David", "david@example.com").await;
    assert_eq!(201, reply.status, "{}", reply.body);
    let (good, text) = process::run(stack.folder(), &["trace", "last"], &[]);
    mails.signal(rustix::process::Signal::CONT);
    assert!(good && text.contains(&reply.trace_id()), "{text}");
    let words = " ms answer_without_mail deployment=NotificationService, after a wait of 3";
    assert!(text.contains(words), "{text}");
}

#[tokio::test]
async fn the_trace_command_shows_a_request_that_came_with_a_callers_trace() {
    let stack = Stack::start().await;
    let _older = stack.get("/").await;
    let outside = [(
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )];
    let reply = stack.send(Method::GET, "/user/1", &outside, None).await;
    eventually("the caller's trace as the last", async || {
        let (good, text) = process::run(stack.folder(), &["trace", "last"], &[]);
        (good
            && text.starts_with(&format!("trace {}", reply.trace_id()))
            && !text.contains("missing"))
        .then_some(())
    })
    .await;
    // A test, or a page, may ask more than once under the same trace.
    let _second = stack.send(Method::GET, "/user/99", &outside, None).await;
    eventually("both requests in one trace", async || {
        let (good, text) = process::run(stack.folder(), &["trace", "0af7"], &[]);
        let both = text.contains("2 requests, the last GET /user/99 -> 404");
        (good && both && text.contains("14. ") && !text.contains("incomplete")).then_some(())
    })
    .await;
}
