//! What fails during an audit, and when.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use rustix::process::Signal;

use super::{
    books::{Fault, Row},
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
    ("notification-service", 1),
    ("user-service", 2),
    ("gateway", 1),
];
/// One more replica of these is behind the proxy.
const CUT_OFF: [&str; 3] = ["database-service", "notification-service", "user-service"];

/// A store, as the auditor sees it beside the service.
pub(crate) trait Store {
    /// Keeps the tables from being written for a while.
    async fn lock(&self, bench: &Bench, time: Duration);

    /// Reads all users but the first three, with what the outbox says.
    async fn rows(&self, bench: &Bench) -> Vec<Row>;
}

pub(crate) struct Trouble {
    pub(crate) bench: Bench,
    pub(crate) mail_server: MailServer,
    pub(crate) faults: Vec<Fault>,
    network: Proxy,
    counts: BTreeMap<&'static str, usize>,
    /// Those that are not behind the proxy.
    direct: BTreeMap<&'static str, Vec<String>>,
}

impl Trouble {
    pub(crate) async fn begin(
        nats: Server,
        network: Proxy,
        mail_server: MailServer,
        variables: &[(&str, &str)],
    ) -> Self {
        let smtp = mail_server.url();
        let mut all = vec![("SMTP_URL", smtp.as_str())];
        all.extend(variables);
        let mut bench = Bench::on(nats, &SERVICES, &all).await;
        let direct = CUT_OFF.map(|service| (service, bench.replicas(service)));
        let url = network.url();
        for service in CUT_OFF {
            bench.add_with(service, &[("NATS_URL", &url)]).await;
        }
        Self {
            bench,
            mail_server,
            faults: Vec::new(),
            network,
            counts: BTreeMap::new(),
            direct: direct.into(),
        }
    }

    pub(crate) fn register_url(&self) -> String {
        self.bench.register("gateway-1")
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
        let kinds = ["kill", "pause", "cut", "silence", "lock", "mail away"];
        let kind = kinds.choose(random).unwrap();
        *self.counts.entry(kind).or_default() += 1;
        let service = CUT_OFF.choose(random).unwrap();
        let time = milliseconds(random, 300..2_000);
        let from = now();
        match *kind {
            "kill" => {
                let names = self.direct.get_mut(service).unwrap();
                let at = random.random_range(0..names.len());
                self.bench.kill(&names.remove(at));
                let new = self.bench.add(service).await;
                self.direct.get_mut(service).unwrap().push(new);
            }
            "pause" => {
                let name = self.direct[service].choose(random).unwrap().clone();
                self.bench.signal(&name, Signal::STOP);
                tokio::time::sleep(time).await;
                self.bench.signal(&name, Signal::CONT);
            }
            "cut" | "silence" => {
                match *kind {
                    "cut" => self.network.cut(),
                    _ => self.network.go_silent(),
                }
                tokio::time::sleep(time).await;
                self.network.heal();
            }
            "lock" => store.lock(&self.bench, time).await,
            _ => {
                self.mail_server.go_away();
                tokio::time::sleep(time).await;
                self.mail_server.come_back().await;
            }
        }
        self.faults.push(Fault {
            from,
            to: now(),
            is_lock: *kind == "lock",
        });
    }

    /// Returns what there was.
    pub(crate) async fn end(&mut self) -> String {
        self.network.heal();
        let all = self.counts.iter();
        let all: Vec<String> = all
            .map(|(kind, count)| format!("{count} x {kind}"))
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
