//! A registration: database and mail at the same time, and no mail without a user.
//!
//! Both calls start together. The mail is prepared and then waits at a gate for the commit; it goes out
//! only after the database has said yes. A gate that is not answered is closed.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    Client, Ctx, Status,
    app::api::{
        User,
        database::{CreateUser, CreateUserRequest},
        notification::{MailStatus, Notification, SendWelcomeEmail, SendWelcomeEmailRequest},
        user::{RegisterUserRequest, Registration},
    },
    instance::random_token,
};

use super::validate;

/// 36^24 ids: no two registrations ever share one.
const REGISTRATION_ID_LENGTH: usize = 24;

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
        let RegisterUserRequest { name, email } = validate::registration(&request)?;
        let gate = self.client.open_gate().await?;
        // A task of its own: a mail that was let through goes on when the answer no longer waits.
        let mut mail = ctx.spawn({
            let client = self.client.clone();
            let request = SendWelcomeEmailRequest {
                registration_id: random_token(REGISTRATION_ID_LENGTH),
                name: name.clone(),
                email: email.clone(),
                gate: gate.address(),
            };
            async move { client.call::<SendWelcomeEmail>(&request).await }
        });
        let created = self
            .client
            .call::<CreateUser>(&CreateUserRequest {
                name,
                email: email.clone(),
            })
            .await;
        let user = match created {
            Ok(user) => user,
            Err(status) => {
                gate.abort().await;
                // The mail's side answers at once now; its branch belongs to this trace.
                let _ = timeout(self.mail_wait.min(ctx.remaining()), mail).await;
                return Err(status);
            }
        };
        gate.proceed(ctx.deadline()).await;
        let wait = self.mail_wait.min(ctx.remaining());
        let notification = match timeout(wait, &mut mail).await {
            Ok(Ok(Ok(sent))) => sent,
            Ok(Ok(Err(_)) | Err(_)) => notification(
                MailStatus::Failed,
                "The welcome mail could not be sent.",
                &user,
            ),
            Err(_) => {
                // The gate stays open for as long as somebody may still ask.
                ctx.spawn(async move {
                    let _ = mail.await;
                    drop(gate);
                });
                notification(MailStatus::Queued, "The welcome mail is on its way.", &user)
            }
        };
        Ok(Registration {
            user,
            notification,
            registration_complete: true,
        })
    }
}

fn notification(status: MailStatus, message: &str, user: &User) -> Notification {
    Notification {
        status,
        message: message.to_owned(),
        recipient: user.email.clone(),
    }
}
