//! The user service: profiles, and the registration that joins database and mail.

mod register;
mod validate;

use std::sync::Arc;

use super::{
    api::{
        database::{GetUser, GetUserRequest},
        user::{GetUserProfile, GetUserProfileRequest, Profile, RegisterUser},
    },
    config,
    process::Process,
};
use crate::Replica;
use register::Registrar;
#[cfg(test)]
pub(crate) use validate::registration as validated;

pub(crate) async fn serve(process: Process, settings: &config::User) -> anyhow::Result<()> {
    let client = process.client.clone();
    let registrar = Arc::new(Registrar {
        client: process.client.clone(),
        mail_wait: settings.mail_wait,
    });
    let replica = Replica::new(&process.client)
        .handle::<GetUserProfile>(move |_ctx, request: GetUserProfileRequest| {
            let client = client.clone();
            async move {
                let user_id = request.user_id;
                let record = client.call::<GetUser>(&GetUserRequest { user_id }).await?;
                Ok(Profile {
                    user: record.user,
                    profile_data: record.profile_data,
                })
            }
        })
        .handle::<RegisterUser>(move |ctx, request| {
            let registrar = Arc::clone(&registrar);
            async move { registrar.register(&ctx, request).await }
        });
    process.serve(replica).await
}
