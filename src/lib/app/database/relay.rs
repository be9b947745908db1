//! The relay: sends what the outbox holds and nobody else has sent.
//!
//! Every database service has one. They look for what is due; each thing that one takes is its own for a lease, and
//! so no two send the same at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, context::FutureExt, trace::TraceContextExt};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    announce,
    store::{AT_A_TIME as AT_A_TIME_CLEANED, Settled, Store, Taken},
};
use crate::{
    Client, Shutdown, Status,
    app::{
        api::{
            database::Created,
            notification::{SendWelcomeEmail, SendWelcomeEmailRequest, left_to_note},
            outbox::{Kind, LEASE, Outcome, REGISTERED},
        },
        process::Process,
    },
    instance::random_token,
    telemetry::{propagation, spans, unrecorded},
    with_deadline,
};

/// Pause between two looks, jittered.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two tries to note what became of something.
const NOTE_PAUSE: Duration = Duration::from_millis(250);
/// 36^16 names: no two leases ever share one.
const HOLDER_LENGTH: usize = 16;
/// What one process sends at a time.
const AT_A_TIME: u32 = 16;
/// Looks between two times of cleaning up; the first look does, so that who is started often does, too.
const CLEAN_EVERY: u32 = 60;

/// Sends what is left over; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Relay<S> {
    client: Client,
    store: S,
    grace: Duration,
    sending: TaskTracker,
    look: Arc<Notify>,
}

impl<S: Store> Relay<S> {
    pub(super) fn new(process: &Process, store: S) -> Self {
        Self {
            client: process.client.clone(),
            store,
            grace: process.limits.shutdown_grace,
            sending: TaskTracker::new(),
            look: Arc::default(),
        }
    }

    /// Looks at once for what is due.
    pub(super) fn look_now(&self) {
        self.look.notify_one();
    }

    /// Publishes the event of a user that this process has just stored, and has the lease of.
    pub(super) fn announce(&self, created: &Created) -> impl Future<Output = ()> + Send + 'static {
        let relay = self.clone();
        let taken = Taken {
            registration_id: created.registration_id.clone(),
            kind: Kind::Event,
            user: created.user.clone(),
            tries: 1,
            created_at_ms: created.created_at_ms,
            traceparent: None,
        };
        let until = Instant::now() + LEASE;
        let holder = self.client.instance().id().to_owned();
        with_deadline(until, async move { relay.send(&taken, &holder).await })
    }

    /// Looks again and again until shutdown is requested; then ends what is being sent, within the grace.
    pub(super) async fn run(&self, shutdown: &Shutdown) {
        for look in 0_u32.. {
            let pause = PAUSE.mul_f64(rand::random_range(0.5..1.5));
            tokio::select! {
                () = shutdown.requested() => break,
                () = self.look.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            // To its end: what is taken and not sent waits for its lease, and a try is a try.
            self.turn(look.is_multiple_of(CLEAN_EVERY), shutdown).await;
        }
        self.sending.close();
        let _ = timeout(self.grace, self.sending.wait()).await;
    }

    async fn turn(&self, cleans: bool, shutdown: &Shutdown) {
        // What can't be sent anyway is not taken: a try is a try.
        if !self.client.is_connected() {
            return;
        }
        if let Err(status) = self.take().await {
            tracing::debug!("the outbox can't be read: {status}");
        }
        if cleans {
            self.clean(shutdown).await;
        }
    }

    /// Removes all that is past its time, some at a time.
    async fn clean(&self, shutdown: &Shutdown) {
        loop {
            match self.store.clean().await {
                Ok(removed) if removed >= u64::from(AT_A_TIME_CLEANED) => {}
                Ok(_) => return,
                Err(status) => {
                    return tracing::debug!("the outbox can't be cleaned: {status}");
                }
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(NOTE_PAUSE) => {}
            }
        }
    }

    /// Takes what is due for as long as there is room for it.
    async fn take(&self) -> Result<(), Status> {
        loop {
            let busy = u32::try_from(self.sending.len()).unwrap_or(u32::MAX);
            let room = AT_A_TIME.saturating_sub(busy);
            if room == 0 {
                return Ok(());
            }
            let until = Instant::now() + LEASE;
            // Another each time: what comes of one lease says nothing of the next.
            let holder = random_token(HOLDER_LENGTH);
            let due = self.store.take(&holder, room).await?;
            let is_all = due.len() < room as usize;
            for taken in due {
                let relay = self.clone();
                self.sending
                    .spawn(relay.relay(taken, holder.clone(), until));
            }
            if is_all {
                return Ok(());
            }
        }
    }

    /// Sends one thing, in a trace of its own that is linked to the registration's.
    async fn relay(self, taken: Taken, holder: String, until: Instant) {
        let reason = taken.traceparent.as_deref();
        let reason = reason.and_then(|parent| propagation::parse(parent, ""));
        let span = spans::left_over("outbox_relay", reason);
        span.span().set_attributes([
            KeyValue::new("outbox.kind", taken.kind.as_str()),
            KeyValue::new("outbox.tries", i64::from(taken.tries)),
            KeyValue::new("registration_id", taken.registration_id.clone()),
        ]);
        let sending = async {
            with_deadline(until, self.send(&taken, &holder)).await;
        };
        sending.with_context(span.clone()).await;
        span.span().end();
        // There may be more that waits for the room.
        self.look_now();
    }

    async fn send(&self, taken: &Taken, holder: &str) {
        let outcome = match taken.kind {
            Kind::Mail => self.mail(taken, holder).await,
            Kind::Event => Some(self.event(taken).await),
        };
        let Some(outcome) = outcome else { return };
        if let Err(status) = self.settle(taken, holder, outcome).await {
            tracing::warn!(
                "what became of a {} can't be noted, and it may be sent twice: {status}",
                taken.kind.as_str()
            );
        }
    }

    /// Notes what became of it, and tries again where the store is away, for as long as nobody else may have it.
    async fn settle(&self, taken: &Taken, holder: &str, outcome: Outcome) -> Result<(), Status> {
        let until = Instant::now() + LEASE;
        loop {
            let settled = Settled {
                registration_id: taken.registration_id.clone(),
                kind: taken.kind,
                holder: holder.to_owned(),
                outcome,
            };
            match self.store.settle(settled).await {
                Err(status) if status.is_retryable() && Instant::now() < until => {
                    sleep(NOTE_PAUSE).await;
                }
                noted => return noted,
            }
        }
    }

    /// Has a mail sent; `None` if whoever sent it notes that, or nobody knows, and its lease has to run out.
    async fn mail(&self, taken: &Taken, holder: &str) -> Option<Outcome> {
        let request = SendWelcomeEmailRequest {
            registration_id: taken.registration_id.clone(),
            name: taken.user.name.clone(),
            email: taken.user.email.clone(),
            holder: Some(holder.to_owned()),
            gate: None,
            gate_wait_ms: 0,
        };
        let sent = self.client.call::<SendWelcomeEmail>(&request).await;
        let became = match &sent {
            Ok(mailed) => format!("{:?}", mailed.notification.status),
            Err(status) => status.code().to_string(),
        };
        spans::event("mail_tried", vec![KeyValue::new("outcome", became)]);
        left_to_note(&sent)
    }

    async fn event(&self, taken: &Taken) -> Outcome {
        let id = &taken.registration_id;
        let event = announce::registered(id, &taken.user, taken.created_at_ms);
        match unrecorded(self.client.publish(REGISTERED, id, event)).await {
            Ok(()) => Outcome::Sent,
            Err(_) => Outcome::Later,
        }
    }
}
