//! Which server of the cluster is connected to next, and which one it is now.

use std::{
    mem,
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_nats::{ReconnectToServer, Server, ServerAddr, ServerInfo};
use rand::{Rng, seq::IndexedRandom as _};

use crate::telemetry::spans;

/// Longest pause between two attempts to reconnect.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// A connection that lives for less than this counts as a failed attempt.
const MOMENT: Duration = Duration::from_secs(1);
/// While there are servers that have not been tried there is nothing to wait for, only others not to run into.
const JITTER: Duration = Duration::from_millis(10);

/// The library tries servers at random, the one that has just died among them, counts none that has no address, and
/// pauses before each.
/// A call waits for the connection for 40 ms, so here the others are tried first, without a pause.
#[derive(Debug)]
pub(super) struct Servers {
    outage: Mutex<Outage>,
    current: RwLock<spans::Server>,
}

#[derive(Debug, Default)]
struct Outage {
    /// The connection that was lost, by the server's name and number of it.
    lost: (String, u64),
    /// Who was tried since, or since all had been.
    tried: Vec<ServerAddr>,
    /// How often all had been.
    rounds: usize,
    /// When the last attempt was to begin.
    began: Option<Instant>,
    /// Why the last one that was tried does not have us.
    failure: Option<String>,
}

impl Servers {
    pub(super) fn new(first: Option<&ServerAddr>) -> Self {
        Self {
            outage: Mutex::default(),
            current: RwLock::new(first.map(place).unwrap_or_default()),
        }
    }

    /// Chooses one of those that the library knows, each time that it wants to connect.
    pub(super) fn choose(&self, known: &[Server], last: &ServerInfo) -> Option<ReconnectToServer> {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.choose(known, (&last.server_id, last.client_id))
    }

    /// Returns why the last attempt failed, in more words than the library's events have.
    pub(super) fn failure(&self) -> Option<String> {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        outage.failure.clone()
    }

    /// The one that was chosen last has accepted the connection.
    pub(super) fn connected(&self) {
        let outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = outage.tried.last() {
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = place(now);
        }
    }

    /// Returns the server that is connected, or was last; before that, one of those that were named.
    pub(super) fn current(&self) -> spans::Server {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outage {
    fn choose(&mut self, known: &[Server], last: (&str, u64)) -> Option<ReconnectToServer> {
        if (self.lost.0.as_str(), self.lost.1) != last {
            // A connection has come and gone: whoever was chosen for it is tried after all others.
            self.lost = (last.0.to_owned(), last.1);
            // What lives for a moment only is no connection: whoever loses it again and again makes pauses.
            let lived = self.began.map(|began| began.elapsed());
            self.rounds = match lived.is_some_and(|lived| lived < MOMENT) {
                true => self.rounds + 1,
                false => 0,
            };
            let had = mem::take(&mut self.tried).pop();
            self.tried.extend(had);
        }
        let tried = known
            .iter()
            .find(|one| Some(&one.addr) == self.tried.last());
        self.failure = tried.and_then(|one| one.last_error.clone()).map(in_words);
        let addr = match self.untried(known) {
            Some(addr) => addr,
            None => {
                self.rounds += 1;
                self.tried.clear();
                self.untried(known)?
            }
        };
        self.tried.push(addr.clone());
        let delay = delay(self.rounds);
        // The pause before it is no part of a connection's life.
        self.began = Some(Instant::now() + delay);
        Some(ReconnectToServer {
            addr,
            delay: Some(delay),
        })
    }

    /// Whoever was named goes before those that a server has told of, which often are the same by another address.
    fn untried(&self, known: &[Server]) -> Option<ServerAddr> {
        let untried = known.iter().filter(|one| !self.tried.contains(&one.addr));
        let (told_of, named): (Vec<_>, Vec<_>) = untried.partition(|one| one.is_discovered);
        let among = if named.is_empty() { told_of } else { named };
        Some(among.choose(&mut rand::rng())?.addr.clone())
    }
}

/// What the TLS library says of an answer that is none tells nobody what to do.
fn in_words(error: String) -> String {
    match error.contains("InvalidContentType") {
        true => "TLS is asked for, and the server speaks none".to_owned(),
        false => error,
    }
}

/// Once all have been tried it doubles from 20 ms; jittered, so that a hundred processes don't come back in step.
fn delay(rounds: usize) -> Duration {
    let mut rng = rand::rng();
    if rounds == 0 {
        return JITTER.mul_f64(rng.random_range(0.0..1.0));
    }
    let doubled = Duration::from_millis(10 << rounds.min(7));
    doubled.min(MAX_DELAY).mul_f64(rng.random_range(0.5..1.0))
}

fn place(address: &ServerAddr) -> spans::Server {
    spans::Server {
        host: address.host().to_owned(),
        port: address.port(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(named: &[&str], told_of: &[&str]) -> Vec<Server> {
        let server = |address: &&str, is_discovered| Server {
            addr: address.parse().unwrap(),
            failed_attempts: 0,
            did_connect: false,
            is_discovered,
            last_error: None,
        };
        let named = named.iter().map(|address| server(address, false));
        let told_of = told_of.iter().map(|address| server(address, true));
        named.chain(told_of).collect()
    }

    fn info(client: u64) -> ServerInfo {
        ServerInfo {
            server_id: "N".to_owned(),
            client_id: client,
            ..ServerInfo::default()
        }
    }

    /// Has the connection that was made last live long enough to be one.
    fn age(servers: &Servers) {
        let mut outage = servers.outage.lock().unwrap();
        outage.began = Instant::now().checked_sub(MOMENT);
    }

    /// Chooses so often, and returns the hosts with the pauses before them.
    fn choices(
        servers: &Servers,
        known: &[Server],
        last: &ServerInfo,
        count: usize,
    ) -> Vec<(String, Duration)> {
        let choice = |_| {
            let chosen = servers.choose(known, last).unwrap();
            (chosen.addr.host().to_owned(), chosen.delay.unwrap())
        };
        (0..count).map(choice).collect()
    }

    fn hosts(choices: &[(String, Duration)]) -> Vec<&str> {
        choices.iter().map(|(host, _)| host.as_str()).collect()
    }

    #[test]
    fn whoever_was_lost_is_tried_after_all_others_and_nobody_twice_before() {
        let known = known(&["a", "b", "c"], &["d"]);
        for _ in 0..50 {
            let servers = Servers::new(Some(&known[0].addr));
            let first = choices(&servers, &known, &ServerInfo::default(), 1);
            servers.connected();
            age(&servers);
            let had = &*first[0].0;
            assert_eq!(had, servers.current().host);

            let then = choices(&servers, &known, &info(1), 4);
            let mut named = hosts(&then)[..2].to_vec();
            named.push(had);
            named.sort_unstable();
            assert_eq!(["a", "b", "c"], *named);
            assert_eq!("d", then[2].0);
            for (_, pause) in &then[..3] {
                assert!(*pause <= JITTER);
            }
            assert!(then[3].1 >= Duration::from_millis(10));

            // The last one has it; when that is lost in turn, it is last again.
            servers.connected();
            age(&servers);
            let had = &*then[3].0;
            let next = choices(&servers, &known, &info(2), 3);
            assert!(!hosts(&next).contains(&had), "{had}: {next:?}");
        }
    }

    #[test]
    fn a_single_server_is_tried_again_and_again_with_growing_pauses() {
        let known = known(&["a"], &[]);
        let servers = Servers::new(Some(&known[0].addr));
        let first = choices(&servers, &known, &ServerInfo::default(), 1);
        assert!(first[0].1 <= JITTER);
        age(&servers);
        let again = choices(&servers, &known, &info(1), 20);
        for (round, (_, pause)) in again.iter().enumerate() {
            let longest = Duration::from_millis(20 << round.min(6)).min(MAX_DELAY);
            assert!(
                *pause >= longest / 2 && *pause <= longest,
                "{round}: {pause:?}"
            );
        }
    }

    #[test]
    fn connections_that_live_for_a_moment_are_made_with_growing_pauses() {
        let known = known(&["a", "b", "c"], &[]);
        let servers = Servers::new(None);
        let mut longest = Duration::ZERO;
        for connection in 0..20 {
            longest = longest.max(choices(&servers, &known, &info(connection), 1)[0].1);
            servers.connected();
        }
        assert!(longest >= MAX_DELAY / 2, "{longest:?}");
        age(&servers);
        let next = choices(&servers, &known, &info(20), 1);
        assert!(next[0].1 <= JITTER, "{next:?}");
    }

    #[test]
    fn nobody_is_chosen_where_nobody_is_known() {
        let servers = Servers::new(None);
        assert!(servers.choose(&[], &info(1)).is_none());
        servers.connected();
        assert_eq!("", servers.current().host);
    }
}
