//! A registration: database and mail at the same time, and no mail without a user.
//!
//! Both calls start together. The mail is prepared and then waits at a gate for the commit; it goes out
//! only after the database has said yes, and only for as long as this registration holds the mail's lease, which
//! the database has written with the user. A gate that is not answered is closed. Whoever sends the mail notes in the
//! database that it is sent; where that is lost, the lease ends and the database's relay sends the mail.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    Client, Ctx, Status,
    app::{
        api::{
            User,
            database::{CreateUser, CreateUserRequest, Created},
            notification::{
                Left, MailStatus, NOTIFICATION, Notification, SendWelcomeEmail,
                SendWelcomeEmailRequest, left_to_note,
            },
            outbox::{Delivery, LEASE, Outcome, SettleMailRequest},
            user::{RegisterUserRequest, Registration},
        },
        note::note,
    },
    client::Gate,
    instance::random_token,
    telemetry::{names, spans},
    with_deadline,
};

use super::validate;

/// 36^16 names: no two who attempt the same registration ever share one.
const HOLDER_LENGTH: usize = 16;

/// How long an answer that needs no mail waits for the mail's branch of the trace.
const BRANCH_WAIT: Duration = Duration::from_millis(50);
/// Time for an answer on its way.
const ANSWER_TIME: Duration = Duration::from_millis(100);

/// Registers users.
#[derive(Debug)]
pub(super) struct Registrar {
    pub(super) client: Client,
    /// How long an answer waits for the mail once the user is committed.
    pub(super) mail_wait: Duration,
}

impl Registrar {
    pub(super) async fn register(
        &self,
        ctx: &Ctx,
        request: RegisterUserRequest,
    ) -> Result<Registration, Status> {
        let request = validate::registration(request)?;
        let started = Instant::now();
        let gate = self.client.open_gate().await?;
        let holder = random_token(HOLDER_LENGTH);
        // A task of its own: a mail that was let through goes on when the answer no longer waits.
        let (decide, decided) = oneshot::channel::<(Gate, Instant)>();
        let mut mail = ctx.spawn(with_deadline(
            started + LEASE,
            self.mail(ctx, &request, &holder, &gate, decided),
        ));
        let registration_id = request.registration_id.clone();
        let created = self
            .client
            .call::<CreateUser>(&CreateUserRequest {
                name: request.name,
                email: request.email,
                key: request.key,
                registration_id: request.registration_id,
                holder,
                is_repeated: ctx.attempt() > 1,
            })
            .await;
        let lease = created.as_ref().ok().and_then(|created| created.lease_ms);
        let Some(lease) = lease else {
            gate.abort().await;
            spans::event("gate", vec![KeyValue::new("verdict", "abort")]);
            drop(decide);
            // The mail's side ends now, but for what it has begun; its branch belongs to this trace.
            let _ = timeout(time_to_wait(BRANCH_WAIT, ctx), mail).await;
            return created.map(|created| replayed(created, &registration_id));
        };
        // The lease is at least as long from before the question on as it was at the answer.
        spans::event("gate", vec![KeyValue::new("verdict", "proceed")]);
        // The task says so, and notes what comes of it, also when nobody waits for this answer any more.
        let _ = decide.send((gate, started + Duration::from_millis(lease)));
        let created = created?;
        let sent = self.wait_for(&mut mail, ctx).await;
        let notification = match sent {
            Some(sent) => sent,
            None => notification(Delivery::Pending, &created.user),
        };
        Ok(registration(created, notification, &registration_id))
    }

    /// Waits for what is told of the mail, but not for as long as it may take; the trace says which wait was given up.
    async fn wait_for(
        &self,
        mail: &mut JoinHandle<Option<Notification>>,
        ctx: &Ctx,
    ) -> Option<Notification> {
        let began = Instant::now();
        let Ok(ended) = timeout(time_to_wait(self.mail_wait, ctx), mail).await else {
            let waited = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
            let whose = NOTIFICATION.deployment();
            let attributes = vec![
                KeyValue::new(names::DEPLOYMENT, whose),
                KeyValue::new(names::WAITED_US, waited),
            ];
            spans::event("answer_without_mail", attributes);
            return None;
        };
        ended.ok().flatten()
    }

    /// Has the mail sent, and notes what the one who sends it does not. Returns what there is to tell about it.
    fn mail(
        &self,
        ctx: &Ctx,
        request: &RegisterUserRequest,
        holder: &str,
        gate: &Gate,
        decided: oneshot::Receiver<(Gate, Instant)>,
    ) -> impl Future<Output = Option<Notification>> + Send + 'static {
        let client = self.client.clone();
        let settled = SettleMailRequest {
            registration_id: request.registration_id.clone(),
            holder: holder.to_owned(),
            outcome: Outcome::Later,
        };
        let request = SendWelcomeEmailRequest {
            registration_id: request.registration_id.clone(),
            name: request.name.clone(),
            email: request.email.clone(),
            holder: Some(holder.to_owned()),
            gate: Some(gate.address()),
            gate_wait_ms: u64::try_from(ctx.remaining().as_millis()).unwrap_or(u64::MAX),
        };
        let ctx = ctx.clone();
        async move {
            let deciding = async {
                let (gate, until) = decided.await.ok()?;
                gate.proceed(until).await;
                Some(gate)
            };
            let (sent, gate) = tokio::join!(client.call::<SendWelcomeEmail>(&request), deciding);
            // It was open for as long as somebody might ask; where it never was there is nothing to note.
            drop(gate?);
            if let Left::Note(outcome) = left_to_note(&sent) {
                note(&ctx, &client, SettleMailRequest { outcome, ..settled });
            }
            let told = sent.ok()?.notification;
            let is_final = matches!(told.status, MailStatus::Sent | MailStatus::Failed);
            is_final.then_some(told)
        }
    }
}

/// Returns how long an answer may still wait: it must reach the caller before the deadline.
fn time_to_wait(at_most: Duration, ctx: &Ctx) -> Duration {
    at_most.min(ctx.remaining().saturating_sub(ANSWER_TIME))
}

/// Answers a repetition like the first, with what the mail is now.
fn replayed(created: Created, registration_id: &str) -> Registration {
    let notification = notification(created.mail, &created.user);
    registration(created, notification, registration_id)
}

fn registration(
    created: Created,
    notification: Notification,
    registration_id: &str,
) -> Registration {
    Registration {
        is_replayed: created.registration_id != registration_id,
        created_at_ms: created.created_at_ms,
        user: created.user,
        notification,
        registration_complete: true,
    }
}

fn notification(mail: Delivery, user: &User) -> Notification {
    let (status, message) = match mail {
        Delivery::Pending => (
            MailStatus::Queued,
            "The welcome mail is on its way.".to_owned(),
        ),
        Delivery::Sent => (
            MailStatus::Sent,
            format!("Welcome {}! Thanks for joining our service.", user.name),
        ),
        Delivery::Failed => (
            MailStatus::Failed,
            "The welcome mail could not be sent.".to_owned(),
        ),
    };
    Notification {
        status,
        message,
        recipient: user.email.clone(),
    }
}
