//! The relay: sends what the outbox holds and nobody else has sent.
//!
//! Every database service has one. They look for what is due; each thing that one takes is its own for a lease, and
//! so no two send the same at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, context::FutureExt, trace::TraceContextExt};
use tokio::{
    sync::Notify,
    time::{sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    announce,
    store::{AT_A_TIME as AT_A_TIME_CLEANED, Settled, Store, TRIES, Taken},
};
use crate::{
    Client, Shutdown, Status,
    app::{
        api::{
            database::Created,
            notification::{Left, SendWelcomeEmail, SendWelcomeEmailRequest, left_to_note},
            outbox::{Kind, LEASE, Outcome, REGISTERED},
        },
        note::NOTE_FOR,
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
/// When all is there again, what has been sent meanwhile is noted first: `app/note.rs` tries that every 4 s at least.
const REST: Duration = Duration::from_secs(4);
/// Longest time that the store may take; a connection that is dead without a word is given up.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// 36^16 names: no two leases ever share one.
const HOLDER_LENGTH: usize = 16;
/// What one process sends of a kind at a time: a mail server that hangs holds up no event.
const AT_A_TIME: u32 = 16;
/// Looks between two times of cleaning up; the first look does, so that who is started often does, too.
const CLEAN_EVERY: u32 = 60;

/// Sends what is left over; clones share it.
#[derive(Debug, Clone)]
pub(super) struct Relay<S> {
    client: Client,
    store: S,
    grace: Duration,
    mails: TaskTracker,
    events: TaskTracker,
    /// The last mail found nobody who would take it: until one does, they are tried one at a look.
    mails_are_stuck: Arc<AtomicBool>,
    /// Those that wait for the end of a lease, and what ends them.
    unknown: TaskTracker,
    leaving: CancellationToken,
    look: Arc<Notify>,
}

/// How the last looks went.
#[derive(Debug, Default)]
struct Looks {
    /// Until when nothing is taken, after the store could not be written to, or NATS was away.
    rests_until: Option<Instant>,
    /// The last look found the store busy.
    was_busy: bool,
    /// There may be more that is past its time.
    cleans: bool,
}

impl Looks {
    fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    /// Passes over one look at which the store could not be written to: where many write, that happens again and again, and
    /// what is left over has its turn all the same. Two in a row are an outage.
    fn pass_over(&mut self) {
        if self.was_busy {
            self.rest();
        }
        self.was_busy = true;
    }
}

impl<S: Store> Relay<S> {
    pub(super) fn new(process: &Process, store: S) -> Self {
        Self {
            client: process.client.clone(),
            store,
            grace: process.limits.shutdown_grace,
            mails: TaskTracker::new(),
            events: TaskTracker::new(),
            mails_are_stuck: Arc::default(),
            unknown: TaskTracker::new(),
            leaving: CancellationToken::new(),
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
        with_deadline(until, async move {
            relay.send(&taken, &holder).await;
        })
    }

    /// Looks again and again until shutdown is requested; then ends what is being sent, within the grace.
    pub(super) async fn run(&self, shutdown: &Shutdown) {
        let mut looks = Looks::default();
        // The store may have been away with us: what was sent meanwhile is noted first.
        looks.rest();
        for look in 0_u32.. {
            let pause = PAUSE.mul_f64(rand::random_range(0.5..1.5));
            tokio::select! {
                () = shutdown.requested() => break,
                () = self.look.notified() => {}
                () = sleep(pause) => {}
            }
            looks.cleans |= look.is_multiple_of(CLEAN_EVERY);
            // To its end: what is taken and not sent waits for its lease, and a try is a try.
            self.turn(&mut looks).await;
        }
        self.leaving.cancel();
        let ending = async {
            for sending in [&self.mails, &self.events, &self.unknown] {
                sending.close();
                sending.wait().await;
            }
        };
        let _ = timeout(self.grace, ending).await;
    }

    async fn turn(&self, looks: &mut Looks) {
        // What can't be sent anyway is not taken: a try is a try.
        // And where nothing is due, it matters all the same: whoever could not note something now will, when that can be
        // written again.
        if !self.client.is_connected() {
            return looks.rest();
        }
        if in_time(self.store.try_write()).await.is_err() {
            return looks.pass_over();
        }
        looks.was_busy = false;
        if looks
            .rests_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        for kind in [Kind::Mail, Kind::Event] {
            if let Err(status) = self.take(kind).await {
                tracing::debug!("the outbox can't be read: {status}");
                return looks.rest();
            }
        }
        if looks.cleans {
            looks.cleans = self.clean().await;
        }
    }

    /// Removes some of what is past its time; returns whether there is more.
    async fn clean(&self) -> bool {
        match in_time(self.store.clean()).await {
            Ok(removed) => removed >= u64::from(AT_A_TIME_CLEANED),
            Err(status) => {
                tracing::debug!("the outbox can't be cleaned: {status}");
                false
            }
        }
    }

    /// Takes what is due for as long as there is room for it.
    async fn take(&self, kind: Kind) -> Result<(), Status> {
        let sending = match kind {
            Kind::Mail => &self.mails,
            Kind::Event => &self.events,
        };
        loop {
            let busy = u32::try_from(sending.len()).unwrap_or(u32::MAX);
            let is_stuck = kind == Kind::Mail && self.mails_are_stuck.load(Relaxed);
            let room = if is_stuck { 1 } else { AT_A_TIME };
            let room = room.saturating_sub(busy);
            if room == 0 {
                return Ok(());
            }
            let until = Instant::now() + LEASE;
            // Another each time: what comes of one lease says nothing of the next.
            let holder = random_token(HOLDER_LENGTH);
            let due = in_time(self.store.take(kind, &holder, room)).await?;
            let is_all = due.len() < room as usize;
            for taken in due {
                let relay = self.clone();
                sending.spawn(relay.relay(taken, holder.clone(), until));
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
            let left = with_deadline(until, self.send(&taken, &holder)).await;
            let is_stuck = left == Left::Note(Outcome::NotBegun);
            if taken.kind == Kind::Mail {
                self.mails_are_stuck.store(is_stuck, Relaxed);
            }
            if left == Left::Unknown {
                self.note_when_it_is_over(taken, holder, until);
            }
            is_stuck
        };
        let is_stuck = sending.with_context(span.clone()).await;
        span.span().end();
        if !is_stuck {
            // There may be more that waits for the room.
            self.look_now();
        }
    }

    /// Sends one thing and notes what became of it; returns what is left to note.
    async fn send(&self, taken: &Taken, holder: &str) -> Left {
        let left = match taken.kind {
            // Whoever had it last never came to note anything.
            _ if taken.tries > TRIES => Left::Note(Outcome::Failed),
            Kind::Mail => self.mail(taken, holder).await,
            Kind::Event => Left::Note(self.event(taken).await),
        };
        if let Left::Note(outcome) = left {
            self.note(taken, holder, outcome).await;
        }
        left
    }

    /// Nobody knows whether a mail was sent, and nobody will begin to send it any more when its lease is over: that was
    /// a try, and the next comes after its pause.
    fn note_when_it_is_over(&self, taken: Taken, holder: String, until: Instant) {
        let relay = self.clone();
        self.unknown.spawn(async move {
            tokio::select! {
                // It is due when its holder's time is over.
                () = relay.leaving.cancelled() => {}
                // Unless whoever sends it says that he still does.
                () = sleep_until(until.into()) => {
                    relay.note_as(&taken, &holder, Outcome::Later, true).await;
                }
            }
        });
    }

    async fn note(&self, taken: &Taken, holder: &str, outcome: Outcome) {
        self.note_as(taken, holder, outcome, false).await;
    }

    async fn note_as(&self, taken: &Taken, holder: &str, outcome: Outcome, unless_kept: bool) {
        let settled = Settled {
            registration_id: taken.registration_id.clone(),
            kind: taken.kind,
            holder: holder.to_owned(),
            outcome,
            unless_kept,
        };
        if let Err(status) = self.settle(settled).await {
            tracing::warn!(
                "what became of a {} can't be noted, and it may be sent twice: {status}",
                taken.kind.as_str()
            );
        }
    }

    /// Tries again where the store is away.
    async fn settle(&self, settled: Settled) -> Result<(), Status> {
        let until = Instant::now() + NOTE_FOR;
        loop {
            match in_time(self.store.settle(settled.clone())).await {
                Err(status) if status.is_retryable() && Instant::now() < until => {
                    sleep(NOTE_PAUSE).await;
                }
                noted => return noted,
            }
        }
    }

    async fn mail(&self, taken: &Taken, holder: &str) -> Left {
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

/// Bounds what a store may take.
async fn in_time<T>(asking: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(STORE_TIMEOUT, asking)
        .await
        .unwrap_or_else(|_| Err(Status::unavailable("the store does not answer")))
}
