//! A stranger's service in this process, and a caller of it.

use std::time::Duration;

use nats_serve::{
    Client, Instance, Operation, Replica, Service, Shutdown, Status, client::Options,
    replica::Limits,
};
use tokio::task::JoinHandle;

use super::Server;

pub(crate) const CALLER: Service = Service::new("caller");
pub(crate) const ECHO: Service = Service::new("echo-service")
    .with_subject("echo")
    .with_deployment("Echo");

macro_rules! operation {
    ($name:ident, $operation:literal, $request:ty, $reply:ty) => {
        pub(crate) struct $name;
        impl Operation for $name {
            const SERVICE: Service = ECHO;
            const NAME: &'static str = $operation;
            type Request = $request;
            type Reply = $reply;
        }
    };
}
operation!(Say, "say", String, String);
operation!(Sleep, "sleep", u64, u64);
operation!(Panic, "panic", (), ());
operation!(Fail, "fail", (), ());
operation!(Repeat, "repeat", usize, String);

/// A replica in this process that ends with the test.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) instance: Instance,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(nats: &Server) -> Self {
        Self::with(nats, Limits::default()).await
    }

    pub(crate) async fn with(nats: &Server, limits: Limits) -> Self {
        let client = connect(ECHO, nats).await;
        let instance = client.instance().clone();
        let replica = Replica::new(&client)
            .with_limits(limits)
            .handle::<Say>(async |_ctx, words| Ok(words))
            .handle::<Sleep>(async |_ctx, ms| {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(ms)
            })
            .handle::<Panic>(async |_ctx, ()| panic!("a bug"))
            .handle::<Fail>(async |_ctx, ()| Err(Status::conflict("no").with_source("the cause")))
            .handle::<Repeat>(async |_ctx, times| Ok("x".repeat(times)));
        let running = replica.start().await.unwrap();
        let shutdown = Shutdown::new();
        let until = shutdown.clone();
        let task = tokio::spawn(async move { running.until(&until).await });
        Self {
            instance,
            shutdown,
            task,
        }
    }

    pub(crate) async fn leave(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }
}

pub(crate) async fn connect(service: Service, nats: &Server) -> Client {
    connect_with(service, nats, Options::default().request_timeout).await
}

pub(crate) async fn connect_with(
    service: Service,
    nats: &Server,
    request_timeout: Duration,
) -> Client {
    let options = Options {
        url: nats.url(),
        request_timeout,
        ..Options::default()
    };
    let client = Client::connect(&Instance::new(service), options)
        .await
        .unwrap();
    client.ready().await;
    client
}
