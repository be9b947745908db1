//! `nats-serve trace list`, `slow`, `errors` and `--follow`: many requests, a line each.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::support::{Process, Stack, eventually, process::run};

fn trace(stack: &Stack, arguments: &[&str]) -> (bool, String) {
    let all = [&["trace"], arguments].concat();
    run(stack.folder(), &all, &[("COLUMNS", "80")])
}

/// The requests that are printed, as method and path.
fn listed(stack: &Stack, arguments: &[&str]) -> Vec<String> {
    let (good, said) = trace(stack, &[arguments, &["--json"]].concat());
    assert!(good, "{said}");
    let lines = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|one| text(&one["method"]) + " " + &text(&one["path"]))
        .collect()
}

#[tokio::test]
async fn the_slow_and_the_failed_of_many_requests_are_found() {
    let stack = Stack::with(&[("SIMULATED_LATENCY", "on")]).await;
    for path in ["/", "/user/1", "/user/99"] {
        let _ = stack.get(path).await;
    }
    let hurried = [("request-timeout-ms", "20")];
    let late = stack.send(Method::GET, "/user/2", &hurried, None).await;
    late.problem(504);
    let registered = stack.register("David", "d@example.com").await;
    assert_eq!(201, registered.status);
    stack.trace(&registered, 9).await;
    let all = eventually("all requests", async || {
        let all = listed(&stack, &["list"]);
        (all.len() == 5).then_some(all)
    })
    .await;
    let expected = [
        "GET /",
        "GET /user/1",
        "GET /user/99",
        "GET /user/2",
        "POST /register",
    ];
    assert_eq!(expected.as_slice(), all);
    for (arguments, expected) in [
        (&["errors"][..], &["GET /user/2"][..]),
        (&["slow", "--limit", "1"], &["POST /register"]),
        (&["slow", "--over", "190ms"], &["POST /register"]),
        (
            &["list", "--service", "notification-service"],
            &["POST /register"],
        ),
        (&["list", "--since", "0s"], &[]),
        (&["list", "--route", "/user/99"], &["GET /user/99"]),
        (&["list", "--route", "/user/{user_id}"], &expected[1..4]),
        (&["list", "--since", "1h"], &expected),
    ] {
        assert_eq!(expected, listed(&stack, arguments), "{arguments:?}");
    }

    let (good, said) = trace(&stack, &["list"]);
    assert!(good && said.contains("  POST /register"), "{said}");
    assert_eq!(6, said.lines().count(), "{said}");
    assert!(
        said.lines().all(|line| line.chars().count() <= 80),
        "{said}"
    );
    let none = trace(&stack, &["slow", "--over", "1h"]);
    assert_eq!((true, "no request fits\n".to_owned()), none);
    for (arguments, words) in [
        (&["last", "--limit", "1"][..], "go with `list`"),
        (&["cafe", "--over", "1ms"], "go with `list`"),
        (&["last", "--over", "1h"], "no request fits"),
        (&["slow", "--follow"], "`slow --follow` needs --over"),
        (&["newest"], "nor is it `list`, `slow` or `errors`"),
    ] {
        let (good, said) = trace(&stack, arguments);
        assert!(!good && said.contains(words), "{said}");
    }
    let (good, said) = trace(&stack, &["list", "--service", "UserService"]);
    let names = "`UserService` has written no span, only database-service, gateway, \
                 notification-service, user-service have";
    assert!(good && said.contains(names), "{said}");
    let (good, said) = trace(&stack, &["--route", "/user/99"]);
    let title = "GET /user/99 -> 404";
    assert!(
        good && said.contains(title) && said.contains(" 7. "),
        "{said}"
    );
    let (good, said) = trace(&stack, &["last", "--json"]);
    let whole: Value = serde_json::from_str(&said).unwrap();
    assert!(good && whole["complete"] == true, "{said}");
    assert_eq!(9, whole["spans"].as_array().unwrap().len(), "{said}");
}

#[tokio::test]
async fn who_follows_sees_each_request_once_and_from_now_on() {
    let stack = Stack::start().await;
    let first = stack.get("/user/1").await;
    stack.trace(&first, 7).await;
    // What was written before is not told.
    let mut following = Process::start(stack.folder(), &["trace", "--follow"], &[]);
    // It follows when it tells of one.
    eventually("a line", async || {
        let _ = stack.get("/user/2").await;
        following.output().contains("GET /user/2").then_some(())
    })
    .await;
    for _ in 0..3 {
        let _ = stack.get("/user/3").await;
    }
    eventually("three lines", async || {
        let said = following.output();
        (said.matches("GET /user/3").count() >= 3).then_some(())
    })
    .await;
    // Two looks later there is no other.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(3, following.output().matches("GET /user/3").count());
    let said = following.output();
    assert!(!said.contains("/user/1"), "{said}");
    following.signal(rustix::process::Signal::INT);
    following.ended().await;

    let arguments = ["trace", "--follow", "--limit", "2"];
    let mut following = Process::start(stack.folder(), &arguments, &[]);
    eventually("its end after two", async || {
        let _ = stack.get("/user/1").await;
        (following.output().lines().count() >= 2).then_some(())
    })
    .await;
    assert!(following.ended().await.success());
    assert_eq!(2, following.output().lines().count());
}

#[tokio::test]
async fn who_follows_a_service_sees_the_requests_in_which_it_took_part() {
    let stack = Stack::start().await;
    let arguments = ["trace", "--follow", "--service", "notification-service"];
    let following = Process::start(stack.folder(), &arguments, &[]);
    let mut registered = 0;
    // It follows when it tells of one.
    eventually("a line", async || {
        let _ = stack.get("/user/1").await;
        registered += 1;
        let email = format!("david{registered}@example.com");
        let _ = stack.register("David", &email).await;
        following.output().contains("POST /register").then_some(())
    })
    .await;
    let said = following.output();
    assert!(!said.contains("/user/1"), "{said}");
}
