//! What fails during an audit, and when.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use rustix::process::Signal;

use super::{
    books::{Fault, Kind, Row},
    mail_server::MailServer,
    milliseconds,
};
use crate::{
    bench::Bench,
    proxy::Proxy,
    support::{Server, process},
};

const SERVICES: [(&str, usize); 4] = [
    ("database-service", 2),
    ("notification-service", 2),
    ("user-service", 2),
    ("gateway", 2),
];
/// One more replica of these is behind the proxy.
const CUT_OFF: [&str; 3] = ["database-service", "notification-service", "user-service"];

const KINDS: [Kind; 10] = [
    Kind::Kill,
    Kind::Pause,
    Kind::LongPause,
    Kind::Cut,
    Kind::Silence,
    Kind::Lock,
    Kind::LongLock,
    Kind::DatabaseAway,
    Kind::Crash,
    Kind::MailAway,
];
/// Killed and paused, besides those that are in front of the proxy.
const DIRECT: [&str; 4] = [
    "database-service",
    "notification-service",
    "user-service",
    "gateway",
];

/// Where the gateways register, those that are there now.
#[derive(Debug, Clone, Default)]
pub(super) struct Gateways(Arc<Mutex<Vec<String>>>);

impl Gateways {
    /// Picks one, as a balancer does that hasn't yet noticed what died.
    pub(super) fn any(&self) -> String {
        let all = self.0.lock().unwrap();
        all.choose(&mut rand::rng()).unwrap().clone()
    }

    fn are(&self, bench: &Bench) {
        let names = bench.replicas("gateway");
        *self.0.lock().unwrap() = names.iter().map(|name| bench.register(name)).collect();
    }
}

/// A store, as the auditor sees it beside the service.
pub(crate) trait Store {
    /// Keeps the tables from being written for a while.
    /// Returns whether it got to.
    async fn lock(&self, bench: &Bench, time: Duration) -> bool;

    /// Has the server crash and recover. Returns whether there is one.
    async fn crash(&self, bench: &Bench) -> bool;

    /// Reads all users but the first three, with what the outbox says.
    async fn rows(&self, bench: &Bench) -> Vec<Row>;
}

pub(crate) struct Trouble {
    pub(crate) bench: Bench,
    pub(crate) mail_server: MailServer,
    pub(crate) faults: Vec<Fault>,
    network: Proxy,
    pub(super) gateways: Gateways,
    /// Those that are not behind the proxy.
    direct: BTreeMap<&'static str, Vec<String>>,
    asleep: Option<Asleep>,
    deck: Vec<Kind>,
    is_long: bool,
}

/// Who sleeps beyond the lease of what it holds, since when, and until when.
struct Asleep {
    name: String,
    service: &'static str,
    from: f64,
    to: f64,
}

impl Trouble {
    /// `is_long`: some faults last longer than a lease.
    pub(crate) async fn begin(
        nats: Server,
        network: Proxy,
        mail_server: MailServer,
        variables: &[(&str, &str)],
        is_long: bool,
    ) -> Self {
        let smtp = mail_server.url();
        let mut all = vec![("SMTP_URL", smtp.as_str())];
        all.extend(variables);
        let mut bench = Bench::on(nats, &SERVICES, &all).await;
        let direct = DIRECT.map(|service| (service, bench.replicas(service)));
        let url = network.url();
        for service in CUT_OFF {
            bench.add_with(service, &[("NATS_URL", &url)]).await;
        }
        let gateways = Gateways::default();
        gateways.are(&bench);
        Self {
            bench,
            mail_server,
            faults: Vec::new(),
            network,
            gateways,
            direct: direct.into(),
            asleep: None,
            deck: Vec::new(),
            is_long,
        }
    }

    /// Makes trouble, with pauses, for as long as something lasts.
    pub(crate) async fn until<T>(
        &mut self,
        lasting: impl Future<Output = T>,
        random: &mut StdRng,
        store: &impl Store,
    ) -> T {
        let mut lasting = std::pin::pin!(lasting);
        let mut done = None;
        while done.is_none() {
            tokio::select! {
                value = &mut lasting => return value,
                () = tokio::time::sleep(milliseconds(random, 1_000..2_000)) => {}
            }
            let fault = self.fault(random, store);
            let mut fault = std::pin::pin!(fault);
            // What was begun is ended, also when the last answer is there.
            tokio::select! {
                () = &mut fault => {}
                value = &mut lasting => {
                    fault.await;
                    done = Some(value);
                }
            }
        }
        done.unwrap()
    }

