//! The welcome mail as a message: one recipient, the headers that are meant, and no others.

use lettre::{
    Address, Message,
    address::Envelope,
    message::{Mailbox, header::ContentType},
};

use super::mailer::Id;
use crate::{FieldError, Status, app::api::notification::SendWelcomeEmailRequest};

/// Writes it; the same each time, but for its date.
pub(super) fn compose(
    from: &Mailbox,
    id: &Id,
    request: &SendWelcomeEmailRequest,
    greeting: String,
) -> Result<Message, Status> {
    let to: Address = request.email.parse().map_err(|_| {
        Status::invalid(
            "the mail can't be addressed",
            vec![FieldError::new("email", "is not an e-mail address")],
        )
    })?;
    let domain = from.email.domain();
    // Named, because lettre would read it back from the header, where not every address survives.
    let envelope = Envelope::new(Some(from.email.clone()), vec![to.clone()]);
    Message::builder()
        .envelope(envelope.map_err(Status::internal)?)
        .message_id(Some(format!("<{id}@{domain}>")))
        .from(from.clone())
        .to(Mailbox::new(Some(request.name.clone()), to))
        .subject("Welcome!")
        .header(ContentType::TEXT_PLAIN)
        .body(greeting)
        .map_err(Status::internal)
}

#[cfg(test)]
mod properties;
