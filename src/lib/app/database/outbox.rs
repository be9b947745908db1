//! How much of the outbox waits, as metrics.

use super::store::Store;
use crate::{
    app::api::outbox::Delivery,
    clock,
    metrics::{
        Metrics,
        prometheus_client::metrics::{family::Family, gauge::Gauge},
    },
};

/// Shows what is not sent; each replica on a store tells the same. Where the store can't be asked the last figures stay.
pub(super) fn show(metrics: &Metrics, store: &impl Store) {
    let entries = Family::<[(&str, &str); 1], Gauge>::default();
    let oldest = Gauge::<i64>::default();
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
            let Ok(outbox) = store.outbox(Some(Delivery::Pending), 1).await else {
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
            oldest.set(age.unwrap_or(0).max(0) / 1000);
        }
    });
}
