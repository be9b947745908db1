//! The example of a stranger's system does what it says.

use std::time::Duration;

use crate::support::{Process, Server, eventually, process, stack::trace_in, tree::draw};

#[tokio::test]
async fn a_strangers_system_is_one_trace_from_its_route_to_its_last_service() {
    let nats = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let program = process::build_folder().join("examples/greeting");
    let start = |role: &str| {
        let arguments = [role, &nats.url(), "127.0.0.1:0"];
        Process::start_program(&program, folder.path(), &arguments, &[])
    };
    let _services = [start("clock"), start("greeter")];
    let mut web = start("web");
    web.says("listening on http://").await;
    let output = web.output();
    let (_, base) = output.split_once("listening on ").unwrap();
    let url = format!("{}/greet/Ada", base.trim());

    let reply = eventually("a greeting", async || {
        let reply = reqwest::Client::new()
            .get(&url)
            .timeout(Duration::from_secs(5))
            .send()
            .await
            .ok()?;
        reply.status().is_success().then_some(reply)
    })
    .await;
    let trace_id = reply.headers()["traceparent"].to_str().unwrap()[3..35].to_owned();
    assert!(reply.text().await.unwrap().starts_with("Hello Ada, it is "));

    let trace = trace_in(&folder.path().join(".nats-serve/spans"), &trace_id, 7).await;
    pretty_assertions::assert_eq!(
        "\
proxy_http_request (web) server
  proxy_route_to_replica (web) internal
    replica_handle_request (web) internal
      proxy_route_to_replica (greeter) client
        replica_handle_request (greeter) server
          proxy_route_to_replica (clock) client
            replica_handle_request (clock) server
",
        draw(&trace)
    );
}
