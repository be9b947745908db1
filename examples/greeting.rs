//! A stranger's whole system: a web route, and two services in a chain.
//!
//! Each in a terminal (the server of `nats-serve up` would let none of these in: they have no keys):
//! ```text
//! nats-server --config nats/limits.conf --addr 127.0.0.1
//! cargo run --example greeting clock   nats://127.0.0.1:4222
//! cargo run --example greeting greeter nats://127.0.0.1:4222
//! cargo run --example greeting web     nats://127.0.0.1:4222 127.0.0.1:3000
//! curl http://127.0.0.1:3000/greet/Ada
//! ```

use std::{env, error::Error, time::Duration};

use axum::{Router, extract, routing::get};
use nats_serve::{Client, Instance, Operation, Replica, Service, Shutdown, Status};
use nats_serve::{client, http, telemetry};

const CLOCK: Service = Service::new("clock");
const GREETER: Service = Service::new("greeter");
const WEB: Service = Service::new("web");

struct Uptime;
impl Operation for Uptime {
    const SERVICE: Service = CLOCK;
    const NAME: &'static str = "uptime";
    const IDEMPOTENT: bool = true;
    type Request = ();
    type Reply = Duration;
}

struct Greet;
impl Operation for Greet {
    const SERVICE: Service = GREETER;
    const NAME: &'static str = "greet";
    const IDEMPOTENT: bool = true;
    type Request = String;
    type Reply = String;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [role, url, address] = [1, 2, 3].map(|at| env::args().nth(at).unwrap_or_default());
    let service = *[CLOCK, GREETER, WEB]
        .iter()
        .find(|s| s.name() == role)
        .ok_or("which role?")?;
    let instance = Instance::new(service);
    let _telemetry = telemetry::init(&instance, &telemetry::Config::default())?;
    let options = client::Options {
        url,
        ..Default::default()
    };
    let client = Client::connect(&instance, options).await?;
    let shutdown = Shutdown::on_signals()?;
    match service {
        CLOCK => clock(&client).run(&shutdown).await?,
        GREETER => greeter(client).run(&shutdown).await?,
        _ => {
            let routes = Router::new()
                .route("/greet/{name}", get(greet))
                .with_state(client);
            let routes = http::Edge::new(&instance, http::Options::default()).wrap(routes);
            let listener = tokio::net::TcpListener::bind(address).await?;
            println!("listening on http://{}", listener.local_addr()?);
            http::serve(listener, routes, &shutdown, Duration::from_secs(10)).await;
        }
    }
    Ok(())
}

fn clock(client: &Client) -> Replica {
    let started = std::time::Instant::now();
    Replica::new(client).handle::<Uptime>(move |_ctx, ()| async move { Ok(started.elapsed()) })
}

fn greeter(client: Client) -> Replica {
    Replica::new(&client.clone()).handle::<Greet>(move |_ctx, name| {
        let client = client.clone();
        async move {
            let up = client.call::<Uptime>(&()).await?.as_secs();
            Ok(format!("Hello {name}, it is {up} s since I got up."))
        }
    })
}

async fn greet(
    extract::State(client): extract::State<Client>,
    extract::Path(name): extract::Path<String>,
) -> Result<String, Status> {
    client.call::<Greet>(&name).await
}
