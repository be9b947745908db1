//! The OpenAPI document, against a tester that isn't ours and reads nothing else.

use std::fs;

use reqwest::Method;
use serde_json::Value;

use crate::{
    python::tester,
    support::{Stack, process},
};

/// It repeats keys with other bodies, which are valid by themselves, and are answered 422.
const KEYS_ARE_REPEATED: &str = r#"
[[operations]]
include-path = "/register"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 409, 422]
"#;

const TOKEN: &str = "tester-hunter2-0123456789";

/// Has it try the API of a stack as a document has it, with all checks that it makes by default.
async fn examine(stack: &Stack, document: &str, more: &[&str]) {
    let mut arguments = vec!["run", document];
    // The same in each run.
    arguments.extend(["--generation-deterministic", "--no-color"]);
    arguments.extend(more);
    let command = process::command(tester(), stack.folder(), &arguments, &[]);
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}");
    // `470 generated, 470 passed`
    let cases = said
        .lines()
        .find(|line| line.contains("generated, "))
        .unwrap();
    let mut counts = cases
        .split_whitespace()
        .filter_map(|word| word.parse::<usize>().ok());
    let (generated, passed) = (counts.next().unwrap(), counts.next().unwrap());
    assert!(generated > 200 && generated == passed, "{said}");
}

#[tokio::test]
async fn a_tester_that_knows_the_document_alone_finds_no_answer_that_is_not_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, TOKEN).unwrap();
    let stack = Stack::with(&[("TOKENS_FILE", tokens.to_str().unwrap())]).await;
    fs::write(stack.folder().join("schemathesis.toml"), KEYS_ARE_REPEATED).unwrap();
    let document = format!("http://{}/openapi.json", stack.address());
    let shown = format!("Authorization: Bearer {TOKEN}");
    let with_token = ["--max-examples=200", "--header", &shown];
    examine(&stack, &document, &with_token).await;
    fs::remove_file(stack.folder().join("schemathesis.toml")).unwrap();

    // Without keys all that is valid is accepted, or registered already.
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let served = stack.send(Method::GET, "/openapi.json", &headers, None);
    let mut keyless: Value = served.await.json();
    let register = &mut keyless["paths"]["/register"]["post"];
    let parameters = register.as_object_mut().unwrap().remove("parameters");
    assert!(parameters.is_some());
    fs::write(stack.folder().join("keyless.json"), keyless.to_string()).unwrap();
    let url = format!("--url=http://{}", stack.address());
    let arguments = [&[url.as_str()], with_token.as_slice()].concat();
    examine(&stack, "keyless.json", &arguments).await;
    for (name, process) in &stack.processes {
        let said = process.output();
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
}
