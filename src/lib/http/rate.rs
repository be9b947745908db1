//! How much one client may ask for: a token bucket for each token, and for each address without one.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock, DefaultClock},
};

use super::{Caller, serve::Peer};
use crate::{Code, Status, pace::Pace};

/// Addresses that are counted at a time, some 5 MB. A client has that of its network: 64 bits of IPv6.
const ADDRESSES: usize = 65_536;
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// How often addresses that have been quiet are forgotten, when there are too many.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// What each client has asked for lately.
#[derive(Debug)]
pub(super) struct Rates {
    callers: DefaultKeyedRateLimiter<Caller>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    forgotten: Pace,
    overflow_logged: Pace,
}

impl Rates {
    /// As many requests a second, and as many at once.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second);
        Self {
            callers: DefaultKeyedRateLimiter::keyed(quota),
            addresses: DefaultKeyedRateLimiter::keyed(quota),
            clock: DefaultClock::default(),
            forgotten: Pace::default(),
            overflow_logged: Pace::default(),
        }
    }

    /// Takes one request from who makes it: by the token, else by the address. `Err` is the time until the next.
    ///
    /// Those who came by another server than [`serve`](super::serve()) have no address, and are one client.
    /// There are as many callers as tokens. Where more addresses ask at a time than can be counted, none is
    /// limited: that is no client's fault, and the places of the edge are the limit then.
    pub(super) fn take(&self, caller: Option<Caller>, peer: Option<Peer>) -> Result<(), Duration> {
        let taken = match (caller, peer) {
            (Some(caller), _) => self.callers.check_key(&caller),
            (None, Some(_)) if self.is_full() => return Ok(()),
            (None, peer) => {
                let address = peer.map_or(UNKNOWN, |Peer(address)| network(address));
                self.addresses.check_key(&address)
            }
        };
        taken.map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn is_full(&self) -> bool {
        if self.addresses.len() < ADDRESSES {
            return false;
        }
        if self.forgotten.is_due_after(FORGET_EVERY) {
            self.addresses.retain_recent();
        }
        let is_full = self.addresses.len() >= ADDRESSES;
        if is_full && self.overflow_logged.is_due() {
            tracing::warn!(
                "more than {ADDRESSES} addresses ask at a time; none of them is limited"
            );
        }
        is_full
    }
}

/// The part of an address that its owner can't change at will.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        address => address,
    }
}

/// The answer to a client that asks too fast.
pub(super) fn refusal(wait: Duration) -> Response {
    let words = "too many requests from this client; slow down";
    let mut response = Status::new(Code::RateLimited, words).into_response();
    let seconds = wait.as_millis().div_ceil(1000).max(1);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Option<Peer> {
        Some(Peer(address.parse().unwrap()))
    }

    #[test]
    fn each_client_has_as_many_as_it_is_given() {
        let rates = Rates::new(NonZeroU32::new(3).unwrap());
        let token = Some(Caller::with_digest([1; 32]));
        for client in [
            (None, at("10.0.0.1")),
            (None, at("10.0.0.2")),
            (token, at("10.0.0.1")),
            (None, None),
        ] {
            for _ in 0..3 {
                assert_eq!(Ok(()), rates.take(client.0, client.1));
            }
            let wait = rates.take(client.0, client.1).unwrap_err();
            assert!(wait <= Duration::from_millis(334), "{wait:?}");
        }
    }

    #[test]
    fn a_client_is_its_network() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
        ] {
            let [one, other] = [one, other].map(|address| network(address.parse().unwrap()));
            assert_eq!(same, one == other, "{one} {other}");
        }
    }

    #[test]
    fn more_addresses_than_can_be_counted_take_no_memory() {
        let rates = Rates::new(NonZeroU32::new(1).unwrap());
        for number in 0..u32::try_from(ADDRESSES).unwrap() + 1_000 {
            let address = Ipv4Addr::from_bits(number).into();
            assert_eq!(Ok(()), rates.take(None, Some(Peer(address))));
        }
        assert!(rates.addresses.len() <= ADDRESSES);
    }
}
