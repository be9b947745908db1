//! The note of what became of a mail, which ends its lease.
//!
//! Whoever has sent a mail makes it, the notification service: that its caller dies, or hears of nothing, costs no
//! second mail then. What could not be sent its caller notes, so that the next try need not wait for the lease.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use tokio::time::sleep;

use super::api::outbox::{SettleMail, SettleMailRequest};
use crate::{
    Client, Code, Ctx, Status,
    client::Unanswered,
    telemetry::{spans, unrecorded},
    with_deadline,
};

/// How long it is tried: far longer than a lease, for while the database is away nobody else takes the mail either.
pub(super) const NOTE_FOR: Duration = Duration::from_mins(10);
/// One try, and the pause before the second; each further one is longer.
const ONE_TRY: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Notes it in a task of its own, of which the current span tells.
pub(super) fn note(ctx: &Ctx, client: &Client, settled: SettleMailRequest) {
    let outcome = format!("{:?}", settled.outcome);
    spans::event("mail_noted", vec![KeyValue::new("outcome", outcome)]);
    ctx.spawn(settle(client.clone(), settled));
}

/// Keeps the lease of a mail that is still being sent, if the database can be told now.
pub(super) async fn keep(client: &Client, settled: &SettleMailRequest) {
    let one_try = Instant::now() + ONE_TRY;
    let keeping = client.call::<SettleMail>(settled);
    // Whoever asks again soon needs no answer.
    let _ = with_deadline(one_try, unrecorded(keeping)).await;
}

/// Tries again where the database is away. Its relay leaves time for these when it is back; what nobody has noted then, it
/// sends.
async fn settle(client: Client, settled: SettleMailRequest) {
    let until = Instant::now() + NOTE_FOR;
    let mut pause = PAUSE;
    let noted = loop {
        let one_try = Instant::now() + ONE_TRY;
        let noting = client.call::<SettleMail>(&settled);
        match with_deadline(one_try, unrecorded(noting)).await {
            Err(status) if is_for_now(&status) && Instant::now() < until => {
                sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
            noted => break noted,
        }
    };
    if let Err(status) = noted {
        tracing::warn!("what became of a mail can't be noted, and it may be sent twice: {status}");
    }
}

/// A permission that is missing, or a bug, does not mend itself.
fn is_for_now(status: &Status) -> bool {
    let is_away = matches!(
        status.code(),
        Code::Unavailable | Code::Overloaded | Code::DeadlineExceeded
    );
    is_away && status.unanswered() != Some(Unanswered::Forbidden)
}
