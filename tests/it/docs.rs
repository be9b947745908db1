//! The OpenAPI document and the page that shows it.

use serde_json::Value;

use crate::support::{Stack, stack::Reply};

async fn document(stack: &Stack) -> Value {
    let reply = stack.get("/openapi.json").await;
    assert_eq!("application/json", reply.header("content-type"));
    reply.json()
}

#[tokio::test]
async fn every_failure_of_a_registration_is_in_the_document_with_an_example() {
    let document = document(&Stack::start().await).await;
    assert_eq!("3.1.0", document["openapi"]);
    let responses = &document["paths"]["/register"]["post"]["responses"];
    let types = |status: &str| {
        let content = &responses[status]["content"]["application/problem+json"];
        assert_eq!(
            "#/components/schemas/Problem", content["schema"]["$ref"],
            "{status}: {responses}"
        );
        let examples = content["examples"].as_object().unwrap();
        let types = examples.values().map(|one| {
            assert_eq!(status, one["value"]["status"].to_string());
            one["value"]["type"].as_str().unwrap().to_owned()
        });
        types.collect::<Vec<_>>()
    };
    for (status, expected) in [
        ("400", &["malformed"][..]),
        ("401", &["unauthenticated"]),
        ("408", &["request_timeout"]),
        ("409", &["email_taken", "idempotency_key_in_use"]),
        ("413", &["too_large"]),
        ("415", &["unsupported_media_type"]),
        (
            "422",
            &[
                "idempotency_key_malformed",
                "idempotency_key_reused",
                "invalid",
            ],
        ),
        ("429", &["rate_limited"]),
        ("503", &["overloaded", "unavailable"]),
        ("504", &["outcome_unknown"]),
    ] {
        let expected: Vec<String> = expected
            .iter()
            .map(|name| format!("urn:nats-serve:problem:{name}"))
            .collect();
        assert_eq!(expected, types(status));
    }
    assert_eq!(["about:blank"].as_slice(), types("500"));
    for status in ["409", "429", "503", "504"] {
        assert!(responses[status]["headers"]["Retry-After"].is_object());
    }
    for status in ["500", "503", "504"] {
        assert!(responses[status]["headers"]["Idempotency-Key"].is_object());
    }
    assert!(responses["401"]["headers"]["WWW-Authenticate"].is_object());
    assert!(responses["201"]["headers"]["Idempotent-Replayed"].is_object());
}

#[tokio::test]
async fn the_page_that_shows_the_document_loads_nothing_from_elsewhere() {
    let stack = Stack::start().await;
    // By a redirect of /docs.
    let page: Reply = stack.get("/docs").await;
    assert_eq!(200, page.status);
    assert!(page.body.contains("Swagger UI"), "{}", page.body);
    let script = stack.get("/docs/swagger-initializer.js").await;
    assert!(script.body.contains("/openapi.json"), "{}", script.body);
    assert!(
        script.body.contains(r#""validatorUrl": "none""#),
        "{}",
        script.body
    );
    for text in [&page.body, &script.body] {
        for elsewhere in ["http://", "https://", "src=\"//", "href=\"//"] {
            assert!(!text.contains(elsewhere), "{elsewhere} in {text}");
        }
    }
    for asset in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        assert_eq!(200, stack.get(&format!("/docs/{asset}")).await.status);
    }
    stack.get("/docs/nothing.js").await.problem(404);
}
