//! Who has turns, and what comes of one.

use super::{Application, bare::Bare, registering};
use crate::driver::{
    Args,
    compare::CONNECTIONS,
    machine::{Machine, Watch},
    nats::Nats,
    oha::{Load, Outcome},
    process::Work,
    profile::{Profile, Threads},
    stack::Stack,
    tools::Tools,
};

#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) group: Group,
    pub(super) subject: Subject,
    pub(super) turns: Vec<Turn>,
}

/// What it is asked for; a store is named by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Get,
    Register(&'static str),
}

/// An application is there with the process of its database server, if it has one.
#[derive(Debug)]
pub(super) enum Subject {
    Chain(Box<(Stack, Nats)>),
    Application(Box<Application>, Option<u32>),
    Store(Bare),
}

/// What came of one turn.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) per_second: f64,
    /// Of all processes, NATS and PostgreSQL, a request, in microseconds. Not of a bare store's caller, which is the
    /// driver.
    pub(super) cpu: Option<f64>,
    /// The same by thread.
    pub(super) threads: Threads,
    /// With one connection, in microseconds; of a bare store with as many as it has.
    pub(super) p50: f64,
    /// At half of what it can do itself, in milliseconds.
    pub(super) p99: Option<f64>,
    /// What else the machine did under the full load of a driver that is this process.
    pub(super) machine: Option<Machine>,
    /// Registrations that had to be sent again, of all.
    pub(super) repeated: f64,
}

impl Contender {
    pub(super) async fn turn(&mut self, args: &Args, tools: &Tools) -> anyhow::Result<Turn> {
        if let Subject::Store(bare) = &mut self.subject {
            let outcome = bare.run(args.load()).await?;
            return Ok(Turn {
                per_second: outcome.per_second,
                cpu: None,
                threads: Threads::new(),
                p50: outcome.p50.as_secs_f64() * 1e6,
                p99: None,
                machine: None,
                repeated: 0.0,
            });
        }
        registering::repeated();
        let named = self.subject.named();
        let work = Work::of(named.iter().map(|(_, pid)| *pid).collect());
        let profile = Profile::of(named);
        let watch = Watch::begin();
        let full = self.load(CONNECTIONS, None, args, tools).await?;
        let machine = watch.end();
        let cpu = work.until_rest().await.as_secs_f64() * 1e6 / full.requests;
        let threads = profile.a_request(full.requests);
        let one = self.load(1, None, args, tools).await?;
        let rate = ((full.per_second / 2.0) as u32).max(1);
        let half = self.load(CONNECTIONS, Some(rate), args, tools).await?;
        Ok(Turn {
            per_second: full.per_second,
            cpu: Some(cpu),
            threads,
            p50: one.p50.as_secs_f64() * 1e6,
            p99: Some(half.p99_ms()),
            machine: (self.group != Group::Get).then_some(machine),
            repeated: registering::repeated() as f64,
        })
    }

    async fn load(
        &self,
        connections: u32,
        rate: Option<u32>,
        args: &Args,
        tools: &Tools,
    ) -> anyhow::Result<Outcome> {
        let url = match (&self.subject, self.group) {
            (Subject::Application(application, _), Group::Register(_)) => {
                let at = application.address();
                return registering::load(at, connections, args.load(), rate).await;
            }
            (Subject::Application(application, _), Group::Get) => application.url(),
            (Subject::Chain(chain), _) => chain.0.url.clone(),
            (Subject::Store(_), _) => anyhow::bail!("a bare store answers no HTTP"),
        };
        let load = Load {
            url,
            connections,
            duration: args.load(),
            rate,
        };
        load.run(&tools.oha).await
    }

    pub(super) async fn leave(self) {
        let losses = match self.subject {
            Subject::Chain(chain) => {
                let (stack, _nats) = *chain;
                stack.leave().await
            }
            Subject::Application(application, _) => application.leave().await,
            Subject::Store(_) => return,
        };
        losses.say(&self.name);
    }
}

impl Subject {
    /// Its processes, with NATS and the database's.
    fn named(&self) -> Vec<(String, u32)> {
        match self {
            Self::Chain(chain) => {
                let (stack, nats) = &**chain;
                // As the application has them, so that each stands beside its like.
                let hops = ["gateway", "user-service", "database-service"];
                let members = stack.members().iter();
                let members =
                    members.map(|member| (hops[member.hop].to_owned(), member.process.pid()));
                let nats = ("nats-server".to_owned(), nats.pid());
                members.chain([nats]).collect()
            }
            Self::Application(application, server) => {
                let server = server.map(|pid| ("PostgreSQL".to_owned(), pid));
                application.named().chain(server).collect()
            }
            Self::Store(_) => Vec::new(),
        }
    }
}
