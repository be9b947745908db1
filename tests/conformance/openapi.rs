//! The OpenAPI document, against a tester that isn't ours and reads nothing else.

use crate::{
    python::tester,
    support::{Stack, process},
};

#[tokio::test]
async fn a_tester_that_knows_the_document_alone_finds_no_answer_that_is_not_in_it() {
    let stack = Stack::start().await;
    let document = format!("http://{}/openapi.json", stack.address());
    // One kind of data a run: what a schema allows and what it forbids. The same in each run, with another seed now and
    // then by hand.
    let arguments = [
        "run",
        &document,
        "--generation-deterministic",
        "--max-examples=100",
        "--no-color",
    ];
    let command = process::command(tester(), stack.folder(), &arguments, &[]);
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("No issues found"), "{said}");
    for (name, process) in &stack.processes {
        let said = process.output();
        assert!(!said.contains("panicked"), "{name}: {said}");
    }
}
