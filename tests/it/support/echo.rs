//! A stranger's service in this process, and a caller of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

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
        operation!($name, $operation, $request, $reply, false);
    };
    ($name:ident, $operation:literal, $request:ty, $reply:ty, $idempotent:literal) => {
        pub(crate) struct $name;
        impl Operation for $name {
            const SERVICE: Service = ECHO;
            const NAME: &'static str = $operation;
            const IDEMPOTENT: bool = $idempotent;
            type Request = $request;
            type Reply = $reply;
        }
    };
}
operation!(Say, "say", String, String);
operation!(Sleep, "sleep", u64, u64);
operation!(Nap, "nap", u64, u64, true);
operation!(Panic, "panic", (), ());
operation!(Fail, "fail", (), ());
operation!(Refuse, "refuse", usize, ());
operation!(Repeat, "repeat", usize, String);

/// A replica in this process that ends with the test.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) instance: Instance,
    /// Sleeps and naps that were begun.
    begun: Arc<AtomicUsize>,
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
        let begun = Arc::new(AtomicUsize::new(0));
        let (sleeps, naps) = (Arc::clone(&begun), Arc::clone(&begun));
        let replica = Replica::new(&client)
            .with_limits(limits)
            .handle::<Say>(async |_ctx, words| Ok(words))
            .handle::<Sleep>(move |_ctx, ms| sleep(ms, Arc::clone(&sleeps)))
            .handle::<Nap>(move |_ctx, ms| sleep(ms, Arc::clone(&naps)))
            .handle::<Panic>(async |_ctx, ()| panic!("a bug"))
            .handle::<Fail>(async |_ctx, ()| Err(Status::conflict("no").with_source("the cause")))
            .handle::<Refuse>(async |_ctx, times| Err(Status::conflict("x".repeat(times))))
            .handle::<Repeat>(async |_ctx, times| Ok("x".repeat(times)));
        let running = replica.start().await.unwrap();
        let shutdown = Shutdown::new();
        let until = shutdown.clone();
        let task = tokio::spawn(async move { running.until(&until).await });
        Self {
            instance,
            begun,
            shutdown,
            task,
        }
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Relaxed)
    }

    pub(crate) fn begun_counter(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.begun)
    }

    pub(crate) async fn leave(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }
}

async fn sleep(ms: u64, begun: Arc<AtomicUsize>) -> Result<u64, Status> {
    begun.fetch_add(1, Relaxed);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(ms)
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
