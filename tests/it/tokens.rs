//! Who is let in at the edge.

use reqwest::Method;

use crate::support::{
    Stack, eventually, process,
    stack::{Reply, trace_in},
};

const TOKEN: &str = "one-hunter2-0123456789";
const NEXT: &str = "two-hunter2-0123456789";
const CALLERS_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn get(stack: &Stack, path: &str, token: &str) -> Reply {
    let traceparent = format!("00-{CALLERS_TRACE}-b7ad6b7169203331-01");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("traceparent", traceparent.as_str()),
        ("authorization", bearer.as_str()),
    ];
    let shown = if token.is_empty() { 1 } else { 2 };
    stack.send(Method::GET, path, &headers[..shown], None).await
}

/// Whether the root of a trace has a link to the caller's.
fn linked(stack: &Stack, trace_id: &str) -> bool {
    let files = std::fs::read_dir(stack.spans()).unwrap().flatten();
    let texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap());
    let (own, callers) = (
        format!("\"traceId\":\"{trace_id}\""),
        format!("\"links\":[{{\"traceId\":\"{CALLERS_TRACE}\""),
    );
    let lines: Vec<String> = texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines
        .iter()
        .any(|line| line.contains(&own) && line.contains(&callers))
}

#[tokio::test]
async fn with_tokens_only_who_shows_one_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let stack = Stack::with(&[("TOKENS_FILE", file.to_str().unwrap())]).await;

    for (token, challenge) in [("", "Bearer"), (NEXT, r#"Bearer error="invalid_token""#)] {
        for path in ["/user/1", "/register", "/nothing"] {
            let refused = get(&stack, path, token).await;
            refused.problem(401);
            assert_eq!(challenge, refused.header("www-authenticate"));
            // A stranger's trace is not continued, and the refusal is one of its own.
            assert_ne!(CALLERS_TRACE, refused.trace_id());
            trace_in(&stack.spans(), &refused.trace_id(), 1).await;
            assert!(linked(&stack, &refused.trace_id()), "no link to his own");
        }
        for open in ["/", "/health"] {
            assert_eq!(200, get(&stack, open, token).await.status);
        }
    }
    let known = get(&stack, "/user/1", TOKEN).await;
    assert_eq!(200, known.status);
    assert_eq!(CALLERS_TRACE, known.trace_id());

    // Rotation: both for a while, then the new one alone.
    std::fs::write(&file, format!("{TOKEN}\n{NEXT}\n")).unwrap();
    let status = async |token: &str| get(&stack, "/user/1", token).await.status;
    eventually("the new token", async || {
        (status(NEXT).await == 200).then_some(())
    })
    .await;
    assert_eq!(200, status(TOKEN).await);
    std::fs::write(&file, NEXT).unwrap();
    eventually("the end of the old one", async || {
        (status(TOKEN).await == 401).then_some(())
    })
    .await;
    assert_eq!(200, status(NEXT).await);

    let gateway = stack.processes["gateway"].output();
    let spans = std::fs::read_dir(stack.spans()).unwrap().flatten();
    let spans: String = spans
        .map(|file| std::fs::read_to_string(file.path()).unwrap())
        .collect();
    for token in [TOKEN, NEXT] {
        assert!(!gateway.contains(token) && !spans.contains(token));
    }
}

#[test]
fn beyond_this_machine_nobody_is_served_without_tokens_unless_it_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ("NATS_URL", "nats://127.0.0.1:1");
    let open = ("HTTP_ADDR", "0.0.0.0:0");
    let (good, said) = process::run(folder.path(), &["gateway"], &[nats, open]);
    assert!(
        !good && said.contains("set TOKENS_FILE, or ALLOW_ANONYMOUS=true to serve everybody"),
        "{said}"
    );
    let (good, said) = process::run(
        folder.path(),
        &["gateway"],
        &[nats, ("TOKENS_FILE", "none")],
    );
    assert!(
        !good && said.contains("TOKENS_FILE can't be used: none can't be read"),
        "{said}"
    );
}
