//! Ray-Serve-style services for Rust teams on NATS, traced end to end.
//!
//! A service is a queue group, its replicas are processes, a call is a request with a deadline, and
//! each HTTP request is one OpenTelemetry trace from the edge to the last replica.
//!
//! # One request, end to end
//!
//! 1. [`http::Edge`] gives the request its root span, id and deadline, and a place to work.
//! 2. The route calls an [`Operation`] of another service: [`Client::call`] opens a span, writes trace,
//!    id and what is left of the deadline into the headers, and sends to the service's queue group.
//! 3. NATS gives the message to one [`Replica`]. It is admitted or refused at once, and its handler runs
//!    in a span of its own, below the caller's.
//! 4. A call that the handler makes finds all of this by itself: same trace, same id, less time.
//! 5. The answer, or a [`Status`] from a closed set of [`Code`]s, goes back to the caller's own inbox;
//!    the edge turns it into HTTP.
//! 6. Each process writes its spans to a file of its own; [`traces`] puts them together again.
//!
//! # A service
//!
//! ```no_run
//! use nats_serve::{Client, Instance, Operation, Replica, Service, Shutdown, client, telemetry};
//!
//! const GREETER: Service = Service::new("greeter").with_deployment("Greeter");
//!
//! struct Greet;
//! impl Operation for Greet {
//!     const SERVICE: Service = GREETER;
//!     const NAME: &'static str = "greet";
//!     const IDEMPOTENT: bool = true;
//!     type Request = String;
//!     type Reply = String;
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let instance = Instance::new(GREETER);
//!     let _telemetry = telemetry::init(&instance, &telemetry::Config::default())?;
//!     let client = Client::connect(&instance, client::Options::default()).await?;
//!     Replica::new(&client)
//!         .handle::<Greet>(async |_ctx, name| Ok(format!("Hello {name}!")))
//!         .run(&Shutdown::on_signals()?)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! Whether it is ready, and if not, why, stands in the client's [`Health`], its figures in the client's
//! [`metrics`]; [`http::Admin`] shows both.
//!
//! Its callers write `client.call::<Greet>(&"Ada".to_owned()).await?`. A whole system, with an HTTP
//! route and two services in a chain, is `examples/greeting.rs`.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `http` | [`http`]: the edge, as layers for axum |
//! | `app` (default) | the reference application and the commands |
//!
//! A team's own service wants `default-features = false, features = ["http"]`, or no feature at all.

#[cfg(feature = "app")]
pub mod app;
#[cfg(feature = "app")]
pub mod cli;
pub mod client;
mod clock;
mod context;
mod health;
#[cfg(feature = "http")]
pub mod http;
mod instance;
mod message;
pub mod metrics;
mod operation;
mod pace;
pub mod replica;
mod shutdown;
mod status;
pub mod telemetry;
pub mod traces;

pub use client::Client;
pub use context::with_deadline;
pub use health::{Health, Report};
pub use instance::Instance;
pub use operation::{Operation, Service};
pub use replica::{Ctx, Replica};
pub use shutdown::Shutdown;
pub use status::{Code, FieldError, Status};
