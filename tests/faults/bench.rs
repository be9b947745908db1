//! What a test breaks: the application with several replicas a service, and the turn to break it.

use std::{collections::BTreeMap, time::Duration};

use rustix::process::Signal;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    settings::strict,
    support::{Process, Server, Stack},
};

/// How long a replica holds what reaches it before it is killed: longer than the pause between two requests, and
/// shorter than any caller's patience.
const HOLDING: Duration = Duration::from_millis(100);

/// Room for two tests at a time.
static ROOM: Semaphore = Semaphore::const_new(2);

/// Waits until no other test runs: two at a time would measure one another.
pub(crate) async fn turn() -> SemaphorePermit<'static> {
    ROOM.acquire_many(2).await.unwrap()
}

/// The same for a test that waits for the most part, as for silence to be noticed: one more of these may run beside it,
/// unless the promised figures are asked for.
pub(crate) async fn shared_turn() -> SemaphorePermit<'static> {
    let room = if strict() { 2 } else { 1 };
    ROOM.acquire_many(room).await.unwrap()
}

/// The application on a NATS of its own, whose processes come and go.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) stack: Stack,
    started: BTreeMap<&'static str, usize>,
    /// What those said who are no more.
    said: String,
}

impl Bench {
    /// Starts so many replicas of each service, under their permissions, and waits until all serve.
    pub(crate) async fn start(
        services: &[(&'static str, usize)],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::on(Server::start_secured().await, services, variables).await
    }

    /// The same on a NATS that is there, one without permissions where the test itself asks it something.
    pub(crate) async fn on(
        nats: Server,
        services: &[(&'static str, usize)],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::of(Stack::empty(nats, variables), services).await
    }

    /// The same with what knows its NATS.
    pub(crate) async fn of(stack: Stack, services: &[(&'static str, usize)]) -> Self {
        let mut bench = Self {
            stack,
            started: BTreeMap::new(),
            said: String::new(),
        };
        let mut names = Vec::new();
        for (service, replicas) in services {
            for _ in 0..*replicas {
                names.push(bench.launch(service, &[]));
            }
        }
        for name in names {
            bench.stack.ready(&name).await;
        }
        bench
    }

    /// Starts one more replica of a service, and waits until it serves.
    pub(crate) async fn add(&mut self, service: &'static str) -> String {
        self.add_with(service, &[]).await
    }

    /// The same, with settings that the others don't have.
    pub(crate) async fn add_with(&mut self, service: &'static str, own: &[(&str, &str)]) -> String {
        let name = self.launch(service, own);
        self.stack.ready(&name).await;
        name
    }

    fn launch(&mut self, service: &'static str, own: &[(&str, &str)]) -> String {
        let number = self.started.entry(service).or_default();
        *number += 1;
        let name = format!("{service}-{number}");
        self.stack.add_with(&name, service, own);
        name
    }

    /// Ends a process as a crash would.
    pub(crate) fn kill(&mut self, name: &str) {
        let process = self.stack.processes.remove(name).unwrap();
        self.said.push_str(&process.output());
    }

    /// Ends a process as a crash would, with what has reached it in a moment and will never be answered.
    pub(crate) async fn kill_with_work(&mut self, name: &str) {
        self.signal(name, Signal::STOP);
        sleep(HOLDING).await;
        self.kill(name);
    }

    /// How many mails were sent that were there already, by those who say so: the folder shows each but once.
    pub(crate) fn mails_sent_again(&self) -> usize {
        let running = self.stack.processes.values().map(Process::output);
        let again = |said: &str| said.matches("there already was sent again").count();
        again(&self.said) + running.map(|said| again(&said)).sum::<usize>()
    }

    /// Keeps what a process said that has left.
    pub(crate) fn keep_words_of(&mut self, process: &Process) {
        self.said.push_str(&process.output());
    }

    /// Kills the oldest replica of one service after the other, one every 2 s, and starts another in its place; returns
    /// how many.
    pub(crate) async fn kill_in_turn(
        &mut self,
        services: &[&'static str],
        lasting: Duration,
    ) -> usize {
        let until = Instant::now() + lasting;
        let mut kills = 0;
        for service in services.iter().copied().cycle() {
            let next = Instant::now() + Duration::from_secs(2);
            self.kill_with_work(&self.replicas(service)[0]).await;
            kills += 1;
            self.add(service).await;
            sleep_until(next).await;
            if Instant::now() > until {
                break;
            }
        }
        kills
    }

    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        self.stack.processes[name].signal(signal);
    }

    /// The names of a service's processes, the oldest first.
    pub(crate) fn replicas(&self, service: &str) -> Vec<String> {
        let mut names: Vec<(usize, &String)> = (self.stack.processes.keys())
            .filter_map(|name| {
                let (kind, number) = name.rsplit_once('-')?;
                (kind == service).then_some((number.parse().ok()?, name))
            })
            .collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The `GET` that tests send, at one of the gateways.
    pub(crate) fn get_user(&self, gateway: &str) -> String {
        let output = self.stack.processes[gateway].output();
        let (_, rest) = output.split_once("on http://").expect("a ready gateway");
        let address = rest.split([';', ' ', '"']).next().unwrap();
        format!("http://{address}/user/1")
    }

    /// Where one of the gateways registers.
    pub(crate) fn register(&self, gateway: &str) -> String {
        self.get_user(gateway).replace("/user/1", "/register")
    }

    /// The instance id of a process.
    pub(crate) fn instance(&self, name: &str) -> String {
        let output = self.stack.processes[name].output();
        let ready = output.lines().find(|line| line.contains("is ready"));
        let line: serde_json::Value = serde_json::from_str(ready.expect("ready")).unwrap();
        line["instance"].as_str().unwrap().to_owned()
    }
}

/// All services, one replica each.
pub(crate) const ONE_EACH: [(&str, usize); 4] = [
    ("database-service", 1),
    ("notification-service", 1),
    ("user-service", 1),
    ("gateway", 1),
];

/// What a registration passes through, three replicas a service.
pub(crate) const THREE_OF_ALL: [(&str, usize); 4] = [
    ("database-service", 3),
    ("notification-service", 3),
    ("user-service", 3),
    ("gateway", 1),
];

/// What a `GET` passes through, three replicas a service.
pub(crate) const THREE_EACH: [(&str, usize); 3] =
    [("database-service", 3), ("user-service", 3), ("gateway", 1)];