    async fn fault(&mut self, random: &mut StdRng, store: &impl Store) {
        if self.asleep.as_ref().is_some_and(|asleep| asleep.to < now()) {
            self.wake();
        }
        let kind = self.next_kind(random);
        let mut service = *DIRECT.choose(random).unwrap();
        let time = milliseconds(random, 300..2_000);
        let from = now();
        match kind {
            Kind::Kill => {
                let name = self.pick(&mut service, random);
                self.direct
                    .get_mut(service)
                    .unwrap()
                    .retain(|other| *other != name);
                self.bench.kill(&name);
                let new = self.bench.add(service).await;
                self.direct.get_mut(service).unwrap().push(new);
                self.gateways.are(&self.bench);
            }
            Kind::Pause => {
                let name = self.pick(&mut service, random);
                self.bench.signal(&name, Signal::STOP);
                tokio::time::sleep(time).await;
                self.bench.signal(&name, Signal::CONT);
            }
            Kind::DatabaseAway => {
                self.database_away(milliseconds(random, 16_000..20_000))
                    .await;
                service = "database-service";
            }
            Kind::Crash => {
                if !store.crash(&self.bench).await {
                    return;
                }
            }
            // It lasts while other things fail.
            Kind::LongPause => return self.fall_asleep(random),
            Kind::Cut | Kind::Silence => {
                match kind {
                    Kind::Cut => self.network.cut(),
                    _ => self.network.go_silent(),
                }
                tokio::time::sleep(time).await;
                self.network.heal();
            }
            Kind::Lock | Kind::LongLock => {
                let time = match kind {
                    Kind::LongLock => milliseconds(random, 17_000..20_000),
                    _ => time,
                };
                if !store.lock(&self.bench, time).await {
                    return;
                }
            }
            Kind::MailAway => {
                self.mail_server.go_away();
                tokio::time::sleep(time).await;
                self.mail_server.come_back().await;
            }
        }
        self.note(kind, service, from);
    }

    /// Ends all replicas of the database service, and starts as many again a while later.
    async fn database_away(&mut self, time: Duration) {
        const DATABASE: &str = "database-service";
        if self
            .asleep
            .as_ref()
            .is_some_and(|asleep| asleep.service == DATABASE)
        {
            self.wake();
        }
        for name in self.bench.replicas(DATABASE) {
            self.bench.kill(&name);
        }
        tokio::time::sleep(time).await;
        let direct = self.direct[DATABASE].len();
        let mut names = Vec::new();
        for _ in 0..direct {
            names.push(self.bench.add(DATABASE).await);
        }
        self.direct.insert(DATABASE, names);
        let url = self.network.url();
        self.bench.add_with(DATABASE, &[("NATS_URL", &url)]).await;
    }

    /// Each kind comes once before one comes again.
    fn next_kind(&mut self, random: &mut StdRng) -> Kind {
        if self.deck.is_empty() {
            let kinds = KINDS.into_iter();
            let is_long = |kind: &Kind| {
                let long = [Kind::LongPause, Kind::LongLock, Kind::DatabaseAway];
                long.contains(kind)
            };
            self.deck = kinds
                .filter(|kind| self.is_long || !is_long(kind))
                .collect();
            self.deck.shuffle(random);
        }
        self.deck.pop().unwrap()
    }

    fn note(&mut self, kind: Kind, service: &'static str, from: f64) {
        self.faults.push(Fault {
            kind,
            service,
            from,
            to: now(),
        });
    }

    /// One of a service's processes that is awake; a gateway, if none is.
    fn pick(&self, service: &mut &'static str, random: &mut StdRng) -> String {
        let asleep = self.asleep.as_ref().map(|asleep| &asleep.name);
        let awake = |service: &str| {
            let names = self.direct[service].iter();
            let names = names.filter(|name| Some(*name) != asleep);
            names.collect::<Vec<_>>()
        };
        let mut names = awake(service);
        if names.is_empty() {
            names = awake("gateway");
            *service = "gateway";
        }
        (*names.choose(random).unwrap()).clone()
    }

    /// Has somebody who sends mails, or has them sent, sleep until its leases are over.
    fn fall_asleep(&mut self, random: &mut StdRng) {
        if self.asleep.is_some() {
            return;
        }
        let mut service = *CUT_OFF.choose(random).unwrap();
        let name = self.pick(&mut service, random);
        self.bench.signal(&name, Signal::STOP);
        let from = now();
        let to = from + milliseconds(random, 16_000..20_000).as_secs_f64();
        self.asleep = Some(Asleep {
            name,
            service,
            from,
            to,
        });
    }

    fn wake(&mut self) {
        if let Some(asleep) = self.asleep.take() {
            self.bench.signal(&asleep.name, Signal::CONT);
            self.note(Kind::LongPause, asleep.service, asleep.from);
        }
    }

    /// Ends what still lasts, and returns what there was.
    pub(crate) async fn end(&mut self) -> String {
        self.network.heal();
        if let Some(asleep) = &self.asleep {
            let left = (asleep.to - now()).max(0.0);
            tokio::time::sleep(Duration::from_secs_f64(left)).await;
            self.wake();
        }
        let mut counts = BTreeMap::<Kind, usize>::new();
        for fault in &self.faults {
            *counts.entry(fault.kind).or_default() += 1;
        }
        let all: Vec<String> = counts
            .iter()
            .map(|(kind, count)| format!("{count} x {}", kind.name()))
            .collect();
        all.join(", ")
    }

    /// Runs `nats-serve outbox` and returns what it printed, where it succeeded. The proxy goes on meanwhile.
    pub(crate) async fn outbox(&self, arguments: &[&str]) -> Result<String, String> {
        let all: Vec<&str> = ["outbox"].iter().chain(arguments).copied().collect();
        let stack = &self.bench.stack;
        let program = process::program().as_ref();
        let command = process::command(program, stack.folder(), &all, &stack.nats_variables());
        let output = tokio::process::Command::from(command).output().await;
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }
}

/// Seconds since 1970, as the mail server has them.
pub(super) fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs_f64()
}
