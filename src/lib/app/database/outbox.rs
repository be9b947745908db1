//! How much of the outbox waits, as metrics.

use std::time::Duration;

use tokio::time::timeout;

use super::store::Store;
use crate::{
    app::api::outbox::Delivery,
    clock,
    metrics::{
        Metrics,
        prometheus_client::metrics::{family::Family, gauge::Gauge},
    },
};

/// Less than whoever reads metrics has.
const STORE_TIMEOUT: Duration = Duration::from_millis(500);

/// Shows what is not sent; each replica on a store tells the same. Where the store can't be asked there are no figures:
/// old ones would look like good ones.
pub(super) fn show(metrics: &Metrics, store: &impl Store) {
    let entries = Family::<[(&str, &str); 1], Gauge>::default();
    let oldest = Family::<[(&str, &str); 0], Gauge>::default();
    metrics.register(|registry| {
        let help = "Mails and events that are not sent";
        registry.register("outbox_entries", help, entries.clone());
        let help = "Age of the oldest entry that is pending, in seconds; 0 without any";
        registry.register("outbox_oldest_seconds", help, oldest.clone());
    });
    let store = store.clone();
    metrics.refresh(move || {
        let (store, entries, oldest) = (store.clone(), entries.clone(), oldest.clone());
        async move {
            let asking = timeout(STORE_TIMEOUT, store.outbox(Some(Delivery::Pending), 1));
            let Ok(Ok(outbox)) = asking.await else {
                entries.clear();
                oldest.clear();
                return;
            };
            let set = |status, number: u64| {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                entries.get_or_create(&[("status", status)]).set(number);
            };
            set("pending", outbox.pending);
            set("failed", outbox.failed);
            let now = i64::try_from(clock::since_epoch().as_millis()).unwrap_or(i64::MAX);
            let age = outbox
                .entries
                .first()
                .map(|entry| now - entry.created_at_ms);
            let oldest = oldest.get_or_create(&[]);
            oldest.set(age.unwrap_or(0).max(0) / 1000);
        }
    });
}
